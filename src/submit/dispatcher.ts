// Hands the waiting jobs of one cluster to its driver: intent to stable storage, then the cluster, then the
// outcome to stable storage. A bounded window of segments is in memory; the rest waits on the store.
//
// Never: a driver call without a synced intent; an outcome that isn't written; two batches with one job.

import { setMaxListeners } from 'node:events'
import { fullJitter, sleep } from '../base/clock.ts'
import type { Clock } from '../base/clock.ts'
import { invariant, UsherError } from '../base/errors.ts'
import { Wakeup } from '../base/wakeup.ts'
import type { Books, SegmentBook } from './books.ts'
import type { Driver, Origin, Outcome, Submission } from './driver.ts'
import { enter } from './ledger.ts'
import type { Ledger, Unstamped } from './ledger.ts'
import type { Lines } from './lines.ts'
import { Pace } from './pace.ts'
import type { Call } from './pace.ts'
import { runsOf } from './records.ts'
import { Window } from './window.ts'
import type { Batch } from './window.ts'

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

/** After so many batches in a row of which nothing was taken, the cluster, not its jobs, is taken for the reason. */
const emptyBatchesMax = 3
/** Between two looks at what there is, unless something wakes us. */
const idleMsMin = 20
const idleMsMax = 1000

export class Dispatcher {
  readonly #options: DispatcherOptions
  readonly #wakeup = new Wakeup()
  readonly #abort = new AbortController()
  readonly #window: Window
  readonly #pace: Pace
  /** Batches whose intents are synced and that wait for their turn. */
  readonly #turns: { readonly jobs: number; readonly begin: (call: Call) => void }[] = []
  #inFlight = 0
  /** Jobs taken whose intents are on their way to stable storage: the driver doesn't count them yet. */
  #intending = 0
  #stopped = false
  #held: string | null = null
  #fatal: unknown = null
  /** Nothing is handed over before this time: the cluster said so, or refused everything. */
  #closedUntilMs = 0
  #closed = false
  /** Batches in a row of which nothing was taken. */
  #emptyBatches = 0
  /** How often a job came back, for its own back-off. */
  readonly #attempts = new Map<string, number>()
  readonly #tally: Record<Outcome['kind'], number> = { submitted: 0, refused: 0, later: 0, doubt: 0 }

