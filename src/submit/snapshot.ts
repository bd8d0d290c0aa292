// What a snapshot holds: all that the records of the ledger up to one point add up to. Lines in frames (frames.ts):
//
//   snapshot                                     what it is and which bytes of the ledger it covers
//   books, terms, requests, asides, instances    the books but for their segments
//   finished, segment                            the segments
//   ids, generation                              the ids that have been seen, as pieces of native/core/seen-ids.h
//   end                                          it is whole
//
// Numbers in columns are base64 of their bytes, little-endian. Ids may have been admitted later than the point, but not
// later than `end.through`: whoever believes the snapshot must have counted the ledger up to there.

import { invariant } from '../base/errors.ts'
import type { Books, Done, SetAside, Term, Totals } from './books.ts'
import type { Author, LedgerExtent, SnapshotRef } from './records.ts'
import { state } from './segment-book.ts'
import type { SegmentBook } from './segment-book.ts'

export const snapshotFormat = 1

export interface LedgerPoint {
  readonly file: number
  readonly bytes: number
}

export interface SnapshotHead {
  readonly k: 'snapshot'
  readonly format: number
  readonly store: string
  readonly term: number
  readonly number: number
  readonly at: string
  readonly by: Author
  /** What counts of each file of the ledger, all of it restated here; the last is where to read on. */
  readonly covers: readonly LedgerExtent[]
}

export interface SnapshotEnd {
  readonly k: 'end'
  /** Offset of this record. */
  readonly at: number
  /** Offset of the first record about ids. */
  readonly ids: number
  /** How far the ledger of its term has to count for the snapshot to be true. */
  readonly through: LedgerPoint
}

type Entries<V> = readonly (readonly [string, V])[]

export interface SegmentState {
  readonly k: 'segment'
  readonly of: string
  readonly count: number
  readonly clusters: Readonly<Record<string, number>>
  readonly states: string
  readonly producers: string
  readonly sequences: string
  readonly clusterOf?: string
  readonly intendedMs?: string
  readonly notes?: readonly (readonly [number, string, string])[]
  readonly followUps?: readonly (readonly [number, string | null, string, number])[]
  readonly lastMs: number
  readonly first: number
  readonly last: number
}

export type BooksRecord =
  | { readonly k: 'books'; readonly totals: Totals; readonly needs: SnapshotRef | null }
  | { readonly k: 'terms'; readonly terms: readonly Term[] }
  | { readonly k: 'requests'; readonly requests: Entries<Done> }
  | { readonly k: 'asides'; readonly asides: Entries<SetAside> }
  | { readonly k: 'instances'; readonly instances: readonly (readonly [string, number | null, { last: number; at: string } | null])[] }
  | { readonly k: 'finished'; readonly instance: string; readonly base: number; readonly rows: string }
  | SegmentState

export type IdsRecord = { readonly k: 'generation'; readonly sinceMs: number } | { readonly k: 'ids'; readonly piece: string }

export type SnapshotRecord = SnapshotHead | BooksRecord | IdsRecord | SnapshotEnd

/** Entries of a list in one record. */
const listMax = 1000
const rowsMax = 8192 * 6

const base64 = (column: { readonly buffer: ArrayBufferLike; readonly byteOffset: number; readonly byteLength: number }): string =>
  Buffer.from(column.buffer, column.byteOffset, column.byteLength).toString('base64')

/** A copy of its own, aligned as columns must be. */
const bytesOf = (text: string): ArrayBuffer => {
  const bytes = Buffer.from(text, 'base64')
  const copy = new ArrayBuffer(bytes.length)
  new Uint8Array(copy).set(bytes)
  return copy
}

const chunks = <T>(list: readonly T[]): T[][] => {
  const found: T[][] = []
  for (let at = 0; at < list.length; at += listMax) found.push(list.slice(at, at + listMax))
  return found
}

