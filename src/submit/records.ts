// What the ledger holds: the records, each in a frame of its own (frames.ts).
//
// Jobs are named by segment and runs of indexes in it: [[first, last], …], both inclusive.

export type Runs = readonly (readonly [number, number])[]

export interface Author {
  readonly host: string
  readonly instance: string
  readonly pid: number
  readonly version: string
  readonly config: string
}

interface Base {
  readonly term: number
  /** ISO 8601, the leader's wall clock: for people, never compared. */
  readonly at: string
}

/** About jobs of one segment. */
interface OfSegment extends Base {
  /** `<instance>/<number>` */
  readonly of: string
}

interface OfJobs extends OfSegment {
  readonly jobs: Runs
}

/** How much of a file holds whole records. */
export interface LedgerExtent {
  readonly term: number
  readonly file: number
  readonly bytes: number
}

/** A snapshot: the number-th of its term. */
export interface SnapshotRef {
  readonly term: number
  readonly number: number
}

/** The first record of every file. */
export interface OpenRecord extends Base {
  readonly k: 'open'
  readonly store: string
  readonly by: Author
  /** In a term's first file: what counts of earlier terms. Bytes beyond came late, and don't. */
  readonly read?: readonly LedgerExtent[]
  /** In a term's first file: the snapshot that it began from; left out where there was none. */
  readonly from?: SnapshotRef
}

/** A segment was read, its ids compared with all seen before. Precedes everything about its jobs. */
export interface AdmitRecord extends OfSegment {
  readonly k: 'admit'
  readonly count: number
  readonly clusters: Readonly<Record<string, number>>
  /** Runs of ids in the order of the segment: producer (16 hex digits), first sequence (decimal), how many. */
  readonly ids: readonly (readonly [string, string, number])[]
  /** Base64 of the 8-byte digests, little-endian, in the order of the segment. */
  readonly digests: string
  /** Accepted before with the same content: the producer resent them. */
  readonly duplicates?: Runs
  /** Accepted before with another content. */
  readonly conflicts?: Runs
}

/** A segment that can't be transformed. */
export interface AsideRecord extends OfSegment {
  readonly k: 'aside'
  readonly count: number
  readonly reason: string
}

/** Every segment up to `last` of an instance that is gone has been admitted or set aside. */
export interface GoneRecord extends Base {
  readonly k: 'gone'
  readonly instance: string
  readonly last: number
}

/** About to be handed to the cluster: on stable storage before the cluster hears of it. */
export interface IntentRecord extends OfJobs {
  readonly k: 'intent'
  readonly cluster: string
}

export interface ReceiptRecord extends OfJobs {
  readonly k: 'receipt'
  /** The cluster's names for the jobs, in their order; left out where it gives none. */
  readonly ids?: readonly (string | null)[]
  /** Learnt by asking the cluster, not from its answer to the submission. */
  readonly found?: true
  /** Submitted on hold: to be released. */
  readonly held?: true
  /** The cluster may forget it: to be confirmed. */
  readonly unconfirmed?: true
  /** The driver will tell how it ends. */
  readonly unended?: true
  readonly detail?: string
}

/** Refused for good: dead letters. */
export interface RefusedRecord extends OfJobs {
  readonly k: 'refused'
  readonly reason: string
}

/** Certainly not taken; will be tried again. */
export interface LaterRecord extends OfJobs {
  readonly k: 'later'
  readonly reason: string
}

export interface DoubtRecord extends OfJobs {
  readonly k: 'doubt'
  readonly reason: string
}

/** Proven: the cluster doesn't have them. Submitted again. */
export interface AbsentRecord extends OfJobs {
  readonly k: 'absent'
}

/** Proven: the cluster has lost what it had acknowledged. Submitted again. */
export interface ForgottenRecord extends OfJobs {
  readonly k: 'forgotten'
}

export interface ReleasedRecord extends OfJobs {
  readonly k: 'released'
}

export interface ConfirmedRecord extends OfJobs {
  readonly k: 'confirmed'
}

