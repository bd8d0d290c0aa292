// The whole way in one go: starts usher on a store of its own, sends the jobs of jobs.ndjson to it over TCP, watches
// them run on this machine, and shows what happened to one of them. Everything it makes is in a temporary folder, which
// is removed. Run it with `npm run demo`.
import { spawn, execFile } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const here = fileURLToPath(new URL('.', import.meta.url))
const cli = join(here, '..', 'dist', 'cli', 'usher.cjs')
const jobs = join(here, 'jobs.ndjson')
const run = promisify(execFile)
const paint = (code, text) => (process.stdout.isTTY && !process.env.NO_COLOR ? `\u001b[${code}m${text}\u001b[0m` : text)
const say = (text) => process.stdout.write(`${text}\n`)
const step = (text) => say(`\n${paint(1, text)}`)
const usher = async (...args) => (await run(process.execPath, [cli, ...args], { maxBuffer: 64 * 1024 * 1024 })).stdout

const work = await mkdtemp(join(tmpdir(), 'usher-demo-'))
const store = join(work, 'store')
const ids = join(work, 'ids')
let server = null

const startServer = () =>
  new Promise((resolve, reject) => {
    server = spawn(process.execPath, [cli, 'serve', '--json', '--store', store, '--listen', '127.0.0.1:0'], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, USHER_LOG_LEVEL: 'warn' },
    })
    let text = ''
    server.stdout.on('data', (bytes) => {
      text += bytes
      if (text.includes('\n')) resolve(JSON.parse(text))
    })
    server.once('exit', (status) => reject(new Error(`usher serve ended with status ${status}`)))
  })

/** Waits until every job has run; a job is done when its trace ends with an exit status. */
const watch = async (accepted) => {
  const until = Date.now() + 120_000
  for (;;) {
    const { audit } = JSON.parse(await usher('status', '--json', '--store', store))
    const ended = await countEnded()
    const width = 30
    const filled = Math.round((ended / accepted) * width)
    const line = `  [${'#'.repeat(filled)}${'.'.repeat(width - filled)}] ${ended} of ${accepted} ended, ${audit.waiting} waiting`
    if (process.stdout.isTTY) process.stdout.write(`\r\u001b[K${line}`)
    else say(line)
    if (ended === accepted) break
    if (Date.now() > until) throw new Error(`the jobs did not end in time: ${JSON.stringify(audit)}`)
    await new Promise((resolve) => setTimeout(resolve, 500))
  }
  if (process.stdout.isTTY) say('')
}

const countEnded = async () => {
  const { readLedgers } = await import('../dist/submit/ledger.js')
  const { DirectoryStore } = await import('../dist/store/directory-store.js')
  let ended = 0
  await readLedgers(new DirectoryStore(store), (record) => {
    if (record.k === 'ended') ended += record.ends.length
  })
  return ended
}

try {
  step('Starting usher with a new store')
  const { address, instance } = await startServer()
  say(`  instance ${instance} accepts jobs on ${address}`)

  step(`Sending ${(await readFile(jobs, 'utf8')).trim().split('\n').length} jobs over TCP`)
  const result = JSON.parse((await usher('send', jobs, '--to', address, '--ids', ids, '--json')).trim().split('\n').at(-1))
  say(`  ${result.accepted} accepted, ${result.refused} refused, ${result.inDoubt} in doubt, in ${result.seconds} s`)
  if (result.accepted === 0 || result.refused > 0 || result.inDoubt > 0) throw new Error('not every job was accepted')

  step('Running them on this machine')
  await watch(result.accepted)

  step('Where they are now')
  say((await usher('status', '--store', store)).trim())

  step('What happened to one of them')
  const [id] = (await readFile(ids, 'utf8')).trim().split('\n')
  say((await usher('trace', id, '--store', store)).trim())

  server.removeAllListeners('exit')
  const stopped = new Promise((resolve) => server.once('exit', resolve))
  server.kill('SIGTERM')
  if ((await stopped) !== 0) throw new Error('usher serve did not stop as it should')
  server = null
  step('Done. Next: npm start, then npx usher send FILE')
} finally {
  server?.removeAllListeners('exit')
  server?.kill('SIGKILL')
  await rm(work, { recursive: true, force: true })
}
