// The books: what the ledger adds up to. A pure fold over records, used by the leader as it writes
// them, by its successor as it reads them, and by every command that looks at a store.
//
// A job's states and the records that move it:
//
//   waiting -intent-> intent -receipt-> submitted -(forgotten)-> waiting, -(doubt, unconfirmed)-> doubt
//                       |-refused-> dead -decision-> waiting | discarded
//                       |-later, absent-> waiting
//                       '-doubt, or the term's end-> doubt -receipt-> submitted
//                                                         '-absent, decision-> waiting | submitted
//   duplicate: accepted before, same content.   A conflict (same id, other content) is dead from the start.
//
// A record that finds its job in another state than it can follow on is counted as an anomaly and changes
// nothing: late records of superseded terms do that.

import { invariant } from '../base/errors.ts'
import { countOf, indexesOf, isJobsRecord } from './records.ts'
import type { AdmitRecord, JobsRecord, LedgerRecord, OpenRecord } from './records.ts'

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
const stateCount = stateNames.length

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
}

export interface Audit {
  submitted: number
  waiting: number
  inDoubt: number
  dead: number
  discarded: number
  duplicates: number
  setAside: number
}

export interface Term {
  readonly term: number
  readonly at: string
  readonly host: string
  readonly instance: string
}

export const parseRef = (ref: string): { instance: string; number: number } => {
  const slash = ref.lastIndexOf('/')
  return { instance: ref.slice(0, slash), number: Number(ref.slice(slash + 1)) }
}

export const formatId = (producer: bigint, sequence: bigint): string => `${producer.toString(16).padStart(16, '0')}-${sequence}`

export interface BooksOptions {
  /** Keeps how many jobs each settled segment had, for a survey of the files. The leader doesn't need it. */
  readonly keepCounts?: boolean
}

export class Books {
  /** Those of which something can still change, in the order of admission. */
  readonly segments = new Map<string, SegmentBook>()
  readonly setAside = new Map<string, { readonly count: number; readonly reason: string; readonly at: string }>()
  /** Instance → newest segment admitted or set aside. */
  readonly cursors = new Map<string, number>()
  /** Instances that are gone and wholly admitted. */
  readonly gone = new Map<string, number>()
  readonly terms: Term[] = []
  /** Requests of operators that have been dealt with, with what came of it. */
  readonly requests = new Map<string, string>()
  /** Records that followed on nothing. */
  anomalies = 0
  #counts = new Array<number>(stateCount).fill(0)
  #setAsideJobs = 0
  /** Segment → jobs, of all that were admitted. */
  readonly #admitted: Map<string, number> | null

  constructor(options: BooksOptions = {}) {
    this.#admitted = options.keepCounts === true ? new Map() : null
  }

  /** Jobs of an admitted segment, whatever became of them; only with keepCounts. */
  get admitted(): ReadonlyMap<string, number> {
    return this.#admitted ?? new Map()
  }

  /** Intended jobs count as waiting here unless `ended` says that their leader is gone: then they are in doubt. */
  audit(leaderGone = false): Audit {
    const at = (index: number): number => this.#counts[index] ?? 0
    return {
      submitted: at(state.submitted),
      waiting: at(state.waiting) + (leaderGone ? 0 : at(state.intent)),
      inDoubt: at(state.doubt) + (leaderGone ? at(state.intent) : 0),
      dead: at(state.dead),
      discarded: at(state.discarded),
      duplicates: at(state.duplicate),
      setAside: this.#setAsideJobs,
    }
  }

  /** Jobs admitted or set aside, whatever became of them. */
  get known(): number {
    return this.#counts.reduce((sum, count) => sum + count, this.#setAsideJobs)
  }

  idAt(segment: SegmentBook, index: number): string {
    const producer = segment.producers?.[index]
    const sequence = segment.sequences?.[index]
    invariant(producer !== undefined && sequence !== undefined, `the id of job ${index} of ${segment.ref} is held`)
    return formatId(producer, sequence)
  }

