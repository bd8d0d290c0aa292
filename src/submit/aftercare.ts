// What remains to be done for jobs that the cluster of one driver has: releasing held ones, confirming that the
// cluster still knows what it acknowledged, recording how they ended.

import { setMaxListeners } from 'node:events'
import type { Clock } from '../base/clock.ts'
import { invariant, messageOf } from '../base/errors.ts'
import { Wakeup } from '../base/wakeup.ts'
import type { Books, SegmentBook } from './books.ts'
import { askedJobsUsual } from './driver.ts'
import type { Confirmation, Driver, Ended } from './driver.ts'
import { enter } from './ledger.ts'
import type { Ledger, Unstamped } from './ledger.ts'
import { runsOf } from './records.ts'

export interface AftercareOptions {
  readonly cluster: string
  readonly driver: Driver
  readonly books: Books
  readonly ledger: Ledger
  readonly clock: Clock
  readonly onWaiting: (segment: SegmentBook, indexes: readonly number[]) => void
  readonly onDoubt: (ref: string, indexes: readonly number[]) => void
  /** Capacity may have become free. */
  readonly onCapacity: () => void
  readonly log: (level: 'info' | 'warn', message: string, details?: Record<string, unknown>) => void
}

interface Cared {
  readonly ref: string
  readonly index: number
  /** When its receipt was written, or the term began. */
  readonly sinceMs: number
}

const atOnce = 1000

export class Aftercare {
  readonly #options: AftercareOptions
  readonly #held = new Map<string, Cared>()
  readonly #unconfirmed = new Map<string, Cared>()
  readonly #unended = new Map<string, Cared>()
  #ended: Ended[] = []
  readonly #early = new Map<string, Ended>()
  readonly #wakeup = new Wakeup()
  readonly #abort = new AbortController()
  #complaint = ''

