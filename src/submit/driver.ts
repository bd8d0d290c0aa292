// What every driver is: the code that talks to one cluster. A driver never guesses: what it doesn't
// know for certain it calls in doubt.

import type { JobSpec } from '../protocol/job-spec.ts'

export type { JobSpec } from '../protocol/job-spec.ts'

/** One job on its way to a cluster. `spec` is parsed on first use: bulk drivers may never look at it. */
export interface Submission {
  /** `9f8c2e71a4b0d3e5-17` */
  readonly id: string
  readonly spec: JobSpec
  readonly traceparent: string | undefined
  /** The JSON text of `spec`, as it stands in the .jsonl. */
  readonly specJson: string
}

/** Who submits: stamped on everything that reaches a cluster. */
export interface Origin {
  readonly term: number
  readonly host: string
  readonly instance: string
  readonly version: string
}

export type Outcome =
  /** The cluster has the job; jobId is its name there (null where it gives none). */
  | { readonly kind: 'submitted'; readonly jobId: string | null; readonly detail?: string }
  /** Refused for good: a dead letter. */
  | { readonly kind: 'refused'; readonly reason: string }
  /** Certainly not taken, may be later. */
  | { readonly kind: 'later'; readonly reason: string; readonly afterMs?: number }
  /** Nobody knows. `find` will be asked. */
  | { readonly kind: 'doubt'; readonly reason: string }

export type Finding =
  | { readonly kind: 'found'; readonly jobId: string | null; readonly detail?: string }
  /** The cluster answered, and doesn't have it now. Counts as proof only after settleMs. */
  | { readonly kind: 'absent' }
  /** The cluster couldn't be asked or can't tell: stays in doubt. */
  | { readonly kind: 'unknown'; readonly reason: string }

/** What a driver says of a job that its cluster had acknowledged. */
export type Confirmation = 'kept' | 'forgotten' | 'doubtful' | 'unknown'

/** What became of a job that the cluster had taken. */
export interface Ended {
  readonly id: string
  readonly jobId: string | null
  readonly exitCode: number | null
  readonly signal: string | null
  /** ISO 8601 */
  readonly startedAt: string | null
  readonly endedAt: string
  /** "exited", "killed", "timed out", "lost" … */
  readonly reason: string
}

/** Whether a cluster takes jobs from this host. */
export type Preflight =
  | { readonly ok: true; readonly detail: string }
  /** It was asked and takes no jobs from this host as it is set up, or what asking needs isn't here: another host may fare better. */
  | { readonly ok: false; readonly kind: 'refused'; readonly reason: string }
  /** It can't be asked, or takes nothing now: that is likely to be so for every host, and to pass. */
  | { readonly ok: false; readonly kind: 'unreachable'; readonly reason: string }

export interface DriverLimits {
  /** Most jobs in one submit() call. */
  readonly batchJobsMax: number
  /** Most submit() calls at a time. */
  readonly inFlightMax: number
  /** Most batches whose intents are written and whose outcomes are not. Default: inFlightMax. */
  readonly takenMax?: number
  /** How long after a submission's last possible moment the cluster may still show it late. */
  readonly settleMs: number
  /**
   * How long after its intent a job that isn't found is proven absent. Later the cluster may have run it and dropped it from
   * its listing, and then only an operator can tell. Absent: for ever.
   */
  readonly absentProofMs?: number
  /** How often find/confirm may be asked. */
  readonly askEveryMs: number
  /** Most jobs in one question: more where the answer is the same list for any number of them. Default: askedJobsUsual. */
  readonly askedJobsMax?: number
}

/** How jobs that wait come together in one call. Asked of jobs that wait anyway: nothing ever waits for others to come. */
export interface Gathering {
  /** Jobs with one key may share a call; null: this one shares with none. */
  keyOf(job: Submission): string | null
  /** Begins a call: says of each job, one after the other, whether it still fits. The first always does. */
  begin(): (job: Submission) => boolean
}

export const askedJobsUsual = 1000

export interface Driver {
  readonly kind: string
  readonly limits: DriverLimits
  /** Proves, with this host's own credentials and configuration, that the cluster takes jobs from here. Changes nothing there. */
  preflight(signal: AbortSignal): Promise<Preflight>
  /** One outcome for each job, in their order. Rejects only on a broken invariant. The intent is on stable storage before the call. */
  submit(jobs: readonly Submission[], origin: Origin, signal: AbortSignal): Promise<Outcome[]>
  /** Asks the cluster which of these it has; one finding for each, in their order. Null: the driver has no way to ask. */
  readonly find: ((ids: readonly string[], signal: AbortSignal) => Promise<Finding[]>) | null
  /** Absent: jobs share calls as they come. */
  readonly gathering?: Gathering
  /** How many more jobs may be handed over now (local: free slots). Absent: no bound but the limits. */
  capacity?(): number
  /**
   * Held submission: lets these, whose receipts are on stable storage, run. Idempotent. Absent: jobs are not held.
   * Answers for each: done, gone (no such held job: asked again through find) or later.
   */
  release?(jobs: readonly { id: string; jobId: string }[], signal: AbortSignal): Promise<('done' | 'gone' | 'later')[]>
  /**
   * Whether the cluster still knows what it acknowledged (a crashed slurmctld forgets what it hadn't saved). Called
   * at least confirmAfterMs after the receipt. 'kept': it is safe from now on. 'forgotten': proven, it will be submitted again.
   * 'doubtful': it may have been lost or may have ended, and nobody can tell any more: in doubt from now on. 'unknown': ask again.
   */
  readonly confirmAfterMs?: number
  confirm?(jobs: readonly { id: string; jobId: string | null; submittedAtMs: number }[], signal: AbortSignal): Promise<Confirmation[]>
  /** Called by the submitter once, before the first submit: how ends of jobs reach the ledger. `known` asks for jobs whose end is not yet recorded. */
  watch?(onEnded: (ended: readonly Ended[]) => void, onCapacity: () => void, unended: readonly string[]): void
  close(): Promise<void>
}

/** What a driver is made with. */
export interface DriverContext {
  /** Name of the cluster in the configuration. */
  readonly cluster: string
  /** The store's root, for drivers that keep state there (local: `local/<cluster>/`). */
  readonly storeDirectory: string
  readonly host: string
  readonly log: (level: 'debug' | 'info' | 'warn' | 'error', message: string, details?: Record<string, unknown>) => void
}