/** The books but for the segments that are not finished: copied at once, so that nothing later gets in. */
export const stateOfBooks = (books: Books): (() => Generator<BooksRecord>) => {
  const totals = { ...books.totals, counts: [...books.totals.counts] }
  const { needs } = books
  const terms = [...books.terms]
  const requests = [...books.requests]
  const asides = [...books.setAside]
  const instances = [...new Set([...books.cursors.keys(), ...books.gone.keys()])].map(
    (instance) => [instance, books.cursors.get(instance) ?? null, books.gone.get(instance) ?? null] as const,
  )
  const finished = books.finished.rows()
  return function* () {
    yield { k: 'books', totals, needs }
    for (const some of chunks(terms)) yield { k: 'terms', terms: some }
    for (const some of chunks(requests)) yield { k: 'requests', requests: some }
    for (const some of chunks(asides)) yield { k: 'asides', asides: some }
    for (const some of chunks(instances)) yield { k: 'instances', instances: some }
    for (const { instance, base, rows } of finished) {
      for (let at = 0; at < rows.length; at += rowsMax) yield { k: 'finished', instance, base: base + at / 6, rows: base64(rows.subarray(at, at + rowsMax)) }
    }
  }
}

const flags = { held: 1, unconfirmed: 2, unended: 4 } as const

export const stateOfSegment = (segment: SegmentBook): SegmentState => {
  const { ref, count, clusters, states, producers, sequences, clusterOf, intendedMs, notes, followUps, lastMs, first, last } = segment
  invariant(states !== null && producers !== null && sequences !== null, `${ref} isn't finished`)
  return {
    k: 'segment',
    of: ref,
    count,
    clusters,
    states: base64(states),
    producers: base64(producers),
    sequences: base64(sequences),
    ...(clusterOf === null ? {} : { clusterOf: base64(clusterOf) }),
    ...(intendedMs === null ? {} : { intendedMs: base64(intendedMs) }),
    ...(notes.size === 0 ? {} : { notes: [...notes].map(([index, { at, reason }]) => [index, at, reason] as const) }),
    ...(followUps.size === 0
      ? {}
      : {
          followUps: [...followUps].map(([index, { jobId, at, held, unconfirmed, unended }]) => {
            const bits = (held ? flags.held : 0) | (unconfirmed ? flags.unconfirmed : 0) | (unended ? flags.unended : 0)
            return [index, jobId, at, bits] as const
          }),
        }),
    lastMs,
    first,
    last,
  }
}

const segmentOf = (saved: SegmentState): SegmentBook => {
  const states = new Uint8Array(bytesOf(saved.states))
  let unfinished = 0
  let waiting = 0
  for (const value of states) {
    if (value === state.waiting) waiting += 1
    if (value === state.waiting || value === state.intent || value === state.doubt || value === state.dead) unfinished += 1
  }
  return {
    ref: saved.of,
    count: saved.count,
    clusters: saved.clusters,
    states,
    clusterOf: saved.clusterOf === undefined ? null : new Uint16Array(bytesOf(saved.clusterOf)),
    intendedMs: saved.intendedMs === undefined ? null : new Float64Array(bytesOf(saved.intendedMs)),
    producers: new BigUint64Array(bytesOf(saved.producers)),
    sequences: new BigUint64Array(bytesOf(saved.sequences)),
    unfinished,
    waiting,
    notes: new Map((saved.notes ?? []).map(([index, at, reason]) => [index, { at, reason }])),
    followUps: new Map(
      (saved.followUps ?? []).map(([index, jobId, at, bits]) => [
        index,
        { jobId, at, held: (bits & flags.held) > 0, unconfirmed: (bits & flags.unconfirmed) > 0, unended: (bits & flags.unended) > 0 },
      ]),
    ),
    lastMs: saved.lastMs,
    first: saved.first,
    last: saved.last,
  }
}

/** Enters in empty books what a snapshot says of them. */
export const restore = (books: Books, record: BooksRecord): void => {
  switch (record.k) {
    case 'books':
      Object.assign(books.totals, record.totals)
      books.needs = record.needs
      return
    case 'terms':
      books.terms.push(...record.terms)
      return
    case 'requests':
      for (const [id, request] of record.requests) books.requests.set(id, request)
      return
    case 'asides':
      for (const [ref, aside] of record.asides) books.setAside.set(ref, aside)
      return
    case 'instances':
      for (const [instance, cursor, gone] of record.instances) {
        if (cursor !== null) books.cursors.set(instance, cursor)
        if (gone !== null) books.gone.set(instance, gone)
      }
      return
    case 'finished':
      books.finished.load({ instance: record.instance, base: record.base, rows: new Float64Array(bytesOf(record.rows)) })
      return
    case 'segment':
      books.segments.set(record.of, segmentOf(record))
      return
  }
}

export const compareSnapshots = (a: SnapshotRef, b: SnapshotRef): number => a.term - b.term || a.number - b.number
