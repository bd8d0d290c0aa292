// The embedded default: runs jobs as processes of this machine, at most `slots` at a time. Each job has a runner
// (native/runner) that outlives usher, claims the job exactly once under the store and records its end there.
// This file starts runners and watches runs, also those that an earlier usher started; it never runs a job itself.
import { type ChildProcess, spawn } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join, resolve as absolute } from 'node:path'
import { fileURLToPath } from 'node:url'
import { messageOf } from '../../base/errors.ts'
import type { Driver, DriverContext, DriverLimits, Ended, Finding, Origin, Outcome, Preflight, Submission } from '../driver.ts'
import { orderText } from './local-order.ts'
import { bootMs, jobIdOfRun, LocalRuns, type Run } from './local-runs.ts'
import type { LocalOptions } from './registry.ts'

/** How long a runner that was started may still claim its job. The kernel kills those that haven't by then. */
const claimWithinMs = 5000
const pollMs = 500
const pollForeignMs = 10_000
const sweepMs = 3_600_000

export interface LocalSeams {
  /** The runner's program. */
  readonly runner?: string
}

export const createLocalDriver = (options: LocalOptions, context: DriverContext, seams: LocalSeams = {}): Driver =>
  new LocalDriver(options, context, seams)

class LocalDriver implements Driver {
  readonly kind = 'local'
  readonly limits: DriverLimits
  readonly #context: DriverContext
  readonly #runs: LocalRuns
  readonly #slots: number
  readonly #graceMs: number
  readonly #keepMs: number
  readonly #runner: string
  readonly #directory = process.cwd()
  /** Jobs whose runner was started and hasn't said yet whether it claimed. */
  #starting = 0
  /** Claimed and not ended, on this host: they hold the slots. */
  readonly #running = new Map<string, Run>()
  /** Those of `#running` that are no children of this process, and runs of other hosts. Polled. */
  readonly #inherited = new Map<string, Run>()
  readonly #reported = new Set<string>()
  #onEnded: ((ended: readonly Ended[]) => void) | undefined
  #onCapacity: (() => void) | undefined
  #timers: NodeJS.Timeout[] = []
  #polling = false
  #lastForeignPoll = 0
  #ready: Promise<void> = Promise.resolve()
  #closed = false

