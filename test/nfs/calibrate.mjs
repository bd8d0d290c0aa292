// What this host can do at all while something else is measured on it: how late a timer of 10 ms comes, and how long it
// takes to open, read and close a small file of the share. Prints both as {"timerLateMs", "readMs"}, sorted.
//
//   node calibrate.mjs FILE SECONDS
import { open } from 'node:fs/promises'

const [path, seconds] = process.argv.slice(2)
const end = performance.now() + Number(seconds) * 1000
const timerLateMs = []
const readMs = []
const bytes = Buffer.alloc(1024)
while (performance.now() < end) {
  const before = performance.now()
  await new Promise((resolve) => setTimeout(resolve, 10))
  const woken = performance.now()
  timerLateMs.push(woken - before - 10)
  const file = await open(path)
  await file.read(bytes, 0, bytes.length, 0)
  await file.close()
  readMs.push(performance.now() - woken)
  await new Promise((resolve) => setTimeout(resolve, 90))
}
process.stdout.write(JSON.stringify({ timerLateMs, readMs }))
