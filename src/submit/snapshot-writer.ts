// Writes a snapshot of the leader's books and ids while it goes on leading: the small things are copied at one moment,
// segments that change before their turn are taken as they were at that moment, ids may be younger and the last record
// says how far the ledger must count for that. A few MiB of memory, whatever there is, and no long turn of the event loop.
//
// Never: a last record before everything else is on stable storage, or about ids that the ledger doesn't have.

import type { Clock } from '../base/clock.ts'
import { wallTime } from '../base/clock.ts'
import { UsherError } from '../base/errors.ts'
import { snapshotName } from '../store/layout.ts'
import type { Appender, Store } from '../store/store.ts'
import type { Books } from './books.ts'
import { encodeFrame } from './frames.ts'
import type { Ledger } from './ledger.ts'
import type { Author } from './records.ts'
import type { RememberedIds } from './remembered-ids.ts'
import type { SegmentBook } from './segment-book.ts'
import { snapshotFormat, stateOfBooks, stateOfSegment } from './snapshot.ts'
import type { SnapshotEnd, SnapshotHead, SnapshotRecord } from './snapshot.ts'
import type { SnapshotFile } from './snapshot-file.ts'

export interface SnapshotSource {
  readonly store: Store
  readonly storeUuid: string
  readonly by: Author
  readonly clock: Clock
  readonly books: Books
  readonly ids: RememberedIds
  readonly ledger: Ledger
  /** Resolves when every id that is held by now is in the books. */
  readonly settled: () => Promise<void>
  /** Written and synced at a time. */
  readonly groupBytes?: number
}

/**
 * Resolves when the whole of it is on stable storage. What it leaves where it rejects counts for nobody. One at a time: books and
 * ids know of no second one.
 */
export const writeSnapshot = async (source: SnapshotSource, number: number, signal: AbortSignal): Promise<SnapshotFile> => {
  const { store, storeUuid, by, clock, books, ids, ledger, settled, groupBytes = 1024 * 1024 } = source
  const { term } = ledger
  const head: SnapshotHead = { k: 'snapshot', format: snapshotFormat, store: storeUuid, term, number, at: wallTime(clock), by, covers: ledger.covers() }
  const rest = stateOfBooks(books)
  const segments = [...books.segments.values()]
  const waiting = new Set(segments)
  const early = new Map<SegmentBook, Buffer>()
  books.onChange = (segment) => {
    if (waiting.delete(segment)) early.set(segment, encodeFrame(stateOfSegment(segment), 0))
  }
  let writer: Writer | null = null
  try {
    writer = new Writer(await store.createAppender(snapshotName(term, number)), groupBytes, signal)
    await writer.put(head)
    for (const record of rest()) await writer.put(record)
    for (const segment of segments) {
      const taken = early.get(segment)
      early.delete(segment)
      waiting.delete(segment)
      await writer.put(taken ?? stateOfSegment(segment))
    }
    books.onChange = null
    const idsAt = writer.bytes
    for (const record of ids.save(groupBytes)) await writer.put(record)
    await writer.flush()
    await settled()
    if (ledger.failed !== null) throw ledger.failed
    const end: SnapshotEnd = { k: 'end', at: writer.bytes, ids: idsAt, through: ledger.entered }
    await writer.put(end)
    await writer.flush()
    await writer.close()
    return { ref: { term, number }, head, end, bytes: writer.bytes }
  } catch (error) {
    // The failure that matters is being reported.
    await writer?.close().catch(() => undefined)
    throw error
  } finally {
    books.onChange = null
  }
}

class Writer {
  readonly #appender: Appender
  readonly #groupBytes: number
  readonly #signal: AbortSignal
  #frames: Buffer[] = []
  #pending = 0
  #bytes = 0

  constructor(appender: Appender, groupBytes: number, signal: AbortSignal) {
    this.#appender = appender
    this.#groupBytes = groupBytes
    this.#signal = signal
  }

  /** Of everything that was put. */
  get bytes(): number {
    return this.#bytes
  }

  async put(record: SnapshotRecord | Buffer): Promise<void> {
    const frame = record instanceof Buffer ? record : encodeFrame(record, this.#appender.syncedBytes)
    this.#frames.push(frame)
    this.#bytes += frame.length
    this.#pending += frame.length
    if (this.#pending >= this.#groupBytes) await this.flush()
  }

  async flush(): Promise<void> {
    if (this.#signal.aborted) throw new UsherError('closed', 'the term ends before the snapshot is written')
    if (this.#frames.length === 0) return
    const bytes = Buffer.concat(this.#frames)
    this.#frames = []
    this.#pending = 0
    await this.#appender.append(bytes)
  }

  close(): Promise<void> {
    return this.#appender.close()
  }
}