  constructor(options: LocalOptions, context: DriverContext, seams: LocalSeams) {
    this.#context = context
    this.#slots = options.slots ?? availableParallelism()
    this.#graceMs = (options.grace ?? 5) * 1000
    this.#keepMs = Math.max(options.keep_runs ?? 86_400, 3600) * 1000
    this.#runner = seams.runner ?? builtRunner()
    this.#runs = new LocalRuns(absolute(context.storeDirectory, 'local', context.cluster), context.host)
    this.limits = {
      batchJobsMax: Math.min(this.#slots, 64),
      inFlightMax: 4,
      // Beyond its deadline a runner can't claim; what is added covers a store that shows the claim late.
      settleMs: claimWithinMs + 3000,
      askEveryMs: 1000,
    }
  }

  preflight(): Promise<Preflight> {
    try {
      accessSync(this.#runner, constants.X_OK)
      return Promise.resolve({ ok: true, detail: `${this.#slots} slots` })
    } catch (error) {
      return Promise.resolve({ ok: false, kind: 'refused', reason: `the runner can't be executed: ${messageOf(error)}` })
    }
  }

  capacity(): number {
    return Math.max(0, this.#slots - this.#running.size - this.#starting)
  }

  async submit(jobs: readonly Submission[], origin: Origin, signal: AbortSignal): Promise<Outcome[]> {
    await this.#ready
    return Promise.all(jobs.map((job) => this.#submitOne(job, origin, signal)))
  }

  async #submitOne(job: Submission, origin: Origin, signal: AbortSignal): Promise<Outcome> {
    if (signal.aborted || this.#closed) return { kind: 'later', reason: 'given up before it was started' }
    if (this.capacity() === 0) return { kind: 'later', reason: `all ${this.#slots} slots are taken` }
    const { directory, name } = this.#runs.place(job.id)
    this.#starting += 1
    try {
      const order = orderText(job.spec, {
        records: directory,
        name,
        stamps: [`id ${job.id}`, `host ${this.#context.host}`, `term ${origin.term}`, `instance ${origin.instance}`],
        deadlineMs: bootMs() + claimWithinMs,
        graceMs: this.#graceMs,
        directory: this.#directory,
        environment: process.env,
      })
      if ('refused' in order) return { kind: 'refused', reason: order.refused }
      try {
        await this.#runs.prepare(directory)
      } catch (error) {
        return { kind: 'later', reason: `the store can't be written: ${messageOf(error)}` }
      }
      return await this.#start(job.id, order)
    } finally {
      this.#starting -= 1
    }
  }

  async #start(id: string, order: Buffer): Promise<Outcome> {
    let child: ChildProcess
    try {
      child = spawn(this.#runner, [], { detached: true, stdio: ['pipe', 'pipe', 'ignore'], cwd: '/', env: {} })
    } catch (error) {
      return { kind: 'later', reason: `no runner: ${messageOf(error)}` }
    }
    const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()))
    const said = await new Promise<string | Error>((resolve) => {
      let text = ''
      // An error of a child without a pid: it was never started.
      child.once('error', (error) => child.pid === undefined && resolve(error))
      child.stdin?.on('error', () => {}) // A runner that died before reading says so by saying nothing.
      child.stdin?.end(order)
      child.stdout?.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
      child.stdout?.once('close', () => resolve(text.trim()))
      child.stdout?.on('error', () => {}) // 'close' follows.
    })
    // A running job keeps no usher from ending; the exit is still noticed while usher runs.
    child.unref()
    if (said instanceof Error) return { kind: 'later', reason: `no runner: ${said.message}` }
    const [word = '', ...rest] = said.split(' ')
    if (word === 'late') return { kind: 'later', reason: `the runner could not claim the job within ${claimWithinMs / 1000} s` }
    if (word === 'failed') return { kind: 'later', reason: rest.join(' ') }
    if (word !== 'claimed' && word !== 'exists')
      return { kind: 'doubt', reason: said === '' ? 'the runner ended without a word' : `the runner says '${said}'` }
    let run: Run | undefined
    try {
      run = await this.#runs.read(id)
    } catch (error) {
      return { kind: 'doubt', reason: `the run record can't be read: ${messageOf(error)}` }
    }
    if (run === undefined) return { kind: 'doubt', reason: 'the run record is not there' }
    if (word === 'exists') {
      await this.#inherit(run)
      return { kind: 'submitted', jobId: jobIdOfRun(run), detail: 'it was running, or had run, already' }
    }
    this.#running.set(id, run)
    const own = run
    void exited.then(() => this.#settle(own))
    return { kind: 'submitted', jobId: jobIdOfRun(run) }
  }

  /** The runner of a run is gone: its end is on the store, or there will never be one. */
  async #settle(run: Run): Promise<void> {
    try {
      const end = await this.#runs.readEnd(run)
      this.#over(run, end ?? lost(run))
    } catch (error) {
      this.#context.log('warn', "the end of a run can't be read yet", { id: run.id, error: messageOf(error) })
      this.#inherited.set(run.id, run)
    }
  }

  #over(run: Run, ended: Ended): void {
    this.#inherited.delete(run.id)
    const freed = this.#running.delete(run.id)
    if (!this.#reported.has(run.id)) {
      this.#reported.add(run.id)
      // Enough to keep a run from being reported twice by the child's end and by a poll; older ids can't recur.
      if (this.#reported.size > 10_000) this.#reported.delete(this.#reported.values().next().value ?? '')
      this.#onEnded?.([ended])
    }
    if (freed) this.#onCapacity?.()
  }

  /** Takes on a run that is no child of this process. */
  async #inherit(run: Run): Promise<void> {
    if (this.#running.has(run.id)) return
    const state = this.#runs.liveness(run)
    if (state !== 'foreign') this.#running.set(run.id, run)
    this.#inherited.set(run.id, run)
    if (state === 'dead') await this.#settle(run)
  }

  readonly find = async (ids: readonly string[]): Promise<Finding[]> => {
    try {
      const present = await this.#runs.present(ids)
      const findings: Finding[] = []
      for (const id of ids) {
        const run = present.has(id) ? await this.#runs.read(id) : undefined
        if (run !== undefined) await this.#inherit(run)
        if (run !== undefined) findings.push({ kind: 'found', jobId: jobIdOfRun(run) })
        else findings.push(present.has(id) ? { kind: 'unknown', reason: 'its run record went away' } : { kind: 'absent' })
      }
      return findings
    } catch (error) {
      return ids.map(() => ({ kind: 'unknown', reason: `the store can't be read: ${messageOf(error)}` }))
    }
  }

  watch(onEnded: (ended: readonly Ended[]) => void, onCapacity: () => void, unended: readonly string[]): void {
    this.#onEnded = onEnded
    this.#onCapacity = onCapacity
    // Nothing is submitted before the runs that survived have been counted.
    this.#ready = this.#takeOver(unended)
    this.#timers.push(setInterval(() => void this.#poll(), pollMs))
    const open = new Set(unended)
    this.#timers.push(setInterval(() => void this.#sweep(open), sweepMs))
    for (const timer of this.#timers) timer.unref()
  }

  async #takeOver(unended: readonly string[]): Promise<void> {
    try {
      // Those that the ledger knows, and those whose receipt was lost with the usher that started them.
      const ids = new Set([...unended, ...(await this.#runs.unended())])
      const present = await this.#runs.present([...ids])
      for (const id of ids) {
        const run = present.has(id) ? await this.#runs.read(id) : undefined
        if (run !== undefined) await this.#inherit(run)
        else if (unended.includes(id)) this.#onEnded?.([{ ...lostWithoutRecord, id, endedAt: new Date().toISOString() }])
      }
    } catch (error) {
      this.#context.log('error', "the runs of an earlier usher can't be read", { error: messageOf(error) })
    }
    if (this.capacity() > 0) this.#onCapacity?.()
  }

  async #poll(): Promise<void> {
    if (this.#polling || this.#inherited.size === 0) return
    this.#polling = true
    try {
      const nowMs = performance.now()
      const foreignToo = nowMs - this.#lastForeignPoll > pollForeignMs
      if (foreignToo) this.#lastForeignPoll = nowMs
      for (const run of [...this.#inherited.values()]) {
        // Liveness first: a runner that ended in between has written its end by then.
        const state = this.#runs.liveness(run)
        if (state === 'alive' || (state === 'foreign' && !foreignToo)) continue
        // The listing is for another host's directory; its answer is not needed, only that it is fresh.
        if (state === 'foreign') await this.#runs.present([run.id])
        const end = await this.#runs.readEnd(run)
        if (end !== undefined) this.#over(run, end)
        else if (state === 'dead') this.#over(run, lost(run))
      }
    } catch (error) {
      this.#context.log('warn', "runs can't be watched now", { error: messageOf(error) })
    } finally {
      this.#polling = false
    }
  }

  async #sweep(open: ReadonlySet<string>): Promise<void> {
    try {
      const removed = await this.#runs.sweep(this.#keepMs, open)
      if (removed > 0) this.#context.log('info', 'the records of old runs were removed', { removed })
    } catch (error) {
      this.#context.log('warn', "the records of old runs can't be removed", { error: messageOf(error) })
    }
  }

  /** Runs go on; the next usher takes them over. */
  async close(): Promise<void> {
    this.#closed = true
    for (const timer of this.#timers) clearInterval(timer)
    this.#timers = []
    await this.#ready
    this.#onEnded = undefined
    this.#onCapacity = undefined
  }
}

const lost = (run: Run): Ended => ({
  id: run.id,
  jobId: jobIdOfRun(run),
  exitCode: null,
  signal: null,
  startedAt: run.startedAt,
  endedAt: new Date().toISOString(),
  reason: 'lost',
})

const lostWithoutRecord = { jobId: null, exitCode: null, signal: null, startedAt: null, reason: 'lost' }

const builtRunner = (): string => {
  const root = fileURLToPath(new URL('../../..', import.meta.url))
  const candidates = [
    join(root, 'build/Release/usher-run'),
    join(root, `prebuilds/${process.platform}-${process.arch}/usher-run`),
  ]
  return (
    candidates.find((file) => {
      try {
        accessSync(file, constants.X_OK)
        return true
      } catch {
        // Not built in this way: the next candidate, and preflight says so if there is none.
        return false
      }
    }) ?? (candidates[0] as string)
  )
}
