// Jobs for Slurm, each exactly once. Slurm keeps usher's ids in the comment of a job or an array, and is asked about them there.
// Two things must be known of Slurm: it may take a job and not say so (doubt, then find), and slurmctld may forget a
// job it acknowledged, if it dies before it saved its state (confirm). Nothing counts as absent or forgotten here
// unless a whole listing and Slurm's own clocks prove it. The way to Slurm is in slurm-rest.ts or slurm-commands.ts.
import type { Confirmation, Driver, DriverContext, DriverLimits, Finding, Gathering, Origin, Outcome, Preflight, Submission } from '../driver.ts'
import type { AbortOnClose } from './http-exchange.ts'
import { Lanes } from './lanes.ts'
import { settlesAfterMs } from './program.ts'
import type { SlurmOptions } from './registry.ts'
import { arrayKey, beginFitting, slurmArray } from './slurm-array.ts'
import type { Task } from './slurm-array.ts'
import type { SlurmCluster } from './slurm-cluster.ts'
import { SlurmCommands } from './slurm-commands.ts'
import { byId, idsInComment, jobIdOf } from './slurm-comment.ts'
import { slurmJob } from './slurm-job.ts'
import type { ListedJob } from './slurm-listing.ts'
import { SlurmRest } from './slurm-rest.ts'

/** slurmctld saves its jobs at most this long after a change (SAVE_MAX_WAIT 5 s), with as much again in reserve. */
const stateSaveMs = 10_000
/** Between two looks at a job that Slurm keeps, and in reserve wherever times are compared. */
const slackMs = 2000
/**
 * Submissions that the driver takes for each that it makes at a time: while Slurm works on one, the intent of the next and the
 * receipt of the one before are on their way to the disk.
 */
const takenPerLane = 3
/** Slurm's times are whole seconds. */
const roundingMs = 1000
/** By so many jobs arrays grow again after Slurm had no room for one. */
const arrayStep = 50
/** Refusals that may be about an array's size or its script's: invalid array, something too long, too large. */
const aboutSize = /^Slurm error (?:2081|2012|9205):|answers 413/

export interface SlurmSeams {
  readonly abortOnClose?: AbortOnClose
  /** For tests: a clock that never jumps. */
  readonly nowMs?: () => number
}

/** What find can promise beyond the contract: see docs/drivers.md. */
export interface SlurmLimits extends DriverLimits {
  /**
   * `absent` proves nothing about a submission that began longer ago than this: it may have run and left Slurm's
   * memory. Infinity where jobs are held, since a held job never leaves by itself.
   */
  readonly absentProofMs: number
}

export const createSlurmDriver = (options: SlurmOptions, context: DriverContext, seams: SlurmSeams = {}): SlurmDriver =>
  new SlurmDriver(options, context, seams)

export class SlurmDriver implements Driver {
  readonly kind = 'slurm'
  readonly limits: SlurmLimits
  readonly confirmAfterMs = stateSaveMs + slackMs
  /** Not where jobs are held: each of them is released by itself, which would take an array apart. */
  readonly gathering?: Gathering
  /** Only where jobs are held. */
  readonly release?: NonNullable<Driver['release']>
  readonly #options: SlurmOptions
  readonly #context: DriverContext
  readonly #cluster: SlurmCluster
  readonly #commands: SlurmCommands
  readonly #directory = process.cwd()
  readonly #lanes: Lanes
  readonly #nowMs: () => number
  #minJobAgeMs: number
  /** The largest array that Slurm is known not to refuse for its size. */
  #arrayJobsMax: number
  #keepsComments = false
  /** When a job that should be in slurmctld's saved state by now was first seen there. */
  readonly #seenMs = new Map<string, number>()

