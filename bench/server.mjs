// A real `usher serve` on a store of its own, for benchmarks. Everything is ended by its id and removed.
import { execFile, spawn } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

export const root = fileURLToPath(new URL('..', import.meta.url))
export const cli = join(root, 'dist', 'cli', 'usher.cjs')
export const run = promisify(execFile)

// usher refuses variables of its own that it doesn't know.
const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => name !== 'USHER_BENCH_DIR'))

/** USHER_BENCH_DIR: where the store is put. The file system under it is what is measured, too. */
export const startServer = async (config) => {
  const folder = await mkdtemp(join(process.env.USHER_BENCH_DIR ?? root, '.bench-'))
  const store = join(folder, 'store')
  await writeFile(join(folder, 'usher.toml'), `[log]\nlevel = "error"\n${config}`)
  const child = spawn(process.execPath, [cli, 'serve', '--json', '--config', join(folder, 'usher.toml'), '--store', store, '--listen', '127.0.0.1:0'], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env,
  })
  const ready = await new Promise((resolve, reject) => {
    let text = ''
    child.stdout.on('data', (bytes) => {
      text += bytes
      if (text.includes('\n')) resolve(JSON.parse(text))
    })
    child.once('exit', (status) => reject(new Error(`usher serve ended with status ${status}`)))
  })
  child.removeAllListeners('exit')
  const status = async () => JSON.parse((await run(process.execPath, [cli, 'status', '--json', '--store', store], { maxBuffer: 1 << 26, env })).stdout)
  return {
    address: ready.address,
    instance: ready.instance,
    store,
    pid: child.pid,
    status,
    /** Waits until the audit has this many jobs in a state. */
    settled: async (jobs, state = 'submitted', withinMs = 120_000) => {
      const until = Date.now() + withinMs
      for (;;) {
        const { audit } = await status()
        if (audit[state] >= jobs) return audit
        if (Date.now() > until) throw new Error(`not settled: ${JSON.stringify(audit)}`)
        await new Promise((resolve) => setTimeout(resolve, 200))
      }
    },
    residentMiB: async (pid = child.pid) => Number(/^VmRSS:\s+([0-9]+)/m.exec(await readFile(`/proc/${pid}/status`, 'utf8'))[1]) / 1024,
    peakMiB: async (pid = child.pid) => Number(/^VmHWM:\s+([0-9]+)/m.exec(await readFile(`/proc/${pid}/status`, 'utf8'))[1]) / 1024,
    openFiles: async (pid = child.pid) => (await readdir(`/proc/${pid}/fd`)).length,
    submitterPid: async () => Number((await run('pgrep', ['-P', `${child.pid}`, '-f', 'submitter'])).stdout.trim().split('\n')[0]),
    stop: async () => {
      const ended = new Promise((resolve) => child.once('exit', resolve))
      child.kill('SIGTERM')
      const timer = setTimeout(() => child.kill('SIGKILL'), 60_000)
      await ended
      clearTimeout(timer)
      await rm(folder, { recursive: true, force: true })
    },
  }
}
