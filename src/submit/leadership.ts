// One term of leading: reads what earlier terms left, then admits, submits and resolves until it resigns or dies.
// Wires the parts of this folder; holds no logic of its own beyond their order:
//
//   snapshot and ledgers of earlier terms, to the end → what they only intended is in doubt → a ledger of this term →
//   drivers → doubt, aftercare, requests → dispatchers and feeder → compactor and retention
//
// Any failure of the ledger ends the term by rejecting run(): the process exits and begins anew as a follower.

import { messageOf } from '../base/errors.ts'
import { sleep } from '../base/clock.ts'
import type { Clock } from '../base/clock.ts'
import type { SeenIds } from '../base/native.ts'
import { ledgerTermDirectory } from '../store/layout.ts'
import type { Store } from '../store/store.ts'
import { Aftercare } from './aftercare.ts'
import { Books, state } from './books.ts'
import type { SegmentBook } from './books.ts'
import { Compactor } from './compactor.ts'
import type { CompactionPace } from './compactor.ts'
import { Dispatcher } from './dispatcher.ts'
import { DoubtResolver } from './doubt.ts'
import type { Driver, Origin } from './driver.ts'
import { Feeder } from './feeder.ts'
import type { Published, SegmentContent } from './feeder.ts'
import { readHistory } from './history.ts'
import type { History } from './history.ts'
import { Ledger } from './ledger.ts'
import { Lines } from './lines.ts'
import { parseRef } from './books.ts'
import type { Author } from './records.ts'
import { RememberedIds } from './remembered-ids.ts'
import { carryOutRequests } from './requests.ts'
import { Retention } from './retention.ts'

export interface LeadershipOptions {
  readonly store: Store
  readonly storeUuid: string
  readonly term: number
  readonly by: Author
  readonly drivers: ReadonlyMap<string, Driver>
  readonly clock: Clock
  readonly random: () => number
  /** Empty ones. */
  readonly createSeenIds: () => SeenIds
  /** How long what is finished is kept. */
  readonly retentionMs: number
  readonly windowBytesMax: number
  readonly retryMinMs: number
  readonly retryMaxMs: number
  readonly pollMs: number
  readonly compaction?: CompactionPace | undefined
  readonly published: (books: Books) => Promise<readonly Published[]>
  /** `jobs`: how many it had when it was admitted. */
  readonly read: (instance: string, number: number, jobs?: number) => Promise<SegmentContent>
  /** Whether the lease still holds: looked at right before anything is handed to a cluster, beside the kernel's deadline. */
  readonly mayAct: () => boolean
  readonly log: (level: 'info' | 'warn', message: string, details?: Record<string, unknown>) => void
}

interface ClusterWork {
  readonly dispatcher: Dispatcher
  readonly doubt: DoubtResolver
  readonly aftercare: Aftercare
}

const requestsEveryMs = 500
/** How long a resignation may be put off to make it cheap for the next leader. */
const handOverMsMax = 2000

export class Leadership {
  readonly #options: LeadershipOptions
  #books = new Books()
  readonly #clusters = new Map<string, ClusterWork>()
  readonly #heldClusters = new Map<string, string>()
  readonly #stop = new AbortController()
  #feeder: Feeder | null = null
  #compactor: Compactor | null = null
  #resigned = false

  constructor(options: LeadershipOptions) {
    this.#options = options
  }

  get books(): Books {
    return this.#books
  }

