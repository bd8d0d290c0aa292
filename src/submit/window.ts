// The jobs of one cluster that wait, and which of them are in memory: a bounded window of segments, read in the order of
// admission. Jobs that come back keep nothing in memory but their place and when they are due; their segment is
// read again then. So a few that nobody takes never keep the others from being handed over.
//
// Never gives a job to two batches at a time: the books call it waiting until its intent is synced.

import type { Clock } from '../base/clock.ts'
import { messageOf } from '../base/errors.ts'
import { state } from './books.ts'
import type { Books, SegmentBook } from './books.ts'
import type { Gathering } from './driver.ts'
import type { Lines } from './lines.ts'
import { Selection } from './selection.ts'

export interface WindowOptions {
  readonly cluster: string
  readonly books: Books
  readonly clock: Clock
  /** Reads a segment's JSON lines; null while it doesn't show. */
  readonly read: (ref: string) => Promise<Lines | null>
  /** JSON lines held in memory at most (one segment at least). */
  readonly bytesMax: number
  /** Which jobs may be in one batch; absent: any. */
  readonly gathering?: Gathering | undefined
  readonly log: (level: 'warn', message: string) => void
}

interface Loaded {
  readonly book: SegmentBook
  readonly lines: Lines
  readonly cluster: number
  /** Next index that has not been looked at. */
  cursor: number
  /** Jobs that wait again, now. */
  readonly again: Set<number>
  /** 1: in a batch, from before its intent until its outcome is written. */
  readonly taken: Uint8Array
  /** What goes together. */
  readonly selection: Selection
  inFlight: number
}

/** Jobs of one segment that came back. */
interface Delayed {
  readonly dueMs: Map<number, number>
  /** None is due before. */
  nextMs: number
}

export interface Batch {
  readonly book: SegmentBook
  readonly lines: Lines
  readonly indexes: readonly number[]
}

/** How many jobs after the first are looked at for such as go with it. */
const lookaheadJobs = 4096
/** How long after a segment could not be read it is tried again. */
const unreadableRetryMs = 1000
/** With so many jobs put off, new ones are not tried: what is known of them must stay bounded. */
const delayedJobsMax = 50_000

export class Window {
  readonly #options: WindowOptions
  /** Segments with waiting jobs that are not in memory. */
  readonly #queue = new Set<string>()
  readonly #loaded = new Map<string, Loaded>()
  readonly #delayed = new Map<string, Delayed>()
  #delayedJobs = 0
  /** Segments whose lines don't show now: when they are looked for again. */
  readonly #unreadable = new Map<string, number>()
  /** What was last said of those. */
  readonly #complaints = new Map<string, string>()
  #bytes = 0
  #delayedFirst = false

  constructor(options: WindowOptions) {
    this.#options = options
  }

