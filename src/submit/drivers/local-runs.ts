// The records of runs under the store: local/<cluster>/<producer>/<sequence>.run, made by the runner when it claims
// the job, and <sequence>.end beside it when the job has ended. Two small files a job; both are lines of `key value`,
// both written by native/runner alone. Here they are read, listed and, long after the end, removed.
import { readFileSync } from 'node:fs'
import { mkdir, open, readdir, readFile, stat, unlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { errnoOf, UsherError } from '../../base/errors.ts'
import type { Ended } from '../driver.ts'

export interface Run {
  readonly id: string
  readonly pid: number
  readonly startTicks: string
  readonly bootId: string
  readonly host: string
  readonly startedAt: string | null
}

export const jobIdOfRun = (run: Run): string => `${run.pid}@${run.host}`

/** CLOCK_BOOTTIME in milliseconds, from the kernel and without the addon. */
export const bootMs = (): number => {
  const seconds = Number(readFileSync('/proc/uptime', 'latin1').split(' ', 1)[0])
  if (!Number.isFinite(seconds)) throw new UsherError('internal', '/proc/uptime is not as expected')
  return Math.floor(seconds * 1000)
}

export class LocalRuns {
  readonly #root: string
  readonly #known = new Set<string>()
  readonly #bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()
  readonly #host: string

  constructor(root: string, host: string) {
    this.#root = root
    this.#host = host
  }

  /** Where the records of a job are: directory and name without suffix. */
  place(id: string): { directory: string; name: string } {
    const parts = /^([0-9a-f]{16})-([0-9]{1,20})$/.exec(id)
    if (parts === null) throw new UsherError('internal', `'${id}' is not a job id`)
    return { directory: join(this.#root, parts[1] ?? ''), name: parts[2] ?? '' }
  }

  /** Makes a directory and its parents, each synced into the one above it. */
  async prepare(directory: string): Promise<void> {
    if (this.#known.has(directory)) return
    const made = await mkdir(directory, { recursive: true })
    if (made !== undefined) {
      for (let at = directory; at.length >= made.length; at = dirname(at)) await syncDirectory(dirname(at))
    }
    this.#known.add(directory)
  }

  /** Undefined: there is no such run. The caller makes sure that the name isn't looked up before it may be cached as absent. */
  async read(id: string): Promise<Run | undefined> {
    const { directory, name } = this.place(id)
    const text = await readIfThere(join(directory, `${name}.run`))
    if (text === undefined) return undefined
    const fields = parse(text)
    return {
      id,
      pid: Number(fields.get('pid') ?? 0),
      startTicks: fields.get('start_ticks') ?? '',
      bootId: fields.get('boot_id') ?? '',
      host: fields.get('host') ?? '',
      startedAt: fields.get('started') ?? null,
    }
  }

  /** The end as the runner recorded it; undefined: not yet. */
  async readEnd(run: Run): Promise<Ended | undefined> {
    const { directory, name } = this.place(run.id)
    const text = await readIfThere(join(directory, `${name}.end`))
    if (text === undefined) return undefined
    const fields = parse(text)
    const exitCode = fields.get('exit_code')
    return {
      id: run.id,
      jobId: jobIdOfRun(run),
      exitCode: exitCode === undefined ? null : Number(exitCode),
      signal: fields.get('signal') ?? null,
      startedAt: fields.get('started') ?? null,
      endedAt: fields.get('ended') ?? new Date().toISOString(),
      reason: fields.get('reason') ?? 'exited',
    }
  }

  /**
   * Whether the run's runner is alive: only this host can tell, of itself, by the boot, the pid and the pid's start.
   * 'foreign': another host has it.
   */
  liveness(run: Run): 'alive' | 'dead' | 'foreign' {
    if (run.host !== this.#host) return 'foreign'
    if (run.bootId !== this.#bootId) return 'dead'
    let text: string
    try {
      text = readFileSync(`/proc/${run.pid}/stat`, 'latin1')
    } catch (error) {
      if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ESRCH') return 'dead'
      throw error
    }
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
    return fields[0] !== 'Z' && fields[0] !== 'X' && fields[19] === run.startTicks ? 'alive' : 'dead'
  }

  /** The ids that have a run record, among these. Lists directories, so that no cache of absent names can answer. */
  async present(ids: readonly string[]): Promise<Set<string>> {
    const listings = new Map<string, Promise<Set<string>>>()
    const found = new Set<string>()
    for (const id of ids) {
      const { directory, name } = this.place(id)
      const listing = listings.get(directory) ?? listIfThere(directory)
      listings.set(directory, listing)
      if ((await listing).has(`${name}.run`)) found.add(id)
    }
    return found
  }

  /** Ids of runs that have no end yet. */
  async unended(): Promise<string[]> {
    const ids: string[] = []
    for (const producer of await listIfThere(this.#root)) {
      const names = await listIfThere(join(this.#root, producer))
      for (const name of names) {
        if (name.endsWith('.run') && !name.startsWith('.') && !names.has(name.replace(/run$/, 'end')))
          ids.push(`${producer}-${name.slice(0, -4)}`)
      }
    }
    return ids
  }

  /** Removes the records of runs that ended longer ago than `keepMs`, but for those in `except`. Returns how many. */
  async sweep(keepMs: number, except: ReadonlySet<string>): Promise<number> {
    let removed = 0
    for (const producer of await listIfThere(this.#root)) {
      const directory = join(this.#root, producer)
      for (const name of await listIfThere(directory)) {
        const abandoned = name.startsWith('.')
        if (!abandoned && !name.endsWith('.end')) continue
        if (!abandoned && except.has(`${producer}-${name.slice(0, -4)}`)) continue
        const info = await stat(join(directory, name)).catch(ignoreAbsent)
        if (info === undefined || Date.now() - info.mtimeMs < keepMs) continue
        // The end goes last: a run without an end would look lost.
        if (!abandoned) await unlink(join(directory, name.replace(/end$/, 'run'))).catch(ignoreAbsent)
        await unlink(join(directory, name)).catch(ignoreAbsent)
        removed += abandoned ? 0 : 1
      }
    }
    return removed
  }
}

const parse = (text: string): Map<string, string> => {
  const fields = new Map<string, string>()
  for (const line of text.split('\n')) {
    const space = line.indexOf(' ')
    if (space > 0) fields.set(line.slice(0, space), line.slice(space + 1))
  }
  return fields
}

const ignoreAbsent = (error: unknown): undefined => {
  if (errnoOf(error) !== 'ENOENT') throw error
}

const readIfThere = (file: string): Promise<string | undefined> => readFile(file, 'utf8').catch(ignoreAbsent)

const listIfThere = async (directory: string): Promise<Set<string>> =>
  new Set((await readdir(directory).catch(ignoreAbsent)) ?? [])

const syncDirectory = async (directory: string): Promise<void> => {
  const handle = await open(directory, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
