// What the client keeps of jobs until they are answered: a unit is one job, or a run of jobs with consecutive
// sequences that were encoded together. Its bytes never change, so that every attempt is the same.
import { Buffer } from 'node:buffer'
import type { UsherError } from '../base/errors.ts'

/** Whoever waits for answers. Each job of its units is reported exactly once. */
export interface Owner {
  accepted(first: number, jobs: number): void
  failed(sequence: number, error: UsherError): void
}

/**
 * queued: will be in a frame to come. flying: in a frame on the present connection. delayed: refused, and to be
 * queued again when the pause is over. settled: every job of it is answered or given up.
 */
export type UnitState = 'queued' | 'flying' | 'delayed' | 'settled'

export class Unit {
  readonly owner: Owner
  readonly first: number
  readonly count: number
  readonly bytes: Uint8Array
  /** Of performance.now(). */
  readonly deadlineMs: number
  state: UnitState = 'queued'
  /** A host may have it: it was flying when a connection was lost, or was refused by a store that failed. */
  doubt = false
  /** The last retryable refusal. */
  refusal: UsherError | undefined
  /** Jobs without an answer. */
  left: number
  #answered: Uint8Array | undefined

  constructor(owner: Owner, first: number, count: number, bytes: Uint8Array, deadlineMs: number) {
    this.owner = owner
    this.first = first
    this.count = count
    this.bytes = bytes
    this.deadlineMs = deadlineMs
    this.left = count
  }

  get end(): number {
    return this.first + this.count
  }

  isAnswered(sequence: number): boolean {
    return this.#answered !== undefined && this.#answered[sequence - this.first] === 1
  }

  /** Marks one job. False where it was already. */
  answer(sequence: number): boolean {
    if (this.isAnswered(sequence)) return false
    this.left--
    if (this.left > 0) {
      this.#answered ??= new Uint8Array(this.count)
      this.#answered[sequence - this.first] = 1
    }
    return true
  }

  /** All jobs at once; only where none is answered yet. */
  answerAll(): void {
    this.left = 0
  }

  get untouched(): boolean {
    return this.left === this.count
  }

  *unanswered(): Generator<number> {
    for (let sequence = this.first; sequence < this.end; sequence++) if (!this.isAnswered(sequence)) yield sequence
  }

  /** New units for the jobs from `from` to before `to` that have no answer, none larger than the limits. */
  *remainder(from: number, to: number, bytesMax: number, jobsMax: number): Generator<Unit> {
    const view = Buffer.from(this.bytes.buffer, this.bytes.byteOffset, this.bytes.length)
    let at = 0
    let startAt = 0
    let start = this.first
    const cut = (sequence: number, end: number): Unit | undefined => {
      if (sequence <= start) return undefined
      const unit = new Unit(this.owner, start, sequence - start, view.subarray(startAt, end), this.deadlineMs)
      unit.doubt = this.doubt
      unit.refusal = this.refusal
      return unit
    }
    for (let sequence = this.first; sequence < this.end; sequence++) {
      const next = at + 4 + view.readUInt32LE(at)
      const skipped = sequence < from || sequence >= to || this.isAnswered(sequence)
      if (skipped || next - startAt > bytesMax || sequence - start >= jobsMax) {
        const unit = cut(sequence, at)
        if (unit !== undefined) yield unit
        start = skipped ? sequence + 1 : sequence
        startAt = skipped ? next : at
      }
      at = next
    }
    const last = cut(this.end, at)
    if (last !== undefined) yield last
  }
}
