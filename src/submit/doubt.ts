// Jobs in doubt of one cluster: asked for until the cluster says that it has them, or until it is proven that
// it doesn't. Where the driver can't ask they stay in doubt, visible, until someone decides. Never guesses.

import type { Clock } from '../base/clock.ts'
import { invariant, messageOf } from '../base/errors.ts'
import { Wakeup } from '../base/wakeup.ts'
import { state } from './books.ts'
import type { Books, SegmentBook } from './books.ts'
import { followUpsOf } from './dispatcher.ts'
import { askedJobsUsual } from './driver.ts'
import type { Driver } from './driver.ts'
import { enter } from './ledger.ts'
import type { Ledger, Unstamped } from './ledger.ts'
import { runsOf } from './records.ts'

export interface DoubtOptions {
  readonly cluster: string
  readonly driver: Driver
  readonly books: Books
  readonly ledger: Ledger
  readonly clock: Clock
  readonly onWaiting: (segment: SegmentBook, indexes: readonly number[]) => void
  readonly onReceipt: (ref: string, indexes: readonly number[]) => void
  readonly log: (level: 'info' | 'warn', message: string, details?: Record<string, unknown>) => void
}

interface Doubtful {
  readonly ref: string
  readonly index: number
  /** No submission of it can have begun after this. */
  readonly sinceMs: number
  /** When the cluster first answered that it doesn't have it, and has answered nothing else since; null: it hasn't. */
  absentSinceMs: number | null
}

export class DoubtResolver {
  readonly #options: DoubtOptions
  readonly #doubtful = new Map<string, Doubtful>()
  readonly #wakeup = new Wakeup()
  readonly #abort = new AbortController()
  #complaint = ''

  constructor(options: DoubtOptions) {
    this.#options = options
  }

  /** These are in doubt since now at the latest. */
  add(ref: string, indexes: readonly number[]): void {
    const sinceMs = this.#options.clock.nowMs()
    for (const index of indexes) this.#doubtful.set(`${ref}:${index}`, { ref, index, sinceMs, absentSinceMs: null })
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
      const idle = this.#doubtful.size === 0 || driver.find === null
      const waitMs = idle ? 60_000 : askedAtMs + driver.limits.askEveryMs - clock.nowMs()
      if (waitMs > 0) {
        await this.#wakeup.wait(clock, waitMs)
        continue
      }
      askedAtMs = clock.nowMs()
      await this.#ask()
    }
  }

  async #ask(): Promise<void> {
    const { books, driver, clock, log, cluster } = this.#options
    const find = driver.find
    if (find === null) return
    // An operator may have decided on some meanwhile.
    for (const [key, { ref, index }] of this.#doubtful) {
      if (books.segments.get(ref)?.states?.[index] !== state.doubt) this.#doubtful.delete(key)
    }
    const all = [...this.#doubtful.entries()]
    const askedAtOnce = driver.limits.askedJobsMax ?? askedJobsUsual
    for (let from = 0; from < all.length && !this.#abort.signal.aborted; from += askedAtOnce) {
      // While the ones before were asked for, some of these may have been decided on.
      const chunk = all.slice(from, from + askedAtOnce).filter(([, { ref, index }]) => books.segments.get(ref)?.states?.[index] === state.doubt)
      if (chunk.length === 0) continue
      const ids = chunk.map(([, { ref, index }]) => books.idAt(books.segments.get(ref)!, index))
      const askedAtMs = clock.nowMs()
      let findings
      try {
        findings = await find.call(driver, ids, this.#abort.signal)
      } catch (error) {
        for (const [, doubtful] of chunk) doubtful.absentSinceMs = null
        this.#complain(`cluster ${cluster} can't be asked about ${ids.length} jobs in doubt: ${messageOf(error)}`)
        return
      }
      invariant(findings.length === ids.length, `driver ${driver.kind} answers for each job in doubt`)
      const records: Unstamped[] = []
      const resolved: string[] = []
      const back = new Map<SegmentBook, number[]>()
      const found: [string, number][] = []
      for (const [at, finding] of findings.entries()) {
        const [key, doubtful] = chunk[at]!
        const { ref, index } = doubtful
        const segment = books.segments.get(ref)
        if (segment === undefined) continue
        // Decided meanwhile; or decided, submitted anew and in doubt anew, about which this answer may say nothing.
        if (segment.states?.[index] !== state.doubt || this.#doubtful.get(key) !== doubtful) continue
        if (finding.kind !== 'absent') doubtful.absentSinceMs = null
        if (finding.kind === 'found') {
          records.push({
            k: 'receipt',
            of: ref,
            jobs: [[index, index]],
            ids: [finding.jobId],
            found: true,
            ...followUpsOf(driver),
            ...(finding.detail === undefined ? {} : { detail: finding.detail }),
          })
          found.push([ref, index])
          resolved.push(key)
        } else if (finding.kind === 'absent' && !this.#provable(segment, index)) {
          this.#complain(`cluster ${cluster} no longer remembers jobs as old as ${ids[at]}: it stays in doubt until someone decides (usher resolve)`)
        } else if (finding.kind === 'absent') {
          if (!this.#settled(doubtful, askedAtMs)) continue
          const list = back.get(segment)
          if (list === undefined) back.set(segment, [index])
          else list.push(index)
          resolved.push(key)
        } else {
          this.#complain(`cluster ${cluster} doesn't say whether it has ${ids[at]}: ${finding.reason}`)
        }
      }
      for (const [segment, indexes] of back) records.push({ k: 'absent', of: segment.ref, jobs: runsOf(indexes) })
      if (records.length === 0) continue
      await enter(this.#options.ledger, books, records)
      for (const key of resolved) this.#doubtful.delete(key)
      for (const [segment, indexes] of back) this.#options.onWaiting(segment, indexes)
      for (const [ref, index] of found) this.#options.onReceipt(ref, [index])
      const absent = resolved.length - found.length
      log('info', `cluster ${cluster}: of the jobs in doubt ${found.length} were found, ${absent} are proven absent and submitted again`)
      this.#complaint = ''
    }
  }

  /**
   * Whether the answer "absent" to a question asked then is proof. It must come late enough, and must have been given before:
   * a cluster that was stopped has what was sent to it meanwhile still in its queue when it goes on, and can answer
   * the question before it takes the job, which it may then show late. What it had in its queue at the first answer
   * shows after the settle time.
   */
  #settled(doubtful: Doubtful, askedAtMs: number): boolean {
    const { settleMs } = this.#options.driver.limits
    const before = doubtful.absentSinceMs
    doubtful.absentSinceMs ??= this.#options.clock.nowMs()
    return before !== null && askedAtMs - before >= settleMs && askedAtMs - doubtful.sinceMs >= settleMs
  }

  /** Whether the cluster would still show the job if it had it. The clocks compared may be two hosts': too old errs to doubt. */
  #provable(segment: SegmentBook, index: number): boolean {
    const { driver, clock } = this.#options
    const { absentProofMs } = driver.limits
    return absentProofMs === undefined || clock.wallMs() - (segment.intendedMs?.[index] ?? 0) < absentProofMs
  }

  #complain(message: string): void {
    if (this.#complaint !== message) this.#options.log('warn', message)
    this.#complaint = message
  }
}
