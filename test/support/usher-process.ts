// Real processes for system tests: `usher serve` as users start it, its submitter found by its parent, and the commands.
// Everything started here is ended by its id.
import { execFile, spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { openStore } from '../../src/store/identity.ts'
import { survey } from '../../src/submit/survey.ts'
import type { AuditStatus, StoreStatus } from '../../src/submit/survey.ts'
import type { Trace } from '../../src/submit/trace.ts'

export const root = fileURLToPath(new URL('../..', import.meta.url))
const cli = join(root, 'dist', 'cli', 'usher.cjs')
const run = promisify(execFile)

export const makeFolder = async (): Promise<{ path: string; remove: () => Promise<void> }> => {
  const path = await mkdtemp(join(tmpdir(), 'usher-test-'))
  return { path, remove: () => rm(path, { recursive: true, force: true, maxRetries: 5 }) }
}

/** Runs a command to its end. Never rejects on its status. */
export const usher = async (
  args: readonly string[],
  options: { readonly env?: Record<string, string>; readonly input?: string; readonly cwd?: string } = {},
): Promise<{ status: number; stdout: string; stderr: string }> => {
  const promise = run(process.execPath, [cli, ...args], {
    env: { ...process.env, ...options.env },
    maxBuffer: 256 * 1024 * 1024,
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  })
  promise.child.stdin?.end(options.input ?? '')
  try {
    const { stdout, stderr } = await promise
    return { status: 0, stdout, stderr }
  } catch (error) {
    const failed = error as { code?: number; stdout?: string; stderr?: string }
    return { status: typeof failed.code === 'number' ? failed.code : -1, stdout: failed.stdout ?? '', stderr: failed.stderr ?? '' }
  }
}

/** What `usher status --json` prints, without a process for each look: tests ask often while they wait. */
export const statusOf = async (directory: string): Promise<StoreStatus> => {
  const { store, identity } = await openStore(directory, { create: false })
  return survey(store, identity.uuid)
}

export const traceOf = async (store: string, id: string): Promise<Trace> => {
  const { status, stdout, stderr } = await usher(['trace', id, '--json', '--store', store])
  if (status !== 0) throw new Error(`usher trace failed: ${stderr}`)
  return JSON.parse(stdout) as Trace
}

export interface ServerSettings {
  /** TOML; `store` and `listen` are added. */
  readonly config?: string
  readonly store: string
  readonly listen?: string
  readonly env?: Record<string, string>
  readonly folder: string
  /** The command's file, where it isn't this version's. */
  readonly program?: string
}

interface Ready {
  readonly address: string
  readonly instance: string
  /** Versions before it could be have none. */
  readonly http?: string | null
}

export class ServerProcess {
  readonly child: ChildProcess
  readonly address: string
  readonly instance: string
  /** HOST:PORT; null: it answers no HTTP. */
  readonly http: string | null
  readonly #log: () => string

  private constructor(child: ChildProcess, ready: Ready, log: () => string) {
    this.child = child
    this.address = ready.address
    this.instance = ready.instance
    this.http = ready.http ?? null
    this.#log = log
  }

  static async start(settings: ServerSettings): Promise<ServerProcess> {
    return (await ServerProcess.launch(settings)).ready
  }

  /** Started, and not waited for: `ready` comes when it accepts jobs. */
  static async launch(settings: ServerSettings): Promise<{ child: ChildProcess; ready: Promise<ServerProcess>; log: () => string }> {
    const file = join(settings.folder, `usher-${Math.random().toString(36).slice(2)}.toml`)
    await writeFile(file, settings.config ?? '')
    const args = [settings.program ?? cli, 'serve', '--json', '--config', file, '--store', settings.store, '--listen', settings.listen ?? '127.0.0.1:0']
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...settings.env } })
    let log = ''
    child.stderr.setEncoding('utf8').on('data', (text: string) => (log += text))
    const ready = new Promise<Ready>((resolve, reject) => {
      let text = ''
      child.stdout.setEncoding('utf8').on('data', (part: string) => {
        text += part
        const line = text.indexOf('\n')
        if (line >= 0) resolve(JSON.parse(text.slice(0, line)) as Ready)
      })
      child.once('exit', (status) => reject(new Error(`usher serve ended with status ${status}:\n${log}`)))
    })
    const server = ready.then((line) => new ServerProcess(child, line, () => log))
    // Whoever waits for it hears of it.
    server.catch(() => undefined)
    return { child, ready: server, log: () => log }
  }

  get log(): string {
    return this.#log()
  }

  get exited(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null
  }

  /** Processes of its own: the submitter, and nothing else as long as no job runs by a runner. */
  async submitterPid(): Promise<number | null> {
    for (const entry of await readdir('/proc')) {
      if (!/^[0-9]+$/.test(entry)) continue
      try {
        const stat = await readFile(`/proc/${entry}/stat`, 'latin1')
        const parent = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]
        if (Number(parent) !== this.child.pid) continue
        if ((await readFile(`/proc/${entry}/cmdline`, 'latin1')).includes('submitter.js')) return Number(entry)
      } catch {
        // It ended while we looked.
      }
    }
    return null
  }

  /** Resolves with the exit status, or the signal's name. */
  async end(signal: NodeJS.Signals): Promise<number | string | null> {
    if (this.exited) return this.child.exitCode ?? this.child.signalCode
    const ended = new Promise<number | string | null>((resolve) => this.child.once('exit', (status, by) => resolve(status ?? by)))
    this.child.kill(signal)
    return ended
  }
}

/** Waits until the condition holds; looks again as soon as it was found not to. */
export const until = async (what: string, condition: () => boolean | Promise<boolean>, withinMs = 30_000): Promise<void> => {
  const end = Date.now() + withinMs
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`${what}: not within ${withinMs} ms`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

export const settledAudit = async (store: string, withinMs = 60_000): Promise<AuditStatus> => {
  let audit = (await statusOf(store)).audit
  await until(
    'all jobs are submitted, dead or duplicates',
    async () => {
      audit = (await statusOf(store)).audit
      return audit.waiting === 0 && audit.inDoubt === 0
    },
    withinMs,
  ).catch((error: unknown) => {
    throw new Error(`${String(error)}: ${JSON.stringify(audit)}`)
  })
  return audit
}
