// The ids that a leader has seen, with the digests of those that are younger than the retention, as far as there is memory
// for them. Time is the wall clock of whoever admitted them, in slices: an id whose digest is forgotten is a duplicate,
// whatever its content, so nothing hangs on how right the clock was, or how much was forgotten.

import type { SeenIds } from '../base/native.ts'
import type { SegmentBook } from './segment-book.ts'
import type { AdmitRecord } from './records.ts'
import type { IdsRecord } from './snapshot.ts'

const slices = 16
/** Of ids with digests: some 28 million in runs. */
const bytesMaxDefault = 256 * 2 ** 20
/** Slots of the table looked at in one go: well under a millisecond. */
const slotsAtOnce = 16_384

export class RememberedIds {
  readonly seen: SeenIds
  readonly #sliceMs: number
  readonly #sliceBytes: number
  /** When the present slice began, and what was held then. */
  #sinceMs = 0
  #sinceBytes = 0
  #forgetting = false

  constructor(seen: SeenIds, retentionMs: number, bytesMax = bytesMaxDefault) {
    this.seen = seen
    this.#sliceMs = Math.max(1, retentionMs / slices)
    this.#sliceBytes = bytesMax / slices
  }

  /** An admission that the ledger tells of; `segment` holds its ids. */
  replay(record: AdmitRecord, segment: SegmentBook | undefined): void {
    this.tick(Date.parse(record.at) || 0)
    // One of nothing but duplicates is finished at once and holds its ids no more: they are known by then.
    if (segment?.producers == null || segment.sequences === null || record.count === 0) return
    const digests = new BigUint64Array(record.count)
    const bytes = Buffer.from(digests.buffer)
    bytes.write(record.digests, 'base64')
    this.seen.admit(segment.producers, segment.sequences, digests)
  }

  /**
   * Admits ids at that time: answers for each as SeenIds does. They are of that time, however long the last tick is ago: a
   * snapshot can take its time on a slow store, and a host can have stood still.
   */
  admit(wallMs: number, producers: BigUint64Array, sequences: BigUint64Array, digests: BigUint64Array): Uint8Array {
    this.tick(wallMs)
    return this.seen.admit(producers, sequences, digests)
  }

  /** It is so late now: begins new slices where they are due, or where the present one has grown too large. */
  tick(wallMs: number): void {
    if (this.#sinceMs === 0) this.#sinceMs = wallMs
    // Forgetting makes it less.
    this.#sinceBytes = Math.min(this.#sinceBytes, this.seen.bytes)
    const due = Math.min(63, Math.floor((wallMs - this.#sinceMs) / this.#sliceMs))
    if (due > 0) this.#begin(due, due === 63 ? wallMs : this.#sinceMs + due * this.#sliceMs)
    else if (this.seen.bytes - this.#sinceBytes >= this.#sliceBytes) this.#begin(1, wallMs)
  }

  #begin(count: number, sinceMs: number): void {
    for (let slice = 0; slice < count; slice += 1) this.seen.advance()
    this.#sinceMs = sinceMs
    this.#sinceBytes = this.seen.bytes
    this.#forgetting = true
  }

  /** Forgets some digests that are older than the retention. Not while the ids are being saved. True: there may be more. */
  forgetSome(): boolean {
    if (this.#forgetting && this.seen.forget(slices + 1, slotsAtOnce)) this.#forgetting = false
    return this.#forgetting
  }

  /**
   * What there is now, and perhaps what comes while it is saved. The time of their ages comes last: slices that begin meanwhile
   * make what was saved before them younger than it is, and never older.
   */
  *save(pieceBytes: number): Generator<IdsRecord> {
    this.seen.beginSave()
    for (let piece = this.seen.save(pieceBytes); piece !== null; piece = this.seen.save(pieceBytes)) yield { k: 'ids', piece: piece.toString('base64') }
    yield { k: 'generation', sinceMs: this.#sinceMs }
  }

  /** False: it can't be what was saved. */
  load(record: IdsRecord): boolean {
    if (record.k === 'generation') {
      this.#sinceMs = record.sinceMs
      this.#forgetting = true
      return true
    }
    return this.seen.load(Buffer.from(record.piece, 'base64'))
  }
}