  /** The cluster of a job that has been intended. */
  clusterAt(segment: SegmentBook, index: number): string {
    return Object.keys(segment.clusters)[segment.clusterOf?.[index] ?? 0] ?? ''
  }

  apply(record: LedgerRecord): void {
    if (isJobsRecord(record)) {
      this.#applyJobs(record)
      return
    }
    switch (record.k) {
      case 'open':
        this.#applyOpen(record)
        return
      case 'admit':
        this.#applyAdmit(record)
        return
      case 'aside':
        if (this.#isKnown(record.of)) {
          this.anomalies += 1
          return
        }
        this.setAside.set(record.of, { count: record.count, reason: record.reason, at: record.at })
        this.#setAsideJobs += record.count
        this.#advance(record.of)
        return
      case 'gone':
        this.gone.set(record.instance, record.last)
        return
      case 'request':
        this.requests.set(record.request, record.result)
        return
    }
  }

  /** The term that wrote the records so far is over: what it had only intended is in doubt. */
  endTerm(at: string, reason: string): void {
    for (const segment of this.segments.values()) {
      const states = segment.states
      if (states === null || segment.unfinished === 0) continue
      for (let index = 0; index < states.length; index += 1) {
        if (states[index] !== state.intent) continue
        this.#move(segment, states, index, state.doubt)
        segment.notes.set(index, { at, reason })
      }
    }
  }