  /** How each cluster answered, job by job, in this term. */
  get tallies(): Readonly<Record<string, Dispatcher['tally']>> {
    return Object.fromEntries([...this.#clusters].map(([cluster, { dispatcher }]) => [cluster, dispatcher.tally]))
  }

  /** Segments were published: look now. */
  wake(): void {
    this.#feeder?.wake()
  }

  /** Runs the term. Resolves after resign(); rejects when the term can't go on. */
  async run(): Promise<void> {
    const { store, storeUuid, term, by, log, clock } = this.#options
    const startedMs = clock.nowMs()
    const { createSeenIds, retentionMs } = this.#options
    // Before the ledger is looked through: a directory that this client has just changed it lists afresh, whatever it remembers.
    // The term's ledger needs it, too.
    await store.makeDirectory(ledgerTermDirectory(term))
    const history = await readHistory(store, { leads: true, createIds: () => new RememberedIds(createSeenIds(), retentionMs) })
    for (const warning of history.warnings) log('warn', warning)
    this.#books = history.books
    if (this.#resigned) return
    const { fileBytesMax } = this.#options.compaction ?? {}
    const ledger = await Ledger.create({ store, storeUuid, term, by, clock, read: history.extents, from: history.base?.ref ?? null, ...(fileBytesMax === undefined ? {} : { fileBytesMax }) })
    this.#books.apply(ledger.opening)
    const { base, records, files } = history
    const began = base === null ? 'no snapshot' : `snapshot ${base.ref.term}/${base.ref.number}`
    log('info', `leading in term ${term}: read ${began} and ${records} records of ${files} files in ${Math.round(clock.nowMs() - startedMs)} ms`, {
      ...this.#books.audit(),
    })
    for (const [cluster, driver] of this.#options.drivers) {
      this.#clusters.set(cluster, this.#wire(cluster, driver, ledger))
      this.holdCluster(cluster, this.#heldClusters.get(cluster) ?? null)
    }
    if (this.#resigned) {
      await ledger.close()
      return
    }
    const ids = history.ids!
    const feeder = this.#createFeeder(ledger, ids)
    this.#feeder = feeder
    for (const segment of this.#books.segments.values()) this.#takeOver(segment)
    for (const { aftercare } of this.#clusters.values()) aftercare.start()
    const loops = [feeder.run(), this.#requests(ledger), ...this.#housekeeping(ledger, history, ids, feeder)]
    for (const { dispatcher, doubt, aftercare } of this.#clusters.values()) loops.push(dispatcher.run(), doubt.run(), aftercare.run())
    // The first failure ends the term; the process exits on it, so the other loops need no stopping.
    await Promise.all(loops)
    await ledger.close()
  }

  /** Whether this host's own preflight of a cluster passes; null: it does. Nothing is handed over while it doesn't. */
  holdCluster(cluster: string, reason: string | null): void {
    if (reason === null) this.#heldClusters.delete(cluster)
    else this.#heldClusters.set(cluster, reason)
    this.#clusters.get(cluster)?.dispatcher.hold(reason)
  }

  /** While it still leads and submits, before an orderly resignation: leaves the next leader little to read. */
  async handOver(): Promise<void> {
    const { clock } = this.#options
    const over = new AbortController()
    const signal = AbortSignal.any([over.signal, this.#stop.signal])
    // On a store that hangs not even the signal ends it.
    await Promise.race([this.#compactor?.handOver(signal), sleep(clock, handOverMsMax, signal)])
    over.abort()
  }

  /** Submits nothing more, writes the outcomes of what is in flight, and lets run() resolve. */
  async resign(): Promise<void> {
    this.#resigned = true
    this.#feeder?.stop()
    await Promise.all([...this.#clusters.values()].map(({ dispatcher }) => dispatcher.drain()))
    for (const { doubt, aftercare } of this.#clusters.values()) {
      doubt.stop()
      aftercare.stop()
    }
    this.#stop.abort()
  }

  /** Keeps the store, and what a successor has to read, from growing without end. */
  #housekeeping(ledger: Ledger, history: History, ids: RememberedIds, feeder: Feeder): Promise<void>[] {
    const { store, storeUuid, by, clock, retentionMs, mayAct, log } = this.#options
    const shared = { store, by, clock, books: this.#books, ledger, retentionMs, mayAct, log }
    this.#compactor = new Compactor({ ...shared, ...this.#options.compaction, storeUuid, ids, history, settled: () => feeder.settled() })
    const retention = new Retention({ ...shared, own: by.instance })
    return [this.#compactor.run(this.#stop.signal), retention.run(this.#stop.signal)]
  }

  /** What earlier terms left of one segment goes to those who go on with it. */
  #takeOver(segment: SegmentBook): void {
    const states = segment.states
    if (states === null) return
    const doubts = new Map<string, number[]>()
    const cared = new Map<string, number[]>()
    const put = (map: Map<string, number[]>, index: number): void => {
      const cluster = this.#books.clusterAt(segment, index)
      const list = map.get(cluster)
      if (list === undefined) map.set(cluster, [index])
      else list.push(index)
    }
    for (const index of segment.notes.keys()) if (states[index] === state.doubt) put(doubts, index)
    for (const index of segment.followUps.keys()) put(cared, index)
    for (const [cluster, indexes] of doubts) this.#clusters.get(cluster)?.doubt.add(segment.ref, indexes)
    for (const [cluster, indexes] of cared) this.#clusters.get(cluster)?.aftercare.add(segment.ref, indexes)
    for (const { dispatcher } of this.#clusters.values()) dispatcher.offer(segment)
  }

  #wire(cluster: string, driver: Driver, ledger: Ledger): ClusterWork {
    const { clock, random, by, term, windowBytesMax, retryMinMs, retryMaxMs, mayAct, log } = this.#options
    const books = this.#books
    const origin: Origin = { term, host: by.host, instance: by.instance, version: by.version }
    const shared = { cluster, driver, books, ledger, clock, log }
    const dispatcher: Dispatcher = new Dispatcher({
      ...shared,
      mayAct,
      random,
      origin,
      windowBytesMax,
      retryMinMs,
      retryMaxMs,
      read: (ref) => this.#readLines(ref),
      onDoubt: (ref, indexes) => doubt.add(ref, indexes),
      onReceipt: (ref, indexes) => aftercare.add(ref, indexes),
    })
    const onWaiting = (segment: SegmentBook, indexes: readonly number[]): void => dispatcher.waitingAgain(segment, indexes)
    const doubt: DoubtResolver = new DoubtResolver({ ...shared, onWaiting, onReceipt: (ref, indexes) => aftercare.add(ref, indexes) })
    const aftercare: Aftercare = new Aftercare({
      ...shared,
      onWaiting,
      onDoubt: (ref, indexes) => doubt.add(ref, indexes),
      onCapacity: () => dispatcher.wake(),
    })
    return { dispatcher, doubt, aftercare }
  }

  #createFeeder(ledger: Ledger, ids: RememberedIds): Feeder {
    const { clock, read, published, pollMs, log } = this.#options
    return new Feeder({
      books: this.#books,
      ledger,
      ids,
      clock,
      published: () => published(this.#books),
      read,
      pollMs,
      log,
      onAdmitted: (segment, lines) => {
        for (const { dispatcher } of this.#clusters.values()) dispatcher.offer(segment, lines)
      },
    })
  }

  async #readLines(ref: string): Promise<Lines | null> {
    const { instance, number } = parseRef(ref)
    const content = await this.#options.read(instance, number, this.#books.segments.get(ref)?.count)
    return content.kind === 'lines' ? new Lines(content.bytes) : null
  }

  async #requests(ledger: Ledger): Promise<void> {
    const { store, clock, log } = this.#options
    let complaint = ''
    while (!this.#stop.signal.aborted) {
      await sleep(clock, requestsEveryMs, this.#stop.signal)
      try {
        await carryOutRequests({
          store,
          books: this.#books,
          ledger,
          log,
          onWaiting: (segment, indexes) => {
            for (const { dispatcher } of this.#clusters.values()) dispatcher.waitingAgain(segment, indexes)
          },
        })
      } catch (error) {
        // Without its ledger the term is over, however idle it is.
        if (ledger.failed !== null) throw error
        if (complaint !== messageOf(error)) log('warn', `requests of operators can't be carried out: ${messageOf(error)}`)
        complaint = messageOf(error)
      }
    }
  }
}
