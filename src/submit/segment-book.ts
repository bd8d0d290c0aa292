// One segment in the books: the state of each of its jobs, and what remains to be done about them. Values, no rules.

export const state = {
  waiting: 0,
  intent: 1,
  submitted: 2,
  dead: 3,
  doubt: 4,
  duplicate: 5,
  discarded: 6,
} as const
export const stateNames = ['waiting', 'intent', 'submitted', 'dead', 'in doubt', 'duplicate', 'discarded'] as const

/** What remains to be done about a job that the cluster has. */
export interface FollowUp {
  readonly jobId: string | null
  /** When the receipt was written, by the leader's wall clock. */
  readonly at: string
  held: boolean
  unconfirmed: boolean
  unended: boolean
}

export interface Note {
  readonly at: string
  readonly reason: string
}

/** A dead letter with this reason can only be discarded: its id belongs to another job. */
export const conflictReason = 'id_conflict: a job with this id and another content was accepted before'

export interface SegmentBook {
  readonly ref: string
  readonly count: number
  readonly clusters: Readonly<Record<string, number>>
  /** One state for each job; null once nothing of it can change any more. */
  states: Uint8Array | null
  /** Index into the keys of `clusters` for each job that has been intended; null where there is only one. */
  clusterOf: Uint16Array | null
  /** When each job was last intended, by its leader's wall clock (ms); null before the first intent. */
  intendedMs: Float64Array | null
  /** Both null with `states`. */
  producers: BigUint64Array | null
  sequences: BigUint64Array | null
  /** Jobs that are waiting, intended, in doubt or dead. */
  unfinished: number
  /** Jobs that are waiting: what dispatchers look for. */
  waiting: number
  /** Why jobs are dead or in doubt. */
  readonly notes: Map<number, Note>
  readonly followUps: Map<number, FollowUp>
  /** When something last happened to it, by the wall clock of the leader of that time. */
  lastMs: number
  /** Positions of the files of the ledger that tell of it: none before, none after. */
  readonly first: number
  last: number
}

export const parseRef = (ref: string): { instance: string; number: number } => {
  const slash = ref.lastIndexOf('/')
  return { instance: ref.slice(0, slash), number: Number(ref.slice(slash + 1)) }
}

export const formatId = (producer: bigint, sequence: bigint): string => `${producer.toString(16).padStart(16, '0')}-${sequence}`