  #applyOpen(record: OpenRecord): void {
    if (this.terms.at(-1)?.term === record.term) return
    this.terms.push({ term: record.term, at: record.at, host: record.by.host, instance: record.by.instance })
  }

  /** Segments of an instance are admitted or set aside in the order of their numbers. */
  #isKnown(ref: string): boolean {
    const { instance, number } = parseRef(ref)
    return number <= (this.cursors.get(instance) ?? 0)
  }

  #advance(ref: string): void {
    const { instance, number } = parseRef(ref)
    if (number > (this.cursors.get(instance) ?? 0)) this.cursors.set(instance, number)
  }

  #applyAdmit(record: AdmitRecord): void {
    if (this.#isKnown(record.of)) {
      this.anomalies += 1
      return
    }
    this.#admitted?.set(record.of, record.count)
    const states = new Uint8Array(record.count)
    const producers = new BigUint64Array(record.count)
    const sequences = new BigUint64Array(record.count)
    let index = 0
    for (const [producer, first, count] of record.ids) {
      producers.fill(BigInt(`0x${producer}`), index, index + count)
      let sequence = BigInt(first)
      for (const end = index + count; index < end; index += 1) sequences[index] = sequence++
    }
    invariant(index === record.count, `the ids of ${record.of} are as many as its jobs`)
    const segment: SegmentBook = {
      ref: record.of,
      count: record.count,
      clusters: record.clusters,
      states,
      clusterOf: Object.keys(record.clusters).length > 1 ? new Uint16Array(record.count) : null,
      intendedMs: null,
      producers,
      sequences,
      unfinished: record.count,
      waiting: record.count,
      notes: new Map(),
      followUps: new Map(),
    }
    this.#counts[state.waiting]! += record.count
    for (const duplicate of indexesOf(record.duplicates ?? [])) this.#move(segment, states, duplicate, state.duplicate)
    for (const conflict of indexesOf(record.conflicts ?? [])) {
      this.#move(segment, states, conflict, state.dead)
      segment.notes.set(conflict, { at: record.at, reason: conflictReason })
    }
    this.segments.set(record.of, segment)
    this.#advance(record.of)
    this.#settle(segment)
  }

  #move(segment: SegmentBook, states: Uint8Array, index: number, to: number): void {
    const from = states[index]!
    states[index] = to
    this.#counts[from]! -= 1
    this.#counts[to]! += 1
    segment.unfinished += unfinished(to) - unfinished(from)
    segment.waiting += (to === state.waiting ? 1 : 0) - (from === state.waiting ? 1 : 0)
  }

  #settle(segment: SegmentBook): void {
    if (segment.unfinished > 0 || segment.followUps.size > 0) return
    segment.states = null
    segment.clusterOf = null
    segment.intendedMs = null
    segment.producers = null
    segment.sequences = null
    segment.notes.clear()
    this.segments.delete(segment.ref)
  }

  #applyJobs(record: JobsRecord): void {
    const segment = this.segments.get(record.of)
    const states = segment?.states
    if (segment === undefined || states === null || states === undefined) {
      this.anomalies += countOf(record.jobs)
      return
    }
    let position = 0
    for (const index of indexesOf(record.jobs)) {
      if (!this.#applyJob(segment, states, index, record, position)) this.anomalies += 1
      position += 1
    }
    this.#settle(segment)
  }

  #applyJob(segment: SegmentBook, states: Uint8Array, index: number, record: JobsRecord, position: number): boolean {
    const now = states[index]
    if (now === undefined) return false
    const pending = now === state.intent || now === state.doubt
    const followUp = segment.followUps.get(index)
    const note = (reason: string): void => void segment.notes.set(index, { at: record.at, reason })
    const to = (next: number): true => {
      this.#move(segment, states, index, next)
      return true
    }
    switch (record.k) {
      case 'intent':
        if (now !== state.waiting) return false
        segment.intendedMs ??= new Float64Array(segment.count)
        segment.intendedMs[index] = Date.parse(record.at)
        if (segment.clusterOf !== null) segment.clusterOf[index] = Object.keys(segment.clusters).indexOf(record.cluster)
        return to(state.intent)
      case 'receipt': {
        if (!pending) return false
        segment.notes.delete(index)
        if (record.held || record.unconfirmed || record.unended) {
          segment.followUps.set(index, {
            jobId: record.ids?.[position] ?? null,
            at: record.at,
            held: record.held ?? false,
            unconfirmed: record.unconfirmed ?? false,
            unended: record.unended ?? false,
          })
        }
        return to(state.submitted)
      }
      case 'refused':
        if (!pending) return false
        note(record.reason)
        return to(state.dead)
      case 'later':
      case 'absent':
        if (!pending) return false
        segment.notes.delete(index)
        return to(state.waiting)
      case 'doubt':
        // A submitted job is doubted only where its cluster was still to confirm it.
        if (!pending && followUp?.unconfirmed !== true) return false
        segment.followUps.delete(index)
        note(record.reason)
        return to(state.doubt)
      case 'forgotten':
        if (now !== state.submitted) return false
        segment.followUps.delete(index)
        return to(state.waiting)
      case 'released':
        if (followUp === undefined) return false
        followUp.held = false
        return dropIfDone(segment, index, followUp)
      case 'confirmed':
        if (followUp === undefined) return false
        followUp.unconfirmed = false
        return dropIfDone(segment, index, followUp)
      case 'ended':
        if (followUp === undefined) return false
        followUp.unended = false
        return dropIfDone(segment, index, followUp)
      case 'decision':
        if (record.as === 'retry' || record.as === 'discard') {
          if (now !== state.dead) return false
          segment.notes.delete(index)
          return to(record.as === 'retry' ? state.waiting : state.discarded)
        }
        if (now !== state.doubt) return false
        segment.notes.delete(index)
        return to(record.as === 'submitted' ? state.submitted : state.waiting)
    }
  }
}

const unfinished = (value: number): number =>
  value === state.waiting || value === state.intent || value === state.doubt || value === state.dead ? 1 : 0

const dropIfDone = (segment: SegmentBook, index: number, followUp: FollowUp): true => {
  if (!followUp.held && !followUp.unconfirmed && !followUp.unended) segment.followUps.delete(index)
  return true
}
