// Every job that is held, in the order in which it will be sent, and who it belongs to. Pure bookkeeping: no
// timers, no sockets. It must never forget a unit without reporting each job of it to the owner.
import type { Buffer } from 'node:buffer'
import { invariant, type UsherError } from '../base/errors.ts'
import type { Crc32c } from '../protocol/crc32c.ts'
import { beginFrame, finishFrame, frameTypes, headerBytes } from '../protocol/frame.ts'
import type { Unit } from './unit.ts'
import { mayBeKept } from './verdicts.ts'

export interface FrameLimits {
  /** Payload to aim at; one unit alone may be larger. */
  readonly batchBytes: number
  readonly batchJobs: number
  readonly frameBytesMax: number
  readonly frameJobsMax: number
  /** Bytes with header. */
  readonly credit: number
}

export class Outbox {
  heldJobs = 0
  heldBytes = 0
  queuedJobs = 0
  queuedBytes = 0
  readonly #crc: Crc32c
  /** For a unit of one job that no frame can take: must fail it. */
  readonly #onTooLarge: (unit: Unit, frameBytesMax: number) => void
  /** Units in queue order from #head on; settled ones are skipped when met. */
  #queue: Unit[] = []
  #head = 0
  readonly #flying = new Set<Unit>()
  #delayed: Unit[] = []
  /** Units of one job, by sequence. */
  readonly #singles = new Map<number, Unit>()
  /** Units of several, by first sequence, ascending, disjoint. */
  readonly #runs: Unit[] = []

  constructor(crc: Crc32c, onTooLarge: (unit: Unit, frameBytesMax: number) => void) {
    this.#crc = crc
    this.#onTooLarge = onTooLarge
  }

  get flyingUnits(): number {
    return this.#flying.size
  }

  get delayedUnits(): number {
    return this.#delayed.length
  }