  constructor(options: AftercareOptions) {
    this.#options = options
    // Every call in flight listens: as many as the driver allows.
    setMaxListeners(0, this.#abort.signal)
  }

  /** Before the first submission: takes over what earlier terms left, and begins to watch for ends. */
  start(): void {
    const { driver, onCapacity } = this.#options
    driver.watch?.(
      (ended) => {
        this.#ended.push(...ended)
        this.#wakeup.wake()
      },
      onCapacity,
      [...this.#unended.keys()],
    )
  }

  /** These have receipts. */
  add(ref: string, indexes: readonly number[]): void {
    const { books, clock } = this.#options
    const segment = books.segments.get(ref)
    if (segment === undefined || segment.followUps.size === 0) return
    const sinceMs = clock.nowMs()
    for (const index of indexes) {
      const followUp = segment.followUps.get(index)
      if (followUp === undefined) continue
      const id = books.idAt(segment, index)
      const cared = { ref, index, sinceMs }
      if (followUp.held) this.#held.set(id, cared)
      if (followUp.unconfirmed) this.#unconfirmed.set(id, cared)
      if (followUp.unended) {
        this.#unended.set(id, cared)
        const early = this.#early.get(id)
        if (early !== undefined) this.#ended.push(early)
        this.#early.delete(id)
      }
    }
    this.#wakeup.wake()
  }

  stop(): void {
    this.#abort.abort()
    this.#wakeup.wake()
  }

  /** Runs until stop(). Rejects when the ledger fails. */
  async run(): Promise<void> {
    const { clock, driver } = this.#options
    let askedAtMs = Number.NEGATIVE_INFINITY
    while (!this.#abort.signal.aborted) {
      await this.#recordEnds()
      await this.#release()
      const now = clock.nowMs()
      if (now - askedAtMs >= driver.limits.askEveryMs) {
        askedAtMs = now
        await this.#confirm()
      }
      const busy = this.#held.size + this.#unconfirmed.size > 0
      await this.#wakeup.wait(clock, busy ? driver.limits.askEveryMs : 60_000)
    }
    await this.#recordEnds()
  }

  #write(records: readonly Unstamped[]): Promise<void> {
    return enter(this.#options.ledger, this.#options.books, records)
  }

  async #recordEnds(): Promise<void> {
    const ended = this.#ended
    this.#ended = []
    const records: Unstamped[] = []
    for (const end of ended) {
      const cared = this.#unended.get(end.id)
      if (cared === undefined) {
        // A job can end before its receipt is written, or while it is in doubt.
        this.#early.set(end.id, end)
        continue
      }
      this.#unended.delete(end.id)
      const { exitCode, signal, startedAt, endedAt, reason } = end
      const { ref: of, index } = cared
      records.push({ k: 'ended', of, jobs: [[index, index]], ends: [{ exitCode, signal, startedAt, endedAt, reason }] })
    }
    if (records.length > 0) await this.#write(records)
  }

  async #release(): Promise<void> {
    const { driver, books, log, cluster } = this.#options
    if (driver.release === undefined) return
    const all = [...this.#held.entries()]
    for (let from = 0; from < all.length && !this.#abort.signal.aborted; from += atOnce) {
      const chunk = all.slice(from, from + atOnce)
      const jobs = chunk.map(([id, { ref, index }]) => ({ id, jobId: books.segments.get(ref)?.followUps.get(index)?.jobId ?? '' }))
      let answers: readonly ('done' | 'gone' | 'later')[]
      try {
        answers = await driver.release(jobs, this.#abort.signal)
      } catch (error) {
        this.#complain(`cluster ${cluster} doesn't release ${jobs.length} held jobs: ${messageOf(error)}`)
        return
      }
      invariant(answers.length === jobs.length, `driver ${driver.kind} answers for each held job`)
      const records: Unstamped[] = []
      const lost: Cared[] = []
      for (const [at, answer] of answers.entries()) {
        const [id, cared] = chunk[at]!
        if (answer === 'later') continue
        this.#held.delete(id)
        if (answer === 'gone') lost.push(cared)
        else records.push({ k: 'released', of: cared.ref, jobs: [[cared.index, cared.index]] })
      }
      if (records.length > 0) await this.#write(records)
      if (lost.length > 0) log('warn', `cluster ${cluster}: ${lost.length} held jobs can't be found to be released; they are looked for when confirmed`)
    }
  }

  async #confirm(): Promise<void> {
    const { driver, books, clock, cluster, log } = this.#options
    if (driver.confirm === undefined) return
    const before = clock.nowMs() - (driver.confirmAfterMs ?? 0)
    const due = [...this.#unconfirmed.entries()].filter(([, { sinceMs }]) => sinceMs <= before)
    const askedAtOnce = driver.limits.askedJobsMax ?? askedJobsUsual
    for (let from = 0; from < due.length && !this.#abort.signal.aborted; from += askedAtOnce) {
      const chunk = due.slice(from, from + askedAtOnce)
      const jobs = chunk.map(([id, { ref, index }]) => {
        const segment = books.segments.get(ref)
        const followUp = segment?.followUps.get(index)
        // From its intent: the receipt of a job that was found may be much younger than the job.
        const submittedAtMs = segment?.intendedMs?.[index] ?? Date.parse(followUp?.at ?? '')
        return { id, jobId: followUp?.jobId ?? null, submittedAtMs }
      })
      let answers: readonly Confirmation[]
      try {
        answers = await driver.confirm(jobs, this.#abort.signal)
      } catch (error) {
        this.#complain(`cluster ${cluster} can't be asked whether it still knows ${jobs.length} jobs: ${messageOf(error)}`)
        return
      }
      invariant(answers.length === jobs.length, `driver ${driver.kind} answers for each job to be confirmed`)
      const kept = new Map<string, number[]>()
      const forgotten = new Map<string, number[]>()
      const doubtful = new Map<string, number[]>()
      for (const [at, answer] of answers.entries()) {
        if (answer === 'unknown') continue
        const [id, { ref, index }] = chunk[at]!
        this.#unconfirmed.delete(id)
        const group = answer === 'kept' ? kept : answer === 'forgotten' ? forgotten : doubtful
        const list = group.get(ref)
        if (list === undefined) group.set(ref, [index])
        else list.push(index)
        if (answer !== 'kept') {
          this.#held.delete(id)
          this.#unended.delete(id)
        }
      }
      const records: Unstamped[] = []
      for (const [of, indexes] of kept) records.push({ k: 'confirmed', of, jobs: runsOf(indexes) })
      for (const [of, indexes] of forgotten) records.push({ k: 'forgotten', of, jobs: runsOf(indexes) })
      const reason = 'the cluster was away for longer than it remembers jobs, and does not list it: it may have ended, or may have been lost'
      for (const [of, indexes] of doubtful) records.push({ k: 'doubt', of, jobs: runsOf(indexes), reason })
      if (records.length > 0) await this.#write(records)
      for (const [ref, indexes] of doubtful) {
        log('warn', `cluster ${cluster} can't say what became of ${indexes.length} jobs that it had acknowledged: they are in doubt`)
        this.#options.onDoubt(ref, indexes)
      }
      for (const [ref, indexes] of forgotten) {
        log('warn', `cluster ${cluster} has lost ${indexes.length} jobs that it had acknowledged: they are submitted again`)
        this.#options.onWaiting(books.segments.get(ref)!, indexes)
      }
    }
  }

  #complain(message: string): void {
    if (this.#complaint !== message) this.#options.log('warn', message)
    this.#complaint = message
  }
}
