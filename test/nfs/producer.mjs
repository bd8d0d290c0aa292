// A producer on a host of the lab: sends jobs in small batches until SIGTERM, half of them to its own host alone, so that each
// host that works has some, the others to any host, and to another when that fails; now and then one a second time. What it sends it
// writes to its file before, what is acknowledged after. Started again on the same file it sends what had no answer under
// the same ids, as a producer that keeps an outbox does.
//
//   node producer.mjs CLIENT_MODULE ADDRESSES (its own host's first) CLIENT_ID FILE JOBS_PER_SECOND
import { openSync, readFileSync, writeSync } from 'node:fs'

const [module, addresses, clientId, path, rate] = process.argv.slice(2)
const { Client } = await import(module)
const all = addresses.split(',')
const options = { clientId, timeoutMs: Number.POSITIVE_INFINITY, connectTimeoutMs: 2000, silenceMs: 5000, backoffBaseMs: 50, backoffMostMs: 1000 }
const client = new Client({ ...options, addresses: all })
const own = new Client({ ...options, addresses: all[0] })
const again = new Client({ ...options, addresses: all })

// Lines: `s N .`, all to N were sent; `a N… .`, these were acknowledged; `end .`. One without its full stop was cut off.
const file = openSync(path, 'a+')
const acked = new Set()
let sent = 0
for (const line of readFileSync(path, 'utf8').split('\n')) {
  const [kind, ...numbers] = line.split(' ')
  if (numbers.pop() !== '.') continue
  if (kind === 's') sent = Math.max(sent, Number(numbers[0]))
  if (kind === 'a') for (const number of numbers) acked.add(Number(number))
}
const note = (line) => writeSync(file, `${line} .\n`)
if (sent > 0) writeSync(file, '\n')

const send = async (by, sequence) => {
  await by.send({ executable: '/bin/true', arguments: [clientId, `${sequence}`] }, { sequence })
  return sequence
}
const sendAll = async (by, sequences) => {
  const done = await Promise.all(sequences.map((sequence) => send(by, sequence)))
  for (const sequence of done) acked.add(sequence)
  note(`a ${done.join(' ')}`)
}

const repeating = new Set()
const repeat = async (sequence) => {
  repeating.add(sequence)
  await send(again, sequence)
  repeating.delete(sequence)
}

const load = { on: true }
process.on('SIGTERM', () => (load.on = false))
const pending = new Set()
const follow = (promise) => {
  const followed = promise.finally(() => pending.delete(followed))
  pending.add(followed)
}

const left = Array.from({ length: sent }, (_, at) => at + 1).filter((sequence) => !acked.has(sequence))
if (left.length > 0) follow(sendAll(client, left))
while (load.on) {
  const count = 1 + Math.floor(Math.random() * 10)
  // A producer whose hosts are all away stops making jobs, rather than filling its memory.
  if (pending.size < 50) {
    const sequences = Array.from({ length: count }, (_, at) => sent + at + 1)
    sent += count
    note(`s ${sent}`)
    follow(sendAll(Math.random() < 0.5 ? own : client, sequences))
    const repeated = 1 + Math.floor(Math.random() * sent)
    if (Math.random() < 0.1 && !repeating.has(repeated)) follow(repeat(repeated))
  }
  await new Promise((resolve) => setTimeout(resolve, (count * 1000) / Number(rate)))
}
while (pending.size > 0) await Promise.all(pending)
await Promise.all([client, own, again].map((one) => one.close()))
note('end')
