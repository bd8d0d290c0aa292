// Finds the segments that all instances have published, compares their ids with all seen before, and admits
// them to the ledger: from then on each of their jobs has a state. One segment after the other, so that of
// two jobs with one id the ledger says for good which was first.
//
// It never admits past a number that it could not read: what presence names exists, and shows sooner or later.

import type { Clock } from '../base/clock.ts'
import { messageOf } from '../base/errors.ts'
import { Wakeup } from '../base/wakeup.ts'
import { formatSegment } from '../store/layout.ts'
import type { Books, SegmentBook } from './books.ts'
import { Lines } from './lines.ts'
import { enter } from './ledger.ts'
import type { Ledger, Unstamped } from './ledger.ts'
import { countOf, runsOf } from './records.ts'
import type { Runs } from './records.ts'
import type { RememberedIds } from './remembered-ids.ts'

/** How far an instance's segments are known to go. */
export interface Published {
  readonly instance: string
  /** Newest segment that has JSON (or was set aside), as have all before it. */
  readonly number: number
  /** The instance is gone and there will be no more. */
  readonly last: boolean
}

export type SegmentContent =
  | { readonly kind: 'lines'; readonly bytes: Buffer }
  | { readonly kind: 'aside'; readonly reason: string; readonly jobs: number }
  /** Doesn't show yet: asked again later. */
  | { readonly kind: 'missing' }

export interface FeederOptions {
  readonly books: Books
  readonly ledger: Ledger
  readonly ids: RememberedIds
  readonly clock: Clock
  /** What there is now; may wait for adoption in the background and name more the next time. */
  readonly published: () => Promise<readonly Published[]>
  readonly read: (instance: string, number: number) => Promise<SegmentContent>
  readonly onAdmitted: (segment: SegmentBook, lines: Lines) => void
  readonly pollMs: number
  readonly log: (level: 'info' | 'warn', message: string, details?: Record<string, unknown>) => void
}

export class Feeder {
  readonly #options: FeederOptions
  readonly #wakeup = new Wakeup()
  #stopped = false
  #failing = ''
  #admitting: Promise<boolean> | null = null

  constructor(options: FeederOptions) {
    this.#options = options
  }

  /** Something was published: look now. */
  wake(): void {
    this.#wakeup.wake()
  }

  stop(): void {
    this.#stopped = true
    this.#wakeup.wake()
  }

  /** Resolves when every id that is held by now is in the books. Rejects where that failed. */
  async settled(): Promise<void> {
    await this.#admitting
  }

  /** Runs until stop(). Rejects when the ledger fails: the term is over. */
  async run(): Promise<void> {
    const { clock, pollMs } = this.#options
    while (!this.#stopped) {
      const admitted = await this.#pass()
      if (!this.#stopped && admitted === 0) await this.#wakeup.wait(clock, pollMs)
    }
  }

  async #pass(): Promise<number> {
    const { books, published } = this.#options
    let admitted = 0
    let found: readonly Published[] = []
    try {
      found = await published()
      this.#failing = ''
    } catch (error) {
      this.#complain(`the store can't be looked through: ${messageOf(error)}`)
    }
    for (const { instance, number, last } of found) {
      if (books.gone.has(instance)) continue
      let next = (books.cursors.get(instance) ?? 0) + 1
      for (; next <= number && !this.#stopped; next += 1) {
        this.#admitting = this.#admit(instance, next)
        if (!(await this.#admitting)) break
        admitted += 1
      }
      if (last && next > number) await this.#write([{ k: 'gone', instance, last: number }])
    }
    return admitted
  }

  async #admit(instance: string, number: number): Promise<boolean> {
    const { books, read, onAdmitted, ids, clock, log } = this.#options
    const of = formatSegment(instance, number)
    let content: SegmentContent
    let lines: Lines | null = null
    try {
      content = await read(instance, number)
      if (content.kind === 'lines') lines = new Lines(content.bytes)
    } catch (error) {
      this.#complain(`segment ${of} can't be read: ${messageOf(error)}`)
      return false
    }
    if (content.kind === 'missing') return false
    if (content.kind === 'aside' || lines === null) {
      const { reason, jobs } = content as Extract<SegmentContent, { kind: 'aside' }>
      log('warn', `segment ${of} is set aside: ${reason}`)
      await this.#write([{ k: 'aside', of, count: jobs, reason }])
      return true
    }
    const { index } = lines
    const verdicts = ids.admit(clock.wallMs(), index.producers, index.sequences, index.digests)
    const duplicates = matching(verdicts, 1)
    const conflicts = matching(verdicts, 2)
    await this.#write([
      {
        k: 'admit',
        of,
        count: index.count,
        clusters: countClusters(index.clusters, index.clusterOf),
        ids: idRuns(index.producers, index.sequences),
        digests: Buffer.from(index.digests.buffer, index.digests.byteOffset, index.digests.byteLength).toString('base64'),
        ...(duplicates.length > 0 ? { duplicates } : {}),
        ...(conflicts.length > 0 ? { conflicts } : {}),
      },
    ])
    if (conflicts.length > 0) {
      log('warn', `${countOf(conflicts)} jobs of segment ${of} have the id of another job with other content: dead letters`)
    }
    const segment = books.segments.get(of)
    if (segment !== undefined) onAdmitted(segment, lines)
    return true
  }

  #write(records: readonly Unstamped[]): Promise<void> {
    return enter(this.#options.ledger, this.#options.books, records)
  }

  /** Says once what keeps being so. */
  #complain(message: string): void {
    if (this.#failing !== message) this.#options.log('warn', message)
    this.#failing = message
  }
}

const matching = (verdicts: Uint8Array, wanted: number): Runs => {
  // Nearly always none: don't build a list for that.
  if (!verdicts.includes(wanted)) return []
  const indexes: number[] = []
  for (let at = 0; at < verdicts.length; at += 1) if (verdicts[at] === wanted) indexes.push(at)
  return runsOf(indexes)
}

const countClusters = (names: readonly string[], clusterOf: Uint16Array): Record<string, number> => {
  const counts = names.map(() => 0)
  for (let at = 0; at < clusterOf.length; at += 1) counts[clusterOf[at]!]! += 1
  return Object.fromEntries(names.map((name, at) => [name, counts[at]!]))
}

const idRuns = (producers: BigUint64Array, sequences: BigUint64Array): [string, string, number][] => {
  const runs: [string, string, number][] = []
  for (let at = 0; at < producers.length; ) {
    const producer = producers[at]!
    const first = sequences[at]!
    let next = at + 1
    for (let sequence = first + 1n; next < producers.length && producers[next] === producer && sequences[next] === sequence; sequence += 1n) next += 1
    runs.push([producer.toString(16).padStart(16, '0'), String(first), next - at])
    at = next
  }
  return runs
}