  constructor(options: DispatcherOptions) {
    this.#options = options
    const { cluster, books, clock, read, windowBytesMax, log } = options
    const { gathering, limits } = options.driver
    this.#window = new Window({ cluster, books, clock, read, bytesMax: windowBytesMax, gathering, log })
    this.#pace = new Pace(limits.inFlightMax)
    // Every call in flight listens: as many as the driver allows.
    setMaxListeners(0, this.#abort.signal)
  }

  /** How the cluster answered, job by job, since this term began. */
  get tally(): Readonly<Record<Outcome['kind'], number>> {
    return this.#tally
  }

  /** A segment was admitted, or jobs of it wait again. */
  offer(book: SegmentBook, lines?: Lines): void {
    this.#window.offer(book, lines)
    this.#wakeup.wake()
  }

  /** Jobs that were in doubt, forgotten or dead wait again. */
  waitingAgain(book: SegmentBook, indexes: readonly number[]): void {
    this.#window.waitingAgain(book, indexes)
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
      const room = this.#inFlight < this.#takenMax && clock.nowMs() >= this.#closedUntilMs
      const held = this.#held !== null
      const capacity = room && !held ? (driver.capacity?.() ?? Number.POSITIVE_INFINITY) - this.#intending : 0
      const batch = capacity > 0 ? this.#window.take(Math.min(capacity, driver.limits.batchJobsMax)) : null
      if (batch !== null) {
        this.#inFlight += 1
        void this.#submit(batch)
        continue
      }
      if (capacity > 0 && (await this.#window.load())) continue
      await this.#wakeup.wait(clock, this.#idleMs(capacity > 0))
    }
    if (this.#fatal !== null) throw this.#fatal
  }

  /** Batches with an intent: as many for each call as the driver says. */
  get #takenMax(): number {
    const { inFlightMax, takenMax } = this.#options.driver.limits
    return Math.ceil(((takenMax ?? inFlightMax) * this.#pace.limit) / inFlightMax)
  }

  /** With no capacity nothing that falls due matters: an outcome or the driver wakes us. */
  #idleMs(canTake: boolean): number {
    const now = this.#options.clock.nowMs()
    if (this.#closedUntilMs > now) return Math.min(idleMsMax, this.#closedUntilMs - now)
    return canTake ? Math.min(idleMsMax, Math.max(idleMsMin, this.#window.nextDueMs - now)) : idleMsMax
  }

  async #submit(batch: Batch): Promise<void> {
    let outcomes: readonly Outcome[] = []
    try {
      outcomes = await this.#intendAndSubmit(batch)
    } catch (error) {
      this.#fatal ??= error
    }
    // In one go: between the two a job that came back would be neither in a batch nor put off.
    this.#window.settle(batch)
    this.#afterwards(batch.book.ref, batch.indexes, outcomes)
    this.#inFlight -= 1
    this.#wakeup.wake()
  }

  /** Resolves with the outcomes once they are written. */
  async #intendAndSubmit({ book, lines, indexes }: Batch): Promise<readonly Outcome[]> {
    const { cluster } = this.#options
    const of = book.ref
    const jobs: Submission[] = indexes.map((index) => lines.job(index))
    let call: Call
    this.#intending += jobs.length
    try {
      await this.#write([{ k: 'intent', of, cluster, jobs: runsOf(indexes) }])
      call = await this.#turn(jobs.length)
    } finally {
      this.#intending -= jobs.length
    }
    // From here to the call nothing may come between: capacity() and #intending count each job once.
    const outcomes = await this.#call(call, jobs)
    await this.#write(this.#recordsOf(of, indexes, outcomes))
    for (const { kind } of outcomes) this.#tally[kind] += 1
    return outcomes
  }

  /** Resolves when the cluster may have one call more, which counts from then on. */
  async #turn(jobs: number): Promise<Call> {
    if (this.#pace.hasRoom && this.#turns.length === 0) return this.#pace.begin(this.#options.clock.nowMs(), jobs)
    return new Promise((begin) => this.#turns.push({ jobs, begin }))
  }

  async #call(call: Call, jobs: readonly Submission[]): Promise<readonly Outcome[]> {
    const { driver, origin, mayAct } = this.#options
    if (!mayAct()) throw new UsherError('internal', 'the lease is over: nothing may be submitted any more')
    let taken = false
    try {
      const outcomes = await driver.submit(jobs, origin, this.#abort.signal)
      invariant(outcomes.length === jobs.length, `driver ${driver.kind} answers for each job`)
      taken = outcomes.some(({ kind }) => kind === 'submitted' || kind === 'refused')
      return outcomes
    } finally {
      this.#answered(call, taken)
    }
  }

  #answered(call: Call, taken: boolean): void {
    const { clock, cluster, log } = this.#options
    const now = clock.nowMs()
    if (this.#pace.end(call, now, taken)) log('info', `cluster ${cluster} takes too little: ${this.#pace.limit} calls at a time from now on`)
    while (this.#pace.hasRoom) {
      const next = this.#turns.shift()
      if (next === undefined) return
      next.begin(this.#pace.begin(now, next.jobs))
    }
  }

  #write(records: readonly Unstamped[]): Promise<void> {
    return enter(this.#options.ledger, this.#options.books, records)
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

  #afterwards(of: string, indexes: readonly number[], outcomes: readonly Outcome[]): void {
    const { clock, retryMinMs, retryMaxMs, random, onDoubt, onReceipt } = this.#options
    const now = clock.nowMs()
    const doubts: number[] = []
    const receipts: number[] = []
    let later: Later | null = null
    for (const [at, outcome] of outcomes.entries()) {
      const index = indexes[at]!
      const key = `${of}:${index}`
      if (outcome.kind === 'later') {
        const attempt = this.#attempts.get(key) ?? 0
        this.#attempts.set(key, attempt + 1)
        this.#window.delay(of, index, now + Math.max(outcome.afterMs ?? 0, fullJitter(attempt, retryMinMs, retryMaxMs, random)))
        if (later === null || outcome.afterMs !== undefined) later = outcome
        continue
      }
      this.#attempts.delete(key)
      if (outcome.kind === 'doubt') doubts.push(index)
      if (outcome.kind === 'submitted') receipts.push(index)
    }
    if (doubts.length > 0) onDoubt(of, doubts)
    if (receipts.length > 0) onReceipt(of, receipts)
    if (later !== null && outcomes.every(({ kind }) => kind === 'later')) this.#tookNothing(later, now)
    else if (receipts.length > 0) this.#tookSome()
  }

  /** One batch, often one job, may have itself to blame; several in a row, or a cluster that names a time, hold back all. */
  #tookNothing(later: Later, nowMs: number): void {
    const { retryMinMs, retryMaxMs, random, log, cluster } = this.#options
    this.#emptyBatches += 1
    const closing = this.#emptyBatches - emptyBatchesMax
    if (closing < 0 && later.afterMs === undefined) return
    if (!this.#closed) log('warn', `cluster ${cluster} takes no jobs now: ${later.reason}`)
    this.#closed = true
    const wait = Math.max(later.afterMs ?? 0, fullJitter(Math.max(0, closing), retryMinMs, retryMaxMs, random))
    this.#closedUntilMs = Math.max(this.#closedUntilMs, nowMs + wait)
  }

  #tookSome(): void {
    if (this.#closed) this.#options.log('info', `cluster ${this.#options.cluster} takes jobs again`)
    this.#closed = false
    this.#emptyBatches = 0
  }
}

type Later = Extract<Outcome, { kind: 'later' }>

/** Which follow-ups a driver asks for, as a receipt records them. */
export const followUpsOf = (driver: Driver): { held?: true; unconfirmed?: true; unended?: true } => ({
  ...(driver.release !== undefined ? { held: true as const } : {}),
  ...(driver.confirm !== undefined ? { unconfirmed: true as const } : {}),
  ...(driver.watch !== undefined ? { unended: true as const } : {}),
})