  constructor(options: SlurmOptions, context: DriverContext, seams: SlurmSeams) {
    this.#options = options
    this.#context = context
    const timeoutMs = (options.timeout ?? 30) * 1000
    const inFlight = options.in_flight ?? 8
    this.#nowMs = seams.nowMs ?? (() => performance.now())
    this.#lanes = new Lanes(inFlight)
    this.#minJobAgeMs = (options.min_job_age ?? 300) * 1000
    this.#arrayJobsMax = options.hold === true ? 1 : (options.array_jobs ?? 1)
    if (this.#arrayJobsMax > 1) this.gathering = { keyOf: arrayKey, begin: () => beginFitting(context.host) }
    this.limits = {
      batchJobsMax: this.#arrayJobsMax,
      inFlightMax: inFlight,
      takenMax: inFlight * takenPerLane,
      // Slurm's message time-out 10 s, its state save 5 s, and a reserve; and an sbatch may outlive usher.
      settleMs: Math.max((options.settle ?? 30) * 1000, options.url === undefined ? settlesAfterMs(timeoutMs) : timeoutMs),
      askEveryMs: 5000,
      askedJobsMax: 10_000,
      absentProofMs: options.hold === true ? Infinity : this.#minJobAgeMs,
    }
    this.#commands = new SlurmCommands({ timeoutMs })
    this.#cluster =
      options.url === undefined ? this.#commands : new SlurmRest(options.url, options, { timeoutMs, inFlight, ...seams })
    if (options.hold === true) this.release = (jobs, signal) => this.#cluster.release(jobs, signal)
  }

  async preflight(signal: AbortSignal): Promise<Preflight> {
    const result = await this.#cluster.preflight(signal)
    if (result.ok && this.#options.url === undefined) await this.#learnConfiguration(signal)
    return result
  }

  /** Only where the commands are the way to Slurm: next to a slurmrestd they could belong to another cluster. */
  async #learnConfiguration(signal: AbortSignal): Promise<void> {
    const configuration = await this.#commands.configuration(signal)
    if (configuration === undefined) return
    this.#keepsComments = configuration.keepsComments
    this.#limitArrays(configuration.arrayJobsMax)
    // 0 means that jobs are never dropped. The shorter of what Slurm says and what was configured is the safe one.
    const reportedMs = configuration.minJobAgeS === 0 ? Infinity : configuration.minJobAgeS * 1000
    if (reportedMs < this.#minJobAgeMs) {
      this.#minJobAgeMs = reportedMs
      if (this.#options.hold !== true) Object.assign(this.limits, { absentProofMs: reportedMs })
    }
  }

  async submit(jobs: readonly Submission[], origin: Origin, signal: AbortSignal): Promise<Outcome[]> {
    const outcomes = new Map<Submission, Outcome>()
    const frame = { origin, hold: this.#options.hold === true, directory: this.#directory, environment: process.env }
    const groups = new Map<string, Task[]>()
    for (const [at, job] of jobs.entries()) {
      const alone = slurmJob(job, frame)
      if ('refused' in alone) {
        outcomes.set(job, { kind: 'refused', reason: alone.refused })
        continue
      }
      // A key is JSON: none is a number.
      const key = this.gathering?.keyOf(job) ?? String(at)
      const group = groups.get(key)
      if (group === undefined) groups.set(key, [{ job, alone }])
      else group.push({ job, alone })
    }
    const calls = [...groups.values()].flatMap((group) => this.#arraysOf(group))
    await Promise.all(calls.map((tasks) => this.#submitTogether(tasks, outcomes, origin, signal)))
    return jobs.map((job) => outcomes.get(job)!)
  }

  /** The dispatcher has gathered what goes together; whatever it gave, no array is larger than Slurm takes. */
  #arraysOf(group: readonly Task[]): Task[][] {
    const sorted = group.toSorted((a, b) => byId(a.job.id, b.job.id))
    const arrays: Task[][] = []
    let fits = beginFitting(this.#context.host)
    for (const task of sorted) {
      const last = arrays.at(-1)
      if (last !== undefined && last.length < this.#arrayJobsMax && fits(task.job)) {
        last.push(task)
        continue
      }
      fits = beginFitting(this.#context.host)
      fits(task.job)
      arrays.push([task])
    }
    return arrays
  }

  async #submitTogether(tasks: readonly Task[], outcomes: Map<Submission, Outcome>, origin: Origin, signal: AbortSignal): Promise<void> {
    const [first] = tasks
    if (first === undefined) return
    if (tasks.length === 1) {
      outcomes.set(first.job, await this.#lanes.run(() => this.#cluster.submit(first.alone, signal)))
      return
    }
    const outcome = await this.#lanes.run(() => this.#cluster.submit(slurmArray(tasks, origin), signal))
    if (outcome.kind === 'refused') {
      // Whose fault that is, of all of them, of one or of their number, is for Slurm to say of each.
      if (aboutSize.test(outcome.reason)) this.#limitArrays(Math.floor(tasks.length / 2))
      await Promise.all(tasks.map((task) => this.#submitTogether([task], outcomes, origin, signal)))
      return
    }
    // Limits on how many jobs there may be can have room for fewer.
    if (outcome.kind === 'later') this.#fewer(tasks.length)
    else if (outcome.kind === 'submitted') this.#more(tasks.length)
    const ids = tasks.map(({ job }) => job.id)
    for (const [at, { job }] of tasks.entries()) {
      const { kind } = outcome
      outcomes.set(job, kind === 'submitted' && outcome.jobId !== null ? { ...outcome, jobId: jobIdOf(outcome.jobId, ids, at) } : outcome)
    }
  }

  #limitArrays(jobs: number): void {
    this.#arrayJobsMax = Math.max(1, Math.min(this.#arrayJobsMax, jobs))
    this.#setBatch(Math.min(this.limits.batchJobsMax, this.#arrayJobsMax))
  }

  #fewer(jobs: number): void {
    this.#setBatch(Math.max(1, Math.min(this.limits.batchJobsMax, Math.floor(jobs / 2))))
  }

  #more(jobs: number): void {
    if (jobs >= this.limits.batchJobsMax) this.#setBatch(Math.min(this.#arrayJobsMax, this.limits.batchJobsMax + arrayStep))
  }

  #setBatch(jobs: number): void {
    Object.assign(this.limits, { batchJobsMax: jobs })
  }

  readonly find = async (ids: readonly string[], signal: AbortSignal): Promise<Finding[]> => {
    const wanted = new Set(ids)
    const found = new Map<string, string[]>()
    const note = oncePerArray((listed, named) => {
      for (const [at, id] of named.entries()) {
        if (!wanted.has(id)) continue
        const jobId = jobIdOf(listed, named, at)
        const jobIds = found.get(id)
        if (jobIds === undefined) found.set(id, [jobId])
        else if (!jobIds.includes(jobId)) jobIds.push(jobId)
      }
    })
    const listing = await this.#cluster.list(note, signal)
    let complete = listing.complete
    let reason = listing.complete ? '' : listing.reason
    // What slurmctld has dropped, slurmdbd may still know; where it can't be asked, nothing more is known than before.
    if (this.#keepsComments && found.size < wanted.size && !(await this.#commands.accounted(30, note, signal))) {
      complete = false
      reason = "slurmdbd can't be asked"
    }
    return ids.map((id): Finding => {
      const jobIds = found.get(id)
      if (jobIds === undefined) return complete ? { kind: 'absent' } : { kind: 'unknown', reason }
      if (jobIds.length === 1) return { kind: 'found', jobId: jobIds[0] as string }
      this.#context.log('error', 'Slurm has several jobs with one id', { id, jobIds })
      return { kind: 'found', jobId: jobIds[0] as string, detail: `Slurm has several jobs with this id: ${jobIds.join(', ')}` }
    })
  }

  async confirm(
    jobs: readonly { id: string; jobId: string | null; submittedAtMs: number }[],
    signal: AbortSignal,
  ): Promise<Confirmation[]> {
    // Before the listing: a slurmctld that restarts in between makes for one more question, not for a wrong answer.
    const uptimeMs = await this.#cluster.uptimeMs(signal)
    const askedAtMs = Date.now()
    const wanted = new Set(jobs.map((job) => job.id))
    const wantedJobIds = new Set(jobs.map((job) => numberOf(job.jobId)))
    const present = new Set<string>()
    /** Numbers that were given to these jobs and are somebody's now. Whose jobs are present is answered before. */
    const taken = new Set<string>()
    const note = oncePerArray((listed, named) => {
      for (const id of named) if (wanted.has(id)) present.add(id)
      if (wantedJobIds.has(listed)) taken.add(listed)
    })
    const listing = await this.#cluster.list(note, signal)
    const answers = jobs.map((job): Confirmation => {
      const ageMs = askedAtMs - job.submittedAtMs
      if (present.has(job.id)) return ageMs >= stateSaveMs && this.#seenAgain(job.id) ? 'kept' : 'unknown'
      if (!listing.complete) return 'unknown'
      this.#seenMs.delete(job.id)
      // If any part of its array were there, the job would be present.
      const reused = job.jobId !== null && taken.has(numberOf(job.jobId)!)
      // Durations are compared, each by its own clock: slurmctld's since its start, ours since the intent. Where slurmctld
      // doesn't say, neither is known.
      const restarted = uptimeMs === undefined ? undefined : uptimeMs < ageMs + roundingMs
      // A job that old may have ended and been dropped as it should be; and certainly was, if slurmctld never went away.
      if (Date.now() - job.submittedAtMs >= this.#minJobAgeMs - slackMs)
        return reused || restarted === true ? 'doubtful' : restarted === false ? 'kept' : 'unknown'
      // Submitted in the future: a clock was set, and no age can be trusted.
      if (ageMs < 0) return 'unknown'
      return reused || restarted === true ? 'forgotten' : 'unknown'
    })
    for (const [at, answer] of answers.entries()) if (answer !== 'unknown') this.#seenMs.delete(jobs[at]!.id)
    return answers
  }

  /**
   * Whether Slurm was seen to have the job once before, a while ago. Once is not enough: a slurmctld that was stopped and goes on
   * shows jobs that are old by the clock and not saved yet. It saves as soon as it runs again.
   */
  #seenAgain(id: string): boolean {
    const now = this.#nowMs()
    const before = this.#seenMs.get(id)
    if (before === undefined) this.#seenMs.set(id, now)
    return before !== undefined && now - before >= slackMs
  }

  close(): Promise<void> {
    this.#cluster.close()
    return Promise.resolve()
  }
}

/** The number of the job, or of the array that it is a task of. */
const numberOf = (jobId: string | null): string | null => jobId?.replace(/_\d+$/, '') ?? null

/** Slurm lists each task that has begun to run with the comment of them all: read once, it has said everything. */
const oncePerArray = (note: (jobId: string, ids: readonly string[]) => void): ((job: ListedJob) => void) => {
  const seen = new Map<string, string>()
  return ({ jobId, comment }) => {
    if (seen.get(jobId) === comment) return
    seen.set(jobId, comment)
    note(jobId, idsInComment(comment))
  }
}
