// Jobs for Slurm, each exactly once. Slurm keeps usher's job id in the job's comment, and is asked about it there.
// Two things must be known of Slurm: it may take a job and not say so (doubt, then find), and slurmctld may forget a
// job it acknowledged, if it dies before it saved its state (confirm). Nothing counts as absent or forgotten here
// unless a whole listing and Slurm's own clocks prove it. The way to Slurm is in slurm-rest.ts or slurm-commands.ts.
import type { Confirmation, Driver, DriverContext, DriverLimits, Finding, Origin, Outcome, Preflight, Submission } from '../driver.ts'
import type { AbortOnClose } from './http-exchange.ts'
import { Lanes } from './lanes.ts'
import { settlesAfterMs } from './program.ts'
import type { SlurmOptions } from './registry.ts'
import type { SlurmCluster } from './slurm-cluster.ts'
import { SlurmCommands } from './slurm-commands.ts'
import { idInComment, slurmJob } from './slurm-job.ts'
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
    this.limits = {
      batchJobsMax: 1,
      inFlightMax: inFlight * takenPerLane,
      // Slurm's message time-out 10 s, its state save 5 s, and a reserve; and an sbatch may outlive usher.
      settleMs: Math.max((options.settle ?? 30) * 1000, options.url === undefined ? settlesAfterMs(timeoutMs) : timeoutMs),
      askEveryMs: 5000,
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
    // 0 means that jobs are never dropped. The shorter of what Slurm says and what was configured is the safe one.
    const reportedMs = configuration.minJobAgeS === 0 ? Infinity : configuration.minJobAgeS * 1000
    if (reportedMs < this.#minJobAgeMs) {
      this.#minJobAgeMs = reportedMs
      if (this.#options.hold !== true) Object.assign(this.limits, { absentProofMs: reportedMs })
    }
  }

  submit(jobs: readonly Submission[], origin: Origin, signal: AbortSignal): Promise<Outcome[]> {
    return Promise.all(
      jobs.map(async (job): Promise<Outcome> => {
        const description = slurmJob(job, {
          origin,
          hold: this.#options.hold === true,
          directory: this.#directory,
          environment: process.env,
        })
        return 'refused' in description
          ? { kind: 'refused', reason: description.refused }
          : this.#lanes.run(() => this.#cluster.submit(description, signal))
      }),
    )
  }

  readonly find = async (ids: readonly string[], signal: AbortSignal): Promise<Finding[]> => {
    const wanted = new Set(ids)
    const found = new Map<string, string[]>()
    const note = (job: { jobId: string; comment: string }): void => {
      const id = idInComment(job.comment)
      if (id === undefined || !wanted.has(id)) return
      const jobIds = found.get(id)
      if (jobIds === undefined) found.set(id, [job.jobId])
      else if (!jobIds.includes(job.jobId)) jobIds.push(job.jobId)
    }
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
    const wantedJobIds = new Set(jobs.map((job) => job.jobId))
    const present = new Set<string>()
    /** Who has the numbers that were given to these jobs. */
    const holders = new Map<string, string | undefined>()
    const listing = await this.#cluster.list((job) => {
      const id = idInComment(job.comment)
      if (id !== undefined && wanted.has(id)) present.add(id)
      if (wantedJobIds.has(job.jobId)) holders.set(job.jobId, id)
    }, signal)
    const answers = jobs.map((job): Confirmation => {
      const ageMs = askedAtMs - job.submittedAtMs
      if (present.has(job.id)) return ageMs >= stateSaveMs && this.#seenAgain(job.id) ? 'kept' : 'unknown'
      if (!listing.complete) return 'unknown'
      this.#seenMs.delete(job.id)
      const reused = job.jobId !== null && holders.has(job.jobId) && holders.get(job.jobId) !== job.id
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
