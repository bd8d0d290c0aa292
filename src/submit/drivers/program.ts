// Runs one program to its end, with a time-out and bounded output. It runs in a process group of its own, and the
// whole group is killed when the time is over: by usher, or a second later by timeout(1), if usher has died. So no
// program may outlive usher for longer than outlivesMs. What its end means is for the driver to say.
import { spawn } from 'node:child_process'
import { accessSync, constants, statSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { messageOf } from '../../base/errors.ts'

export type ProgramEnd =
  | { readonly kind: 'exited'; readonly code: number; readonly stdout: string; readonly stderr: string }
  /** Killed by a signal, its own or ours. */
  | { readonly kind: 'killed'; readonly reason: string; readonly stdout: string; readonly stderr: string }
  /** It never ran. */
  | { readonly kind: 'unstarted'; readonly reason: string }

export interface ProgramRun {
  readonly argv: readonly string[]
  readonly stdin?: string
  readonly environment: Readonly<Record<string, string>>
  readonly timeoutMs: number
  /** Of stdout and of stderr each; what is more is read and dropped. Default 64 KiB. */
  readonly outputBytesMax?: number
  /** Takes stdout as it comes, instead of having it collected. */
  readonly onData?: (chunk: Buffer) => void
}

/** How much later than usher timeout(1) kills: usher's own kill says more of it. */
const graceMs = 1000

/** A settle time that no program can still be running after, even if usher was killed just when it had started it. */
export const settlesAfterMs = (timeoutMs: number): number => timeoutMs + graceMs + 1000

/** Where the program is, or undefined if nobody could run it. */
export const executableAt = (name: string, path = '/usr/bin:/bin'): string | undefined => {
  const candidates = name.includes('/') ? [name] : path.split(delimiter).map((directory) => join(directory, name))
  return candidates.find((file) => {
    try {
      accessSync(file, constants.X_OK)
      return statSync(file).isFile()
    } catch {
      // Not there or not ours to run: the next candidate.
      return false
    }
  })
}

export const runProgram = (run: ProgramRun, signal?: AbortSignal): Promise<ProgramEnd> =>
  new Promise((resolve) => {
    const [file, ...rest] = run.argv
    if (file === undefined) return resolve({ kind: 'unstarted', reason: 'no program is configured' })
    if (signal?.aborted === true) return resolve({ kind: 'unstarted', reason: 'given up before it was started' })
    const stdout = new Bounded(run.outputBytesMax ?? 65_536)
    const stderr = new Bounded(run.outputBytesMax ?? 65_536)
    // timeout(1) would say so, too, but only by an exit status that a program can have as well.
    for (const name of ['timeout', file]) {
      if (executableAt(name, run.environment['PATH']) === undefined)
        return resolve({ kind: 'unstarted', reason: `'${name}' is not an executable file` })
    }
    // SIGKILL, and to the whole group: SIGTERM would leave those who ignore it.
    const limit = ['-s', 'KILL', String((run.timeoutMs + graceMs) / 1000)]
    let child
    try {
      child = spawn('timeout', [...limit, file, ...rest], { detached: true, stdio: 'pipe', env: { ...run.environment } })
    } catch (error) {
      return resolve({ kind: 'unstarted', reason: messageOf(error) })
    }
    let why: string | undefined
    const kill = (reason: string): void => {
      why ??= reason
      if (child.pid === undefined) return
      try {
        process.kill(-child.pid, 'SIGKILL')
      } catch {
        // ESRCH: the group is gone already, which is what was wanted.
      }
      // A descendant that left the group may hold the pipes open: nobody waits for it.
      child.stdout.destroy()
      child.stderr.destroy()
    }
    const timer = setTimeout(() => kill(`killed after ${run.timeoutMs / 1000} s`), run.timeoutMs)
    const onAbort = (): void => kill('given up')
    signal?.addEventListener('abort', onAbort, { once: true })
    const finish = (end: ProgramEnd): void => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
      resolve(end)
    }
    child.stdout.on('data', (chunk: Buffer) => (run.onData === undefined ? stdout.add(chunk) : run.onData(chunk)))
    child.stderr.on('data', (chunk: Buffer) => stderr.add(chunk))
    // EPIPE: a program needn't read its input; its exit status says what came of it.
    child.stdin.on('error', () => {})
    child.stdin.end(run.stdin ?? '')
    child.on('error', (error) => {
      if (child.pid === undefined) finish({ kind: 'unstarted', reason: messageOf(error) })
    })
    child.on('close', (code, name) => {
      const output = { stdout: stdout.text(), stderr: stderr.text() }
      if (why === undefined && neverRan(file, code, output)) return finish({ kind: 'unstarted', reason: output.stderr.trim() })
      if (why === undefined && code !== null) return finish({ kind: 'exited', code, ...output })
      finish({ kind: 'killed', reason: why ?? `killed by ${name ?? 'a signal'}`, ...output })
    })
  })

/** Whether timeout(1) could not run it: its interpreter is missing, say. That line alone, in whatever language, is proof. */
const neverRan = (file: string, code: number | null, { stdout, stderr }: { stdout: string; stderr: string }): boolean =>
  (code === 126 || code === 127) && stdout === '' && stderr.includes(file) && /^timeout: [^\n]*\n$/.test(stderr)

class Bounded {
  readonly #bytesMax: number
  readonly #chunks: Buffer[] = []
  #bytes = 0

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
  }

  add(chunk: Buffer): void {
    const room = this.#bytesMax - this.#bytes
    if (room <= 0) return
    const kept = chunk.length > room ? chunk.subarray(0, room) : chunk
    this.#chunks.push(kept)
    this.#bytes += kept.length
  }

  text(): string {
    return Buffer.concat(this.#chunks).toString('utf8')
  }
}
