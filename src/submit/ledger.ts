// The ledger of one term: only its leader writes it, everybody reads it. Records are on stable storage when
// append() resolves; many appends share one sync. A failed append ends the ledger, and with it the term: what of
// it reached the disk is unknown, so nothing may be submitted on its strength.

import { wallTime } from '../base/clock.ts'
import type { Clock } from '../base/clock.ts'
import { invariant, UsherError } from '../base/errors.ts'
import { ledgerDirectory, ledgerName, ledgerTermDirectory, parseClaimNumber, parseLedgerFile } from '../store/layout.ts'
import type { Appender, Store } from '../store/store.ts'
import type { Books } from './books.ts'
import { decodeLedger, encodeRecord } from './records.ts'
import type { Author, LedgerExtent, LedgerRecord } from './records.ts'

export interface LedgerOptions {
  readonly store: Store
  readonly storeUuid: string
  readonly term: number
  readonly by: Author
  readonly clock: Clock
  /** What was read of earlier terms: all that counts of them from now on. */
  readonly read: readonly LedgerExtent[]
  /** A new file is begun when one has grown past this. */
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

  private constructor(options: LedgerOptions, appender: Appender) {
    this.#options = options
    this.#fileBytesMax = options.fileBytesMax ?? 64 * 1024 * 1024
    this.term = options.term
    this.#appender = appender
  }

  static async create(options: LedgerOptions): Promise<Ledger> {
    await options.store.makeDirectory(ledgerTermDirectory(options.term))
    const appender = await options.store.createAppender(ledgerName(options.term, 1))
    const ledger = new Ledger(options, appender)
    await ledger.#append([ledger.#openRecord()])
    return ledger
  }

  /** Stamps the records, writes them in order, and resolves with them when they are on stable storage. */
  async append(records: readonly Unstamped[]): Promise<LedgerRecord[]> {
    const at = wallTime(this.#options.clock)
    const stamped = records.map((record) => ({ ...record, term: this.term, at }) as LedgerRecord)
    while (this.#rotating !== null) await this.#rotating
    // Before rotating: a file that failed may be torn, and no other must follow it.
    if (this.#failed !== null) throw this.#failed
    if (this.#bytes > this.#fileBytesMax) {
      this.#rotating = this.#rotate()
      await this.#rotating
    }
    await this.#append(stamped)
    return stamped
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
    const { storeUuid, term, by, read, clock } = this.#options
    return { k: 'open', term, at: wallTime(clock), store: storeUuid, by, ...(this.#number === 1 ? { read } : {}) }
  }

  async #append(records: readonly LedgerRecord[]): Promise<void> {
    if (this.#failed !== null) throw this.#failed
    const durable = this.#appender.syncedBytes
    const bytes = Buffer.concat(records.map((record) => encodeRecord(record, durable)))
    this.#bytes += bytes.length
    try {
      await this.#appender.append(bytes)
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
  for (const written of await ledger.append(records)) books.apply(written)
}

/** Longest first record that a reader looks for at a file's beginning. */
const openBytesMax = 16 * 1024 * 1024

/**
 * What later terms have read of each file, as their first records say: bytes beyond were written late, by the kernel of a
 * leader that was dead by then, and must not count. A term whose files aren't named in a later one's first record
 * holds nothing that counted.
 */
const readExtents = async (store: Store, terms: readonly number[]): Promise<(term: number, file: number) => number> => {
  const openings: { term: number; read: ReadonlyMap<string, number> }[] = []
  for (const term of terms) {
    if (!(await store.list(ledgerTermDirectory(term))).some((file) => parseLedgerFile(file) === 1)) continue
    const [first] = decodeLedger(await store.readRange(ledgerName(term, 1), 0, openBytesMax)).records
    if (first?.k !== 'open' || first.read === undefined) continue
    openings.push({ term, read: new Map(first.read.map((extent) => [`${extent.term}/${extent.file}`, extent.bytes])) })
  }
  return (term, file) =>
    openings.filter((opening) => opening.term > term).reduce((least, { read }) => Math.min(least, read.get(`${term}/${file}`) ?? 0), Number.POSITIVE_INFINITY)
}

export interface LedgerPosition {
  readonly term: number
  readonly file: number
}

/**
 * Reads all ledgers in the order of terms, calling `onRecord` for each record. Resolves with what was read.
 * @throws UsherError ledger_corrupt where a record that was once on stable storage no longer checks.
 */
export const readLedgers = async (
  store: Store,
  onRecord: (record: LedgerRecord, position: LedgerPosition) => void,
  options: { readonly onTermEnd?: (term: number) => void; readonly tolerateDamage?: boolean } = {},
): Promise<{ terms: number[]; records: number; extents: LedgerExtent[]; damaged: string[] }> => {
  const terms = (await store.list(ledgerDirectory)).map(parseClaimNumber).filter((n): n is number => n !== null)
  terms.sort((a, b) => a - b)
  const damaged: string[] = []
  const extents: LedgerExtent[] = []
  const extentOf = await readExtents(store, terms)
  let records = 0
  for (const term of terms) {
    const files = (await store.list(ledgerTermDirectory(term))).map(parseLedgerFile).filter((n): n is number => n !== null)
    files.sort((a, b) => a - b)
    for (const [position, file] of files.entries()) {
      const name = ledgerName(term, file)
      const extent = extentOf(term, file)
      if (extent === 0) continue
      const bytes = await store.read(name)
      const read = decodeLedger(bytes.length > extent ? bytes.subarray(0, extent) : bytes)
      // A file is closed whole before the next begins, so only the newest may have a torn tail.
      const damagedAt = read.damagedAt ?? (read.torn > 0 && position < files.length - 1 ? read.bytes : null)
      if (damagedAt !== null) {
        const message = `${name} is damaged at byte ${damagedAt}: a record that was on stable storage doesn't check any more`
        if (!options.tolerateDamage) throw new UsherError('ledger_corrupt', message, { details: { name, offset: damagedAt } })
        damaged.push(message)
      }
      for (const record of read.records) {
        invariant(record.term === term, `records of ${name} carry its term`)
        onRecord(record, { term, file })
      }
      records += read.records.length
      extents.push({ term, file, bytes: read.bytes })
    }
    options.onTermEnd?.(term)
  }
  return { terms, records, extents, damaged }
}
