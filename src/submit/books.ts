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
//
// A segment of which nothing can change any more leaves `segments` for `finished`, and that when its files are removed.
// The sums stay for ever. What a snapshot restates is all of this (snapshot.ts).

import { invariant } from '../base/errors.ts'
import { FinishedSegments, positionOf } from './finished.ts'
import { countOf, indexesOf, isJobsRecord } from './records.ts'
import { conflictReason, parseRef, formatId, state, stateNames } from './segment-book.ts'
import type { FollowUp, SegmentBook } from './segment-book.ts'
import type { AdmitRecord, Author, JobsRecord, LedgerRecord, OpenRecord, RemovedRecord, SnapshotRef, TrimmedRecord } from './records.ts'

export { conflictReason, formatId, parseRef, state, stateNames } from './segment-book.ts'
export type { SegmentBook } from './segment-book.ts'

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
  readonly by: Author
}

export interface SetAside {
  readonly term: number
  readonly at: string
  readonly count: number
  readonly reason: string
}

/** A request of an operator that was dealt with, and what came of it. */
export interface Done {
  readonly at: string
  readonly result: string
  readonly unfit?: readonly string[]
}

export interface Totals {
  /** Jobs in each state, of all segments there ever were. */
  counts: number[]
  setAsideJobs: number
  /** Jobs of segments whose files are removed; they are in `counts` as well. */
  removedJobs: number
  /** Records that followed on nothing. */
  anomalies: number
  /** Time of the newest record. */
  lastAt: string
}

export class Books {
  /** Those of which something can still change, in the order of admission. */
  readonly segments = new Map<string, SegmentBook>()
  readonly finished = new FinishedSegments()
  readonly setAside = new Map<string, SetAside>()
  /** Instance → newest segment admitted or set aside. */
  readonly cursors = new Map<string, number>()
  /** Instances that are gone and wholly admitted. */
  readonly gone = new Map<string, { readonly last: number; readonly at: string }>()
  readonly terms: Term[] = []
  readonly requests = new Map<string, Done>()
  /** Files of the ledger were removed: without this snapshot or a newer one these books are not to be had. */
  needs: SnapshotRef | null = null
  /** Called before a segment changes or is finished: how a snapshot takes its state before. */
  onChange: ((segment: SegmentBook) => void) | null = null
  readonly totals: Totals = { counts: new Array<number>(stateNames.length).fill(0), setAsideJobs: 0, removedJobs: 0, anomalies: 0, lastAt: '' }

  get anomalies(): number {
    return this.totals.anomalies
  }

  /** Jobs of a segment that is admitted and whose files are not removed. */
  countOf(ref: string): number | undefined {
    const open = this.segments.get(ref)
    if (open !== undefined) return open.count
    const { instance, number } = parseRef(ref)
    const finished = this.finished.get(instance, number)
    return finished === undefined ? undefined : finished.submitted + finished.duplicates + finished.discarded
  }

  /** Whether that segment was finished and its files are removed, or about to be. */
  isRemoved(instance: string, number: number): boolean {
    if (number > (this.cursors.get(instance) ?? 0) || this.finished.get(instance, number) !== undefined) return false
    const ref = `${instance}/${number}`
    return !this.segments.has(ref) && !this.setAside.has(ref)
  }

  /** Number of the first segment of an instance whose files are not removed. */
  firstKept(instance: string): number {
    let number = 1
    while (this.isRemoved(instance, number)) number += 1
    return number
  }

  /** Intended jobs count as waiting here unless `ended` says that their leader is gone: then they are in doubt. */
  audit(leaderGone = false): Audit {
    const at = (index: number): number => this.totals.counts[index] ?? 0
    return {
      submitted: at(state.submitted),
      waiting: at(state.waiting) + (leaderGone ? 0 : at(state.intent)),
      inDoubt: at(state.doubt) + (leaderGone ? at(state.intent) : 0),
      dead: at(state.dead),
      discarded: at(state.discarded),
      duplicates: at(state.duplicate),
      setAside: this.totals.setAsideJobs,
    }
  }