  /** A segment was admitted, or jobs of it wait again. `lines` are taken where there is room. */
  offer(book: SegmentBook, lines?: Lines): void {
    if (book.waiting === 0 || !(this.#options.cluster in book.clusters) || this.#loaded.has(book.ref)) return
    if (lines !== undefined && this.#queue.size === 0 && this.#hasRoom(lines.bytes.length)) this.#hold(book, lines, 0)
    else this.#queue.add(book.ref)
  }

  /** Jobs that were in doubt, forgotten or dead wait again. */
  waitingAgain(book: SegmentBook, indexes: readonly number[]): void {
    const loaded = this.#loaded.get(book.ref)
    if (loaded === undefined) this.offer(book)
    else for (const index of indexes) loaded.again.add(index)
  }

  /** A job came back, to be tried again at that time of the clock. */
  delay(ref: string, index: number, dueMs: number): void {
    let delayed = this.#delayed.get(ref)
    if (delayed === undefined) this.#delayed.set(ref, (delayed = { dueMs: new Map(), nextMs: dueMs }))
    if (!delayed.dueMs.has(index)) this.#delayedJobs += 1
    delayed.dueMs.set(index, dueMs)
    delayed.nextMs = Math.min(delayed.nextMs, dueMs)
  }

  /** At most so many jobs, all of one segment; null: none in memory can be tried now. */
  take(jobsMax: number): Batch | null {
    for (const loaded of [...this.#loaded.values()]) {
      const indexes = this.#takeFrom(loaded, jobsMax)
      if (indexes.length > 0) {
        loaded.inFlight += 1
        return { book: loaded.book, lines: loaded.lines, indexes }
      }
      this.#release(loaded)
    }
    return null
  }

  /** The outcomes of a batch are written, and what came back of it has been put off. */
  settle({ book, indexes }: Batch): void {
    const loaded = this.#loaded.get(book.ref)
    if (loaded === undefined) return
    for (const index of indexes) loaded.taken[index] = 0
    loaded.inFlight -= 1
    this.#release(loaded)
  }

  /** Reads the next segment into memory. False: nothing to read now, or no room. */
  async load(): Promise<boolean> {
    const now = this.#options.clock.nowMs()
    if (!this.#hasRoom(0)) return false
    // In turn, so that neither keeps the other waiting, however often jobs come back.
    this.#delayedFirst = !this.#delayedFirst
    if (this.#delayedFirst && (await this.#loadDue(now))) return true
    for (const ref of this.#queue) if (await this.#read(ref, 0)) return true
    return !this.#delayedFirst && (await this.#loadDue(now))
  }

  async #loadDue(now: number): Promise<boolean> {
    for (const [ref, { nextMs }] of this.#delayed) {
      // Every job of it that is not put off was handed over before it left the window.
      if (nextMs > now || this.#loaded.has(ref)) continue
      if (await this.#read(ref, this.#queue.has(ref) ? 0 : Number.POSITIVE_INFINITY)) return true
    }
    return false
  }

  /** When a job that was put off, or a segment that did not show, is due next; Infinity: none. */
  get nextDueMs(): number {
    let next = Number.POSITIVE_INFINITY
    for (const { nextMs } of this.#delayed.values()) next = Math.min(next, nextMs)
    for (const dueMs of this.#unreadable.values()) next = Math.min(next, dueMs)
    return next
  }

  #hasRoom(bytes: number): boolean {
    return this.#loaded.size === 0 || this.#bytes + bytes <= this.#options.bytesMax
  }

  #hold(book: SegmentBook, lines: Lines, cursor: number): void {
    const cluster = lines.clusterIndex(this.#options.cluster)
    if (cluster < 0) return
    const taken = new Uint8Array(book.count)
    const selection = new Selection(lines, this.#options.gathering)
    this.#loaded.set(book.ref, { book, lines, cluster, cursor: Math.min(cursor, book.count), again: new Set(), taken, selection, inFlight: 0 })
    this.#bytes += lines.bytes.length
  }

  #release(loaded: Loaded): void {
    if (loaded.inFlight > 0 || loaded.again.size > 0 || loaded.cursor < loaded.book.count) return
    this.#loaded.delete(loaded.book.ref)
    this.#bytes -= loaded.lines.bytes.length
  }

  #forget(ref: string): void {
    this.#queue.delete(ref)
    this.#unreadable.delete(ref)
    this.#complaints.delete(ref)
    this.#delayedJobs -= this.#delayed.get(ref)?.dueMs.size ?? 0
    this.#delayed.delete(ref)
  }

  async #read(ref: string, cursor: number): Promise<boolean> {
    const { books, clock, read } = this.#options
    const now = clock.nowMs()
    if ((this.#unreadable.get(ref) ?? 0) > now) return false
    const book = books.segments.get(ref)
    if (book === undefined || book.waiting === 0) {
      this.#forget(ref)
      return false
    }
    let lines: Lines | null = null
    try {
      lines = await read(ref)
      if (lines !== null && lines.index.count < book.count) {
        this.#complain(ref, `segment ${ref} shows ${lines.index.count} of the ${book.count} jobs that were admitted: they wait`)
        lines = null
      }
    } catch (error) {
      this.#complain(ref, `segment ${ref} can't be read: ${messageOf(error)}`)
    }
    if (lines === null) {
      // Others need not wait for it.
      this.#unreadable.set(ref, now + unreadableRetryMs)
      return false
    }
    this.#unreadable.delete(ref)
    this.#complaints.delete(ref)
    // While it was read more of it may have come to wait: then it is looked through from its beginning.
    const from = this.#queue.delete(ref) ? 0 : cursor
    this.#hold(book, lines, from)
    return true
  }

  /** It is tried each second: what stays the same is said once. */
  #complain(ref: string, message: string): void {
    if (this.#complaints.get(ref) !== message) this.#options.log('warn', message)
    this.#complaints.set(ref, message)
  }

  #takeFrom(loaded: Loaded, jobsMax: number): number[] {
    const taken: number[] = []
    const { book, lines, again } = loaded
    const { states } = book
    if (states === null) {
      loaded.cursor = book.count
      again.clear()
      return taken
    }
    // A job can be met twice, at the cursor and as one that came back.
    const isFree = (index: number): boolean =>
      loaded.taken[index] === 0 && states[index] === state.waiting && lines.index.clusterOf[index] === loaded.cluster
    const { selection } = loaded
    const isFull = (): boolean => taken.length >= jobsMax || selection.isFull
    /** Whether nothing more is to be done about it: false leaves it for another batch. */
    const take = (index: number): boolean => {
      if (!isFree(index)) return true
      if (isFull() || !selection.takes(index)) return false
      loaded.taken[index] = 1
      taken.push(index)
      return true
    }
    selection.begin()
    for (const index of again) {
      if (isFull()) break
      if (take(index)) again.delete(index)
    }
    this.#takeDue(book.ref, take)
    if (this.#delayedJobs < delayedJobsMax) this.#takeNew(loaded, take, isFull)
    return taken.sort((a, b) => a - b)
  }

  /** Those that were put off and are due. */
  #takeDue(ref: string, take: (index: number) => boolean): void {
    const now = this.#options.clock.nowMs()
    const delayed = this.#delayed.get(ref)
    if (delayed === undefined || delayed.nextMs > now) return
    delayed.nextMs = Number.POSITIVE_INFINITY
    for (const [index, dueMs] of delayed.dueMs) {
      if (dueMs > now || !take(index)) {
        delayed.nextMs = Math.min(delayed.nextMs, dueMs)
        continue
      }
      delayed.dueMs.delete(index)
      this.#delayedJobs -= 1
    }
    if (delayed.dueMs.size === 0) this.#delayed.delete(ref)
  }

  /** Those that the cursor comes to, and beyond it such as go with them. */
  #takeNew(loaded: Loaded, take: (index: number) => boolean, isFull: () => boolean): void {
    const { book } = loaded
    const dueMs = this.#delayed.get(book.ref)?.dueMs
    const passes = (index: number): boolean => dueMs?.has(index) === true || take(index)
    for (; loaded.cursor < book.count && !isFull(); loaded.cursor += 1) if (!passes(loaded.cursor)) break
    const end = Math.min(book.count, loaded.cursor + lookaheadJobs)
    for (let index = loaded.cursor; index < end && !isFull(); index += 1) passes(index)
  }
}