  *units(): Generator<Unit> {
    yield* [...this.#singles.values()]
    yield* [...this.#runs]
  }

  holds(first: number, count: number): boolean {
    const run = this.#runs[this.#runIndex(first)]
    if (run !== undefined && run.first < first + count) return true
    if (count === 1) return this.#singles.has(first)
    if (count <= this.#singles.size) {
      for (let sequence = first; sequence < first + count; sequence++) if (this.#singles.has(sequence)) return true
      return false
    }
    for (const sequence of this.#singles.keys()) if (sequence >= first && sequence < first + count) return true
    return false
  }

  /** The caller has made sure that none of its sequences is held. */
  add(unit: Unit): void {
    this.#index(unit)
    this.#enqueue(unit)
  }

  /** The next JOBS frame, whole; undefined while there is nothing to send or no credit for it. */
  takeFrame(limits: FrameLimits): Buffer | undefined {
    const units: Unit[] = []
    let bytes = 0
    let jobs = 0
    const bytesAim = Math.min(limits.batchBytes, limits.frameBytesMax)
    const jobsAim = Math.min(limits.batchJobs, limits.frameJobsMax)
    for (let unit = this.#peek(); unit !== undefined; unit = this.#peek()) {
      const size = unit.bytes.length
      if (size > limits.frameBytesMax || unit.count > limits.frameJobsMax) {
        this.#cutDown(unit, limits)
        continue
      }
      if (units.length > 0 && (bytes + size > bytesAim || jobs + unit.count > jobsAim)) break
      if (headerBytes + bytes + size > limits.credit) break
      this.#head++
      this.#unqueue(unit)
      units.push(unit)
      bytes += size
      jobs += unit.count
    }
    if (units.length === 0) return undefined
    const frame = beginFrame(bytes)
    let at = headerBytes
    for (const unit of units) {
      frame.set(unit.bytes, at)
      at += unit.bytes.length
      unit.state = 'flying'
      this.#flying.add(unit)
    }
    return finishFrame(frame, frameTypes.JOBS, jobs, this.#crc)
  }

  /** Jobs that the present connection acknowledged. Returns how many of them were waited for. */
  acknowledge(first: number, jobs: number): number {
    let accepted = 0
    const end = first + jobs
    for (let i = this.#runIndex(first); i < this.#runs.length && this.#runs[i]!.first < end; ) {
      const run = this.#runs[i]!
      if (run.state === 'flying') accepted += this.#acknowledgeRun(run, Math.max(first, run.first), Math.min(end, run.end))
      if (this.#runs[i] === run) i++
    }
    if (jobs - accepted <= this.#singles.size) {
      for (let sequence = first; sequence < end; sequence++) accepted += this.#acknowledgeSingle(this.#singles.get(sequence))
    } else {
      for (const unit of [...this.#singles.values()]) {
        if (unit.first >= first && unit.first < end) accepted += this.#acknowledgeSingle(unit)
      }
    }
    return accepted
  }

  /** The flying unit that holds this job without an answer. */
  flyingWith(sequence: number): Unit | undefined {
    const single = this.#singles.get(sequence)
    if (single !== undefined) return single.state === 'flying' ? single : undefined
    const run = this.#runs[this.#runIndex(sequence)]
    return run !== undefined && run.first <= sequence && run.state === 'flying' && !run.isAnswered(sequence) ? run : undefined
  }

  /** Refused for good, or given up: reported to the owner, and never sent again. */
  fail(unit: Unit, sequence: number, error: UsherError): void {
    if (!unit.answer(sequence)) return
    this.#released(unit, 1)
    unit.owner.failed(sequence, error)
  }

  /** Refused for now: waits for resume(). */
  delay(unit: Unit, sequence: number, refusal: UsherError): void {
    const waiting = unit.count === 1 ? unit : this.#extract(unit, sequence)
    this.#flying.delete(waiting)
    waiting.refusal = refusal
    if (mayBeKept(refusal.code)) waiting.doubt = true
    waiting.state = 'delayed'
    this.#delayed.push(waiting)
  }

  /** What was delayed is queued again, before what has never been sent. */
  resume(): void {
    const waiting = this.#delayed.filter((unit) => unit.state === 'delayed')
    this.#delayed = []
    this.#enqueueFirst(waiting)
  }

  /** The connection is gone: what was flying is in doubt and will be sent again, first. Returns how many jobs that are. */
  ground(): number {
    const again: Unit[] = []
    for (const unit of this.#flying) {
      unit.doubt = true
      if (unit.untouched) {
        again.push(unit)
      } else {
        again.push(...this.#replace(unit, Infinity, Infinity))
      }
    }
    this.#flying.clear()
    this.#enqueueFirst(again)
    return again.reduce((jobs, unit) => jobs + unit.count, 0)
  }

  #acknowledgeRun(run: Unit, from: number, to: number): number {
    let accepted = 0
    if (from === run.first && to === run.end && run.untouched) {
      run.answerAll()
      accepted = run.count
      this.#released(run, accepted)
      run.owner.accepted(from, accepted)
      return accepted
    }
    let start = from
    for (let sequence = from; sequence <= to; sequence++) {
      if (sequence < to && run.answer(sequence)) {
        accepted++
      } else {
        if (sequence > start) run.owner.accepted(start, sequence - start)
        start = sequence + 1
      }
    }
    this.#released(run, accepted)
    return accepted
  }

  #acknowledgeSingle(unit: Unit | undefined): number {
    if (unit === undefined || unit.state !== 'flying') return 0
    unit.answerAll()
    this.#released(unit, 1)
    unit.owner.accepted(unit.first, 1)
    return 1
  }

  /** Counts answered jobs out, and forgets the unit when they were its last. */
  #released(unit: Unit, jobs: number): void {
    this.heldJobs -= jobs
    if (unit.left > 0 || unit.state === 'settled') return
    if (unit.state === 'queued') this.#unqueue(unit)
    this.#flying.delete(unit)
    this.#unindex(unit)
    this.heldBytes -= unit.bytes.length
    unit.state = 'settled'
  }

  /** One job of a run on its own: the run counts it as answered. */
  #extract(run: Unit, sequence: number): Unit {
    const [single] = run.remainder(sequence, sequence + 1, Infinity, Infinity)
    invariant(single !== undefined, `job ${sequence} is waited for`)
    run.answer(sequence)
    this.#released(run, 1)
    this.#index(single)
    return single
  }

  /** A unit that no frame of this connection can take, in parts that fit. */
  #cutDown(unit: Unit, limits: FrameLimits): void {
    if (unit.count === 1) {
      this.#onTooLarge(unit, limits.frameBytesMax)
      return
    }
    this.#head++
    this.#unqueue(unit)
    this.#enqueueFirst(this.#replace(unit, limits.frameBytesMax, limits.frameJobsMax))
  }

  /** Smaller units for what has no answer in this one, which is forgotten. */
  #replace(unit: Unit, bytesMax: number, jobsMax: number): Unit[] {
    const parts = [...unit.remainder(unit.first, unit.end, bytesMax, jobsMax)]
    this.#unindex(unit)
    this.heldJobs -= unit.left
    this.heldBytes -= unit.bytes.length
    unit.state = 'settled'
    for (const part of parts) this.#index(part)
    return parts
  }

  #index(unit: Unit): void {
    this.heldJobs += unit.left
    this.heldBytes += unit.bytes.length
    if (unit.count === 1) this.#singles.set(unit.first, unit)
    else this.#runs.splice(this.#runIndex(unit.first), 0, unit)
  }

  #unindex(unit: Unit): void {
    if (unit.count === 1) {
      if (this.#singles.get(unit.first) === unit) this.#singles.delete(unit.first)
      return
    }
    const i = this.#runIndex(unit.first)
    if (this.#runs[i] === unit) this.#runs.splice(i, 1)
  }

  /** Index of the first run that ends after this sequence. */
  #runIndex(sequence: number): number {
    let low = 0
    let high = this.#runs.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#runs[middle]!.end <= sequence) low = middle + 1
      else high = middle
    }
    return low
  }

  #enqueue(unit: Unit): void {
    unit.state = 'queued'
    this.#queue.push(unit)
    this.queuedJobs += unit.left
    this.queuedBytes += unit.bytes.length
  }

  #enqueueFirst(units: readonly Unit[]): void {
    if (units.length === 0) return
    const rest = this.#queue.slice(this.#head)
    this.#queue = []
    this.#head = 0
    for (const unit of units) this.#enqueue(unit)
    for (const unit of rest) this.#queue.push(unit)
  }

  #unqueue(unit: Unit): void {
    this.queuedJobs -= unit.count
    this.queuedBytes -= unit.bytes.length
  }

  #peek(): Unit | undefined {
    for (;;) {
      const unit = this.#queue[this.#head]
      if (unit?.state === 'settled') {
        this.#head++
        continue
      }
      if (this.#head > 0 && (unit === undefined || (this.#head > 4096 && this.#head * 2 > this.#queue.length))) {
        this.#queue = unit === undefined ? [] : this.#queue.slice(this.#head)
        this.#head = 0
      }
      return unit
    }
  }
}
