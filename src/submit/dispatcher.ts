// Hands the waiting jobs of one cluster to its driver: intent to stable storage, then the cluster, then the
// outcome to stable storage. A bounded window of segments is in memory; the rest waits on the store.
//
// Never: a driver call without a synced intent; an outcome that isn't written; two batches with one job.

import { setMaxListeners } from 'node:events'
import { fullJitter, sleep } from '../base/clock.ts'
import type { Clock } from '../base/clock.ts'
import { invariant, messageOf, UsherError } from '../base/errors.ts'
import { Wakeup } from '../base/wakeup.ts'
import { state } from './books.ts'
import type { Books, SegmentBook } from './books.ts'
import type { Driver, Origin, Outcome, Submission } from './driver.ts'
import type { Ledger, Unstamped } from './ledger.ts'
import type { Lines } from './lines.ts'
import { runsOf } from './records.ts'

/** How long after a segment could not be read it is tried again. */
const unreadableRetryMs = 1000

export interface DispatcherOptions {
  readonly cluster: string
  readonly driver: Driver
  readonly books: Books
  readonly ledger: Ledger
  readonly clock: Clock
  readonly random: () => number
  /** Whether the lease still holds. */
  readonly mayAct: () => boolean
  readonly origin: Origin
  /** Reads a segment's JSON lines; null while it doesn't show. */
  readonly read: (ref: string) => Promise<Lines | null>
  /** JSON lines held in memory at most (one segment at least). */
  readonly windowBytesMax: number
  readonly retryMinMs: number
  readonly retryMaxMs: number
  readonly onDoubt: (ref: string, indexes: readonly number[]) => void
  readonly onReceipt: (ref: string, indexes: readonly number[]) => void
  readonly log: (level: 'info' | 'warn', message: string, details?: Record<string, unknown>) => void
}

interface Loaded {
  readonly book: SegmentBook
  readonly lines: Lines
  readonly cluster: number
  /** Next index that has not been looked at. */
  cursor: number
  /** Jobs that came back: when they may be tried again. */
  readonly again: Map<number, number>
  /** 1: in a batch, from before its intent until its outcome is written. The books say so only once the intent is synced. */
  readonly taken: Uint8Array
  inFlight: number
}

interface Batch {
  readonly segment: Loaded
  readonly indexes: readonly number[]
}

export class Dispatcher {
  readonly #options: DispatcherOptions
  readonly #wakeup = new Wakeup()
  readonly #abort = new AbortController()
  /** Segments with waiting jobs that are not in memory, in the order of admission. */
  readonly #queue = new Set<string>()
  readonly #loaded = new Map<string, Loaded>()
  /** Segments whose lines don't show now: when they are looked for again. */
  readonly #unreadable = new Map<string, number>()
  #loadedBytes = 0
  #inFlight = 0
  /** Jobs taken whose intents are on their way to stable storage: the driver doesn't count them yet. */
  #intending = 0
  #stopped = false
  #held: string | null = null
  #fatal: unknown = null
  /** Nothing is handed over before this time: the cluster said so, or refused everything. */
  #closedUntilMs = 0
  #failures = 0
  /** How often a job came back, for its own back-off. */
  readonly #attempts = new Map<string, number>()