  /** Jobs admitted or set aside, whatever became of them. */
  get known(): number {
    return this.totals.counts.reduce((sum, count) => sum + count, this.totals.setAsideJobs)
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

  /** `file`: number of the file of its term that holds the record. */
  apply(record: LedgerRecord, file = 1): void {
    this.totals.lastAt = record.at
    const position = positionOf(record.term, file)
    if (isJobsRecord(record)) {
      this.#applyJobs(record, position)
      return
    }
    switch (record.k) {
      case 'open':
        this.#applyOpen(record)
        return
      case 'admit':
        this.#applyAdmit(record, position)
        return
      case 'aside':
        if (this.#isKnown(record.of)) {
          this.totals.anomalies += 1
          return
        }
        this.setAside.set(record.of, { term: record.term, at: record.at, count: record.count, reason: record.reason })
        this.totals.setAsideJobs += record.count
        this.#advance(record.of)
        return
      case 'gone':
        this.gone.set(record.instance, { last: record.last, at: record.at })
        return
      case 'request': {
        const { at, result, unfit } = record
        this.requests.set(record.request, unfit === undefined ? { at, result } : { at, result, unfit })
        return
      }
      case 'removed':
        this.#applyRemoved(record)
        return
      case 'cleared':
        this.gone.delete(record.instance)
        this.cursors.delete(record.instance)
        return
      case 'trimmed':
        this.#applyTrimmed(record)
        return
    }
  }

  /** The term that wrote the records so far is over: what it had only intended is in doubt. */
  endTerm(at: string, reason: string): void {
    // Most terms leave none, and a new leader does this for each of them: not job by job, of a long backlog.
    if (this.totals.counts[state.intent] === 0) return
    for (const segment of this.segments.values()) {
      const states = segment.states
      if (states === null) continue
      for (let index = states.indexOf(state.intent); index >= 0; index = states.indexOf(state.intent, index + 1)) {
        this.onChange?.(segment)
        this.#move(segment, states, index, state.doubt)
        segment.notes.set(index, { at, reason })
      }
    }
  }

  #applyOpen(record: OpenRecord): void {
    if (this.terms.at(-1)?.term === record.term) return
    this.terms.push({ term: record.term, at: record.at, by: record.by })
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

  #applyAdmit(record: AdmitRecord, position: number): void {
    if (this.#isKnown(record.of)) {
      this.totals.anomalies += 1
      return
    }
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
      lastMs: Date.parse(record.at) || 0,
      first: position,
      last: position,
    }
    this.totals.counts[state.waiting]! += record.count
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
    this.totals.counts[from]! -= 1
    this.totals.counts[to]! += 1
    segment.unfinished += unfinished(to) - unfinished(from)
    segment.waiting += (to === state.waiting ? 1 : 0) - (from === state.waiting ? 1 : 0)
  }

  #settle(segment: SegmentBook): void {
    const { states } = segment
    if (segment.unfinished > 0 || segment.followUps.size > 0 || states === null) return
    const { instance, number } = parseRef(segment.ref)
    const tally = { submitted: 0, duplicates: 0, discarded: 0 }
    for (const value of states) {
      if (value === state.submitted) tally.submitted += 1
      else if (value === state.duplicate) tally.duplicates += 1
      else tally.discarded += 1
    }
    this.finished.add(instance, number, { ...tally, lastMs: segment.lastMs, first: segment.first, last: segment.last })
    segment.states = null
    segment.clusterOf = null
    segment.intendedMs = null
    segment.producers = null
    segment.sequences = null
    segment.notes.clear()
    this.segments.delete(segment.ref)
  }

  #applyRemoved({ instance, segments }: RemovedRecord): void {
    for (const number of indexesOf(segments)) {
      const found = this.finished.remove(instance, number)
      if (found === undefined) this.totals.anomalies += 1
      else this.totals.removedJobs += found.submitted + found.duplicates + found.discarded
    }
  }

  #applyTrimmed({ needs, requestsBefore, termsBefore }: TrimmedRecord): void {
    this.needs = needs
    if (requestsBefore !== undefined) {
      for (const [id, { at }] of this.requests) if (at < requestsBefore) this.requests.delete(id)
    }
    if (termsBefore !== undefined) this.terms.splice(0, this.terms.findIndex(({ term }) => term >= termsBefore))
  }

  #applyJobs(record: JobsRecord, positionInLedger: number): void {
    const segment = this.segments.get(record.of)
    const states = segment?.states
    if (segment === undefined || states === null || states === undefined) {
      this.totals.anomalies += countOf(record.jobs)
      return
    }
    this.onChange?.(segment)
    const atMs = Date.parse(record.at) || 0
    segment.lastMs = Math.max(segment.lastMs, atMs)
    segment.last = Math.max(segment.last, positionInLedger)
    let position = 0
    // Not through a generator: a new leader does this for every job there was.
    for (const [first, last] of record.jobs) {
      for (let index = first; index <= last; index += 1, position += 1) {
        if (!this.#applyJob(segment, states, index, record, position, atMs)) this.totals.anomalies += 1
      }
    }
    this.#settle(segment)
  }

  #applyJob(segment: SegmentBook, states: Uint8Array, index: number, record: JobsRecord, position: number, atMs: number): boolean {
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
        segment.intendedMs[index] = atMs
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
