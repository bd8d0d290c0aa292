// The ledger of one term: only its leader writes it, everybody reads it. Records are on stable storage when
// append() resolves; many appends share one sync. A failed append ends the ledger, and with it the term: what of
// it reached the disk is unknown, so nothing may be submitted on its strength.

import { wallTime } from '../base/clock.ts'
import type { Clock } from '../base/clock.ts'
import { invariant } from '../base/errors.ts'
import { ledgerName } from '../store/layout.ts'
import type { Appender, Store } from '../store/store.ts'
import type { Books } from './books.ts'
import { encodeFrame } from './frames.ts'
import type { Author, LedgerExtent, LedgerRecord, SnapshotRef } from './records.ts'
import type { LedgerPoint } from './snapshot.ts'

/**
 * A file is read and decoded in one go, and a new leader must renew its claim meanwhile: 64 MiB held it up for eight seconds
 * on a busy machine, so that no host could ever have led again. This much takes a small part of the shortest sensible lease.
 */
const fileBytesUsual = 4 * 1024 * 1024

export interface LedgerOptions {
  readonly store: Store
  readonly storeUuid: string
  readonly term: number
  readonly by: Author
  readonly clock: Clock
  /** What was read of earlier terms: all that counts of them from now on. */
  readonly read: readonly LedgerExtent[]
  /** The snapshot that reading began from. */
  readonly from?: SnapshotRef | null
  /** A new file is begun when one has grown past this. For tests; default fileBytesUsual. */
  readonly fileBytesMax?: number
}

/** A record without what every record carries. */
export type Unstamped<R extends LedgerRecord = LedgerRecord> = R extends LedgerRecord ? Omit<R, 'term' | 'at'> : never

export class Ledger {
  readonly term: number
  readonly #options: LedgerOptions
  readonly #fileBytesMax: number
  #appender: Appender
  #number = 1
  /** Bytes given to the appender of the current file. */
  #bytes = 0
  #rotating: Promise<void> | null = null
  #failed: unknown = null
  /** Of all files that count and are not removed, but for the present one. */
  #closed: LedgerExtent[]
  /** Up to here everything is on stable storage and in the books. */
  #entered: LedgerPoint = { file: 1, bytes: 0 }
  #written = 0
  #opening: LedgerRecord | null = null

  private constructor(options: LedgerOptions, appender: Appender) {
    this.#options = options
    this.#fileBytesMax = options.fileBytesMax ?? fileBytesUsual
    this.term = options.term
    this.#appender = appender
    this.#closed = [...options.read]
  }

  /** The term's directory is there. */
  static async create(options: LedgerOptions): Promise<Ledger> {
    const appender = await options.store.createAppender(ledgerName(options.term, 1))
    const ledger = new Ledger(options, appender)
    ledger.#opening = ledger.#openRecord()
    const bytes = await ledger.#append([ledger.#opening])
    ledger.#entered = { file: 1, bytes }
    return ledger
  }

  /** The term's first record, for the books. */
  get opening(): LedgerRecord {
    invariant(this.#opening !== null, 'a ledger begins with its term')
    return this.#opening
  }

  /** Bytes of records that were given to it. */
  get written(): number {
    return this.#written
  }

  /** What the books hold: every byte that counts, up to the present. */
  get entered(): LedgerPoint {
    return this.#entered
  }

  /** All files with how much of each is in the books, the present one last. */
  covers(): LedgerExtent[] {
    const { file, bytes } = this.#entered
    return [...this.#closed.filter((extent) => extent.term < this.term || extent.file < file), { term: this.term, file, bytes }]
  }

  /** These files are removed. */
  forget(isRemoved: (extent: LedgerExtent) => boolean): void {
    this.#closed = this.#closed.filter((extent) => !isRemoved(extent))
  }

  /** What append() resolved with is in the books. */
  enter(point: LedgerPoint): void {
    const { file, bytes } = this.#entered
    // Records become durable in the order in which they were given, and whoever gave them goes on in that order.
    invariant(point.file > file || (point.file === file && point.bytes > bytes), 'records are entered in the order of the ledger')
    this.#entered = point
  }

  /** Stamps the records, writes them in order, and resolves with them and where they end when they are on stable storage. */
  async append(records: readonly Unstamped[]): Promise<{ records: LedgerRecord[]; point: LedgerPoint }> {
    const at = wallTime(this.#options.clock)
    const stamped = records.map((record) => ({ ...record, term: this.term, at }) as LedgerRecord)
    while (this.#rotating !== null) await this.#rotating
    // Before rotating: a file that failed may be torn, and no other must follow it.
    if (this.#failed !== null) throw this.#failed
    if (this.#bytes > this.#fileBytesMax) {
      this.#rotating = this.#rotate()
      await this.#rotating
    }
    const file = this.#number
    const bytes = await this.#append(stamped)
    return { records: stamped, point: { file, bytes } }
  }

  /** What ended it; null: it works. */
  get failed(): unknown {
    return this.#failed
  }

  async close(): Promise<void> {
    while (this.#rotating !== null) await this.#rotating
    await this.#appender.close()
  }

  #openRecord(): LedgerRecord {
    const { storeUuid, term, by, read, from, clock } = this.#options
    const first = this.#number === 1 ? { read, ...(from == null ? {} : { from }) } : {}
    return { k: 'open', term, at: wallTime(clock), store: storeUuid, by, ...first }
  }

  /** Resolves with the offset behind them. */
  async #append(records: readonly LedgerRecord[]): Promise<number> {
    if (this.#failed !== null) throw this.#failed
    const durable = this.#appender.syncedBytes
    const bytes = Buffer.concat(records.map((record) => encodeFrame(record, durable)))
    this.#bytes += bytes.length
    this.#written += bytes.length
    const end = this.#bytes
    try {
      await this.#appender.append(bytes)
      return end
    } catch (error) {
      this.#failed ??= error
      throw error
    }
  }

  async #rotate(): Promise<void> {
    try {
      // Closing waits for the appends in flight: the old file is whole before the new one begins.
      await this.#appender.close()
      if (this.#failed !== null) throw this.#failed
      this.#closed.push({ term: this.term, file: this.#number, bytes: this.#bytes })
      this.#number += 1
      this.#appender = await this.#options.store.createAppender(ledgerName(this.term, this.#number))
      this.#bytes = 0
      await this.#append([this.#openRecord()])
    } catch (error) {
      this.#failed ??= error
      throw error
    } finally {
      this.#rotating = null
    }
  }
}

/** Writes records and, once they are on stable storage, enters them in the books: the one way that both change. */
export const enter = async (ledger: Ledger, books: Books, records: readonly Unstamped[]): Promise<void> => {
  const { records: written, point } = await ledger.append(records)
  for (const record of written) books.apply(record, point.file)
  ledger.enter(point)
}