/** How a job ended at the cluster. */
export interface EndedRecord extends OfJobs {
  readonly k: 'ended'
  readonly ends: readonly {
    readonly exitCode: number | null
    readonly signal: string | null
    readonly startedAt: string | null
    readonly endedAt: string
    readonly reason: string
  }[]
}

/** An operator's decision on dead letters or jobs in doubt. */
export interface DecisionRecord extends OfJobs {
  readonly k: 'decision'
  readonly request: string
  /** retry: dead → waiting. discard: dead → discarded. submitted | absent: in doubt → submitted | waiting. */
  readonly as: 'retry' | 'discard' | 'submitted' | 'absent'
  readonly by: string
  readonly jobId?: string
}

/** A request of an operator was carried out (or could not be): its file may go. */
export interface RequestRecord extends Base {
  readonly k: 'request'
  readonly request: string
  readonly result: string
  /** Jobs that were named and are not in a state to be decided on. */
  readonly unfit?: readonly string[]
}

/** The files of these segments, all finished, are about to be removed: only their sums remain. */
export interface RemovedRecord extends Base {
  readonly k: 'removed'
  readonly instance: string
  /** Numbers of segments. */
  readonly segments: Runs
  readonly tally: Tally
}

/** The directory of an instance that was gone has been removed: it is as if it had never been. */
export interface ClearedRecord extends Base {
  readonly k: 'cleared'
  readonly instance: string
}

/** Files of the ledger are about to be removed. */
export interface TrimmedRecord extends Base {
  readonly k: 'trimmed'
  /** Without this snapshot or a newer one the ledger says nothing any more. */
  readonly needs: SnapshotRef
  /** Requests recorded before this time are forgotten. */
  readonly requestsBefore?: string
  /** Terms before this one, of which no file remains, are forgotten. */
  readonly termsBefore?: number
}

/** Jobs of finished segments by what became of them. */
export interface Tally {
  readonly submitted: number
  readonly duplicates: number
  readonly discarded: number
}

export type LedgerRecord =
  | OpenRecord
  | AdmitRecord
  | AsideRecord
  | GoneRecord
  | IntentRecord
  | ReceiptRecord
  | RefusedRecord
  | LaterRecord
  | DoubtRecord
  | AbsentRecord
  | ForgottenRecord
  | ReleasedRecord
  | ConfirmedRecord
  | EndedRecord
  | DecisionRecord
  | RequestRecord
  | RemovedRecord
  | ClearedRecord
  | TrimmedRecord

/** Records that name single jobs of a segment. */
export type JobsRecord = Extract<LedgerRecord, { jobs: Runs }>

export const isJobsRecord = (record: LedgerRecord): record is JobsRecord => 'jobs' in record

const clusterNames = /"ids":\[(?:(?:null|"(?:[^"\\]|\\.)*")(?:,|(?=\])))*\],/

/**
 * A record as far as the books need it: without the cluster's names for jobs of which nothing remains to be done. Parsing
 * them, a string for each job there ever was, takes a new leader longer than all the rest.
 */
export const parseForBooks = (json: string): unknown => {
  // A pattern that matches very many names needs very much stack.
  const isLean = json.length > 1_000_000 || !json.startsWith('{"k":"receipt"') || /"(?:held|unconfirmed|unended)":/.test(json)
  return JSON.parse(isLean ? json : json.replace(clusterNames, ''))
}

/** Indexes → runs. They need not be in order. */
export const runsOf = (indexes: readonly number[]): [number, number][] => {
  const sorted = [...indexes].sort((a, b) => a - b)
  const runs: [number, number][] = []
  for (const index of sorted) {
    const last = runs.at(-1)
    if (last !== undefined && index === last[1] + 1) last[1] = index
    else runs.push([index, index])
  }
  return runs
}

export const countOf = (runs: Runs): number => runs.reduce((sum, [first, last]) => sum + last - first + 1, 0)

export function* indexesOf(runs: Runs): Generator<number> {
  for (const [first, last] of runs) for (let index = first; index <= last; index += 1) yield index
}