  constructor(options: DispatcherOptions) {
    this.#options = options
    // Every call in flight listens: as many as the driver allows.
    setMaxListeners(0, this.#abort.signal)
  }

  get inFlight(): number {
    return this.#inFlight
  }

  /** A segment was admitted, or jobs of it wait again. `lines` are taken where the window has room. */
  offer(book: SegmentBook, lines?: Lines): void {
    if (book.waiting === 0 || !(this.#options.cluster in book.clusters)) return
    const held = this.#loaded.get(book.ref)
    if (held !== undefined) return
    if (lines !== undefined && this.#queue.size === 0 && this.#roomFor(lines.bytes.length)) this.#hold(book, lines)
    else this.#queue.add(book.ref)
    this.#wakeup.wake()
  }

  /** Jobs that were in doubt, forgotten or dead wait again. */
  waitingAgain(book: SegmentBook, indexes: readonly number[]): void {
    const held = this.#loaded.get(book.ref)
    if (held === undefined) this.offer(book)
    else for (const index of indexes) held.again.set(index, 0)
    this.#wakeup.wake()
  }

  /** Hands nothing over while this host's own preflight of the cluster fails; null: it passes. */
  hold(reason: string | null): void {
    if (this.#held === reason) return
    this.#held = reason
    this.#wakeup.wake()
  }

  /** The driver may take more again. */
  wake(): void {
    this.#wakeup.wake()
  }

  /** Hands over nothing more; resolves when the outcomes of what is in flight are written. */
  async drain(): Promise<void> {
    this.#stopped = true
    this.#wakeup.wake()
    while (this.#inFlight > 0 && this.#fatal === null) await sleep(this.#options.clock, 5)
  }

  /** Runs until drain(). Rejects when the ledger fails: the term is over. */
  async run(): Promise<void> {
    const { clock, driver } = this.#options
    while (!this.#stopped) {
      if (this.#fatal !== null) throw this.#fatal
      const room = this.#inFlight < driver.limits.inFlightMax && clock.nowMs() >= this.#closedUntilMs
      const held = this.#held !== null
      const capacity = room && !held ? (driver.capacity?.() ?? Number.POSITIVE_INFINITY) - this.#intending : 0
      const batch = capacity > 0 ? this.#take(Math.min(capacity, driver.limits.batchJobsMax)) : null
      if (batch !== null) {
        this.#inFlight += 1
        batch.segment.inFlight += 1
        void this.#submit(batch)
        continue
      }
      if (capacity > 0 && (await this.#load())) continue
      // With no capacity nothing that falls due matters: the driver wakes us.
      await this.#wakeup.wait(clock, capacity > 0 || !room ? this.#idleMs() : 1000)
    }
    if (this.#fatal !== null) throw this.#fatal
  }

  #idleMs(): number {
    const now = this.#options.clock.nowMs()
    let until = now + 1000
    if (this.#closedUntilMs > now) until = Math.min(until, this.#closedUntilMs)
    for (const segment of this.#loaded.values()) for (const due of segment.again.values()) until = Math.min(until, due)
    return Math.max(1, until - now)
  }

  #roomFor(bytes: number): boolean {
    return this.#loaded.size === 0 || this.#loadedBytes + bytes <= this.#options.windowBytesMax
  }

  #hold(book: SegmentBook, lines: Lines): void {
    const cluster = lines.clusterIndex(this.#options.cluster)
    if (cluster < 0) return
    this.#loaded.set(book.ref, { book, lines, cluster, cursor: 0, again: new Map(), taken: new Uint8Array(book.count), inFlight: 0 })
    this.#loadedBytes += lines.bytes.length
  }

  /** Reads the next queued segment into the window. False: nothing to read, or no room. */
  async #load(): Promise<boolean> {
    const { books, read, log } = this.#options
    const now = this.#options.clock.nowMs()
    for (const ref of this.#queue) {
      if (!this.#roomFor(0)) return false
      if ((this.#unreadable.get(ref) ?? 0) > now) continue
      const book = books.segments.get(ref)
      if (book === undefined || book.waiting === 0) {
        this.#queue.delete(ref)
        continue
      }
      let lines: Lines | null = null
      try {
        lines = await read(ref)
      } catch (error) {
        log('warn', `segment ${ref} can't be read: ${messageOf(error)}`)
      }
      if (lines !== null && lines.index.count < book.count) {
        log('warn', `segment ${ref} shows ${lines.index.count} of the ${book.count} jobs that were admitted: they wait`)
        lines = null
      }
      if (lines === null) {
        // Others need not wait for it.
        this.#unreadable.set(ref, now + unreadableRetryMs)
        continue
      }
      this.#unreadable.delete(ref)
      this.#queue.delete(ref)
      this.#hold(book, lines)
      return true
    }
    return false
  }

  #take(jobsMax: number): Batch | null {
    const now = this.#options.clock.nowMs()
    for (const segment of this.#loaded.values()) {
      const indexes = takeFrom(segment, jobsMax, now)
      if (indexes.length > 0) return { segment, indexes }
      this.#release(segment)
    }
    return null
  }

  #release(segment: Loaded): void {
    if (segment.inFlight > 0 || segment.again.size > 0 || segment.cursor < segment.book.count) return
    this.#loaded.delete(segment.book.ref)
    this.#loadedBytes -= segment.lines.bytes.length
    }

  async #submit(batch: Batch): Promise<void> {
    const { segment, indexes } = batch
    try {
      await this.#intendAndSubmit(segment, indexes)
    } catch (error) {
      this.#fatal ??= error
    } finally {
      for (const index of indexes) segment.taken[index] = 0
      this.#inFlight -= 1
      segment.inFlight -= 1
      this.#release(segment)
      this.#wakeup.wake()
    }
  }

  async #intendAndSubmit(segment: Loaded, indexes: readonly number[]): Promise<void> {
    const { cluster, driver, origin } = this.#options
    const of = segment.book.ref
    const jobs: Submission[] = indexes.map((index) => segment.lines.job(index))
    this.#intending += jobs.length
    try {
      await this.#write([{ k: 'intent', of, cluster, jobs: runsOf(indexes) }])
    } finally {
      this.#intending -= jobs.length
    }
    if (!this.#options.mayAct()) throw new UsherError('internal', 'the lease is over: nothing may be submitted any more')
    // From here to the call nothing may come between: capacity() and #intending count each job once.
    const outcomes = await driver.submit(jobs, origin, this.#abort.signal)
    invariant(outcomes.length === jobs.length, `driver ${driver.kind} answers for each job`)
    await this.#write(this.#recordsOf(of, indexes, outcomes))
    this.#afterwards(segment, indexes, outcomes)
  }

  async #write(records: readonly Unstamped[]): Promise<void> {
    const { ledger, books } = this.#options
    for (const record of await ledger.append(records)) books.apply(record)
  }

  #recordsOf(of: string, indexes: readonly number[], outcomes: readonly Outcome[]): Unstamped[] {
    const { driver } = this.#options
    const records: Unstamped[] = []
    const receipts: number[] = []
    const ids: (string | null)[] = []
    const byReason = new Map<string, { k: 'refused' | 'later' | 'doubt'; reason: string; indexes: number[] }>()
    for (const [at, outcome] of outcomes.entries()) {
      if (outcome.kind === 'submitted') {
        receipts.push(indexes[at]!)
        ids.push(outcome.jobId)
        continue
      }
      const key = `${outcome.kind} ${outcome.reason}`
      const group = byReason.get(key)
      if (group === undefined) byReason.set(key, { k: outcome.kind, reason: outcome.reason, indexes: [indexes[at]!] })
      else group.indexes.push(indexes[at]!)
    }
    if (receipts.length > 0) {
      records.push({
        k: 'receipt',
        of,
        jobs: runsOf(receipts),
        ...(ids.some((id) => id !== null) ? { ids } : {}),
        ...followUpsOf(driver),
      })
    }
    for (const { k, reason, indexes: jobs } of byReason.values()) records.push({ k, of, jobs: runsOf(jobs), reason })
    return records
  }

  #afterwards(segment: Loaded, indexes: readonly number[], outcomes: readonly Outcome[]): void {
    const { clock, retryMinMs, retryMaxMs, random, onDoubt, onReceipt, log, cluster } = this.#options
    const now = clock.nowMs()
    const doubts: number[] = []
    const receipts: number[] = []
    let later: Extract<Outcome, { kind: 'later' }> | null = null
    for (const [at, outcome] of outcomes.entries()) {
      const index = indexes[at]!
      const key = `${segment.book.ref}:${index}`
      if (outcome.kind === 'later') {
        const attempt = this.#attempts.get(key) ?? 0
        this.#attempts.set(key, attempt + 1)
        segment.again.set(index, now + Math.max(outcome.afterMs ?? 0, fullJitter(attempt, retryMinMs, retryMaxMs, random)))
        later = outcome
        continue
      }
      this.#attempts.delete(key)
      if (outcome.kind === 'doubt') doubts.push(index)
      if (outcome.kind === 'submitted') receipts.push(index)
    }
    if (doubts.length > 0) onDoubt(segment.book.ref, doubts)
    if (receipts.length > 0) onReceipt(segment.book.ref, receipts)
    if (later !== null && outcomes.every((outcome) => outcome.kind === 'later')) {
      // Nothing of the batch was taken: the cluster, not a job, is the reason. Hold everything back for a while.
      const wait = Math.max(later.afterMs ?? 0, fullJitter(this.#failures, retryMinMs, retryMaxMs, random))
      if (this.#failures === 0) log('warn', `cluster ${cluster} takes no jobs now: ${later.reason}`)
      this.#failures += 1
      this.#closedUntilMs = Math.max(this.#closedUntilMs, now + wait)
    } else if (later === null) {
      if (this.#failures > 0) log('info', `cluster ${cluster} takes jobs again`)
      this.#failures = 0
    }
  }
}

/** Which follow-ups a driver asks for, as a receipt records them. */
export const followUpsOf = (driver: Driver): { held?: true; unconfirmed?: true; unended?: true } => ({
  ...(driver.release !== undefined ? { held: true as const } : {}),
  ...(driver.confirm !== undefined ? { unconfirmed: true as const } : {}),
  ...(driver.watch !== undefined ? { unended: true as const } : {}),
})

const takeFrom = (segment: Loaded, jobsMax: number, nowMs: number): number[] => {
  const taken: number[] = []
  const { book, lines } = segment
  const states = book.states
  if (states === null) {
    segment.cursor = book.count
    segment.again.clear()
    return taken
  }
  // A job can be met twice, at the cursor and as one that came back, while the books still call it waiting.
  const take = (index: number): void => {
    if (segment.taken[index] === 1 || states[index] !== state.waiting || lines.index.clusterOf[index] !== segment.cluster) return
    segment.taken[index] = 1
    taken.push(index)
  }
  for (const [index, dueMs] of segment.again) {
    if (taken.length >= jobsMax) return taken
    if (dueMs > nowMs) continue
    segment.again.delete(index)
    take(index)
  }
  for (; segment.cursor < book.count && taken.length < jobsMax; segment.cursor += 1) {
    if (!segment.again.has(segment.cursor)) take(segment.cursor)
  }
  return taken.sort((a, b) => a - b)
}
