// What the store says of the past: the newest snapshot that can be believed, and what the ledgers say beyond it. The one
// way to read either, for the next leader and for every command; all come to the same books.
//
// How much of a ledger's file counts is said by later terms (`read` in their first record): what is beyond came late, from
// the kernel of a leader that was dead by then. A snapshot restates what it covers and no more. One that shows late
// as well is believed only if every later term counted the ledger as far as it goes, or began from it or a newer one.
//
// A leader may remove files while others read: they begin anew then.

import { invariant, UsherError } from '../base/errors.ts'
import { ledgerDirectory, ledgerName, parseClaimNumber, snapshotName } from '../store/layout.ts'
import { isMissing } from '../store/store-error.ts'
import type { Store } from '../store/store.ts'
import { Books } from './books.ts'
import { scanFrames } from './frames.ts'
import { parseForBooks } from './records.ts'
import type { LedgerExtent, LedgerRecord, OpenRecord, SnapshotRef } from './records.ts'
import type { RememberedIds } from './remembered-ids.ts'
import { compareSnapshots } from './snapshot.ts'
import { LedgerLooks } from './ledger-looks.ts'
import { loadSnapshot, probeSnapshot } from './snapshot-file.ts'
import type { SnapshotFile } from './snapshot-file.ts'

export interface LedgerPosition {
  readonly term: number
  readonly file: number
}

export interface HistoryOptions {
  /** A reading begins, perhaps anew: whatever was gathered from the last one is void. */
  readonly onBegin?: () => void
  /** Each record that counts, in their order, after it was entered in the books. */
  readonly onRecord?: (record: LedgerRecord, position: LedgerPosition, books: Books) => void
  /** Hands over the records that a snapshot covers as well, as far as their files are still there. */
  readonly everything?: boolean
  /** Empty ids to fill; none: they are left out. */
  readonly createIds?: () => RememberedIds
  /** The newest term is over, too: what it had only intended is in doubt. */
  readonly leads?: boolean
  /** Where something is damaged goes on without it. */
  readonly tolerateDamage?: boolean
}

export interface History {
  readonly books: Books
  readonly ids: RememberedIds | null
  readonly base: SnapshotFile | null
  /** How much of each file counts; files that were removed may be among them. */
  readonly extents: readonly LedgerExtent[]
  /** Records that are not in the snapshot, and their bytes and files. */
  readonly records: number
  readonly bytes: number
  readonly files: number
  /** Terms that have a first record beyond the snapshot. */
  readonly terms: readonly number[]
  readonly damaged: readonly string[]
  /** Snapshots that could not be used. */
  readonly warnings: readonly string[]
}

const attemptsMax = 10

export const readHistory = async (store: Store, options: HistoryOptions = {}): Promise<History> => {
  for (let attempt = 1; ; attempt += 1) {
    try {
      options.onBegin?.()
      return await new Reading(store, options).run()
    } catch (error) {
      // A file that was listed is gone: the leader has removed it, and there is a newer snapshot.
      // Or the first record of a term came while it was read.
      if ((!isMissing(error) && !(error instanceof CameLate)) || attempt === attemptsMax) throw error
    }
  }
}

/**
 * A term had no first record when it was looked for, and records when it was read. What it says of earlier terms has cut short
 * nothing of this reading, but would of the next: so nobody may act on this one.
 */
class CameLate extends UsherError {}

interface Term {
  readonly term: number
  /** Its first record was there, or doesn't matter. */
  readonly opened: boolean
  /** Numbers of its files, rising. */
  readonly files: readonly number[]
  readonly opening: Opening | null
}

interface Opening {
  readonly from: SnapshotRef | null
  readonly read: ReadonlyMap<string, number>
}

const keyOf = (term: number, file: number): string => `${term}/${file}`

class Reading {
  readonly #store: Store
  readonly #options: HistoryOptions
  #books = new Books()
  #ids: RememberedIds | null = null
  /** Newest first. */
  readonly #terms: Term[] = []
  /** Files of which the first look showed all there was. */
  readonly #whole = new Map<string, Buffer>()
  readonly #damaged: string[] = []
  readonly #warnings: string[] = []

  constructor(store: Store, options: HistoryOptions) {
    this.#store = store
    this.#options = options
  }

  async run(): Promise<History> {
    const base = await this.#begin()
    const books = this.#books
    const covered = new Map((base?.head.covers ?? []).map(({ term, file, bytes }) => [keyOf(term, file), bytes]))
    const extents = new Map((base?.head.covers ?? []).map((extent) => [keyOf(extent.term, extent.file), extent]))
    const sum = { records: 0, bytes: 0, files: 0 }
    const terms: number[] = []
    let current = base?.ref.term ?? null
    for (const { term, opened, files, opening } of this.#terms.toReversed()) {
      if (opening !== null && current !== null && current < term) endTerm(books, current)
      if (opening !== null) current = Math.max(term, current ?? 0)
      if (opening !== null && term > (base?.ref.term ?? 0)) terms.push(term)
      for (const [place, file] of files.entries()) {
        const key = keyOf(term, file)
        const before = base !== null && (term < base.ref.term || (term === base.ref.term && file <= base.head.covers.at(-1)!.file))
        const from = covered.get(key) ?? 0
        // What a snapshot doesn't name of the time before it didn't count, or was removed.
        if (before && from === 0) continue
        const limit = base !== null && term < base.ref.term ? from : this.#limit(term, file)
        if (limit === 0 || (limit <= from && this.#options.everything !== true)) continue
        const counted = await this.#readFile({ term, file }, from, limit, place < files.length - 1, sum)
        // What a snapshot covers was cut short before it was written. And the first file of its term may have been removed, and an
        // empty one be there in its place: a request that was sent twice creates it late.
        if (!opened && counted > 0 && term > (base?.ref.term ?? 0)) throw new CameLate('store_unavailable', `the first record of ${ledgerName(term, file)} came while it was read`)
        extents.set(key, { term, file, bytes: counted })
      }
    }
    if (this.#options.leads === true && current !== null) endTerm(books, current)
    if (books.needs !== null && (base === null || compareSnapshots(base.ref, books.needs) < 0)) {
      const { term, number } = books.needs
      this.#fail(`the ledger can't be read without ${snapshotName(term, number)} or a newer snapshot, and none of them is whole`, {})
    }
    const sorted = [...extents.values()].sort((a, b) => a.term - b.term || a.file - b.file)
    return { books, ids: this.#ids, base, extents: sorted, ...sum, terms, damaged: this.#damaged, warnings: this.#warnings }
  }

  /** Lists terms from the newest back to the newest snapshot that can be believed, and loads that. */
  async #begin(): Promise<SnapshotFile | null> {
    const terms = (await this.#store.list(ledgerDirectory)).map(parseClaimNumber).filter((n): n is number => n !== null)
    terms.sort((a, b) => b - a)
    let base: SnapshotFile | null = null
    this.#reset()
    const looks = new LedgerLooks(this.#store, terms, this.#options.leads === true)
    for (const term of terms) {
      const { files, snapshots, head } = await looks.next()
      if (base !== null) {
        this.#terms.push({ term, opened: true, files, opening: null })
        continue
      }
      // A term that a later one didn't count may have left its first record too late for that one: it says nothing, either.
      const counts = head !== null && this.#limit(term, 1) > 0
      const first = counts ? head.first : null
      if (head?.whole != null) this.#whole.set(keyOf(term, 1), head.whole)
      this.#terms.push({ term, opened: !counts || first !== null, files, opening: first?.k === 'open' ? openingOf(first) : null })
      base = await this.#load(term, snapshots)
      if (base !== null && this.#options.everything !== true) break
    }
    return base
  }

  #reset(): void {
    this.#books = new Books()
    this.#ids = this.#options.createIds?.() ?? null
  }

  async #load(term: number, numbers: readonly number[]): Promise<SnapshotFile | null> {
    for (const number of numbers) {
      const found = await probeSnapshot(this.#store, { term, number })
      if (found === null || !this.#isBelieved(found)) continue
      try {
        await loadSnapshot(this.#store, found, this.#books, this.#ids)
        return found
      } catch (error) {
        if (!(error instanceof UsherError) || error.code !== 'ledger_corrupt') throw error
        this.#warnings.push(error.message)
        this.#reset()
      }
    }
    return null
  }

  /** Whether every later term counted the ledger as far as the snapshot goes. */
  #isBelieved({ ref, end }: SnapshotFile): boolean {
    return this.#terms.every(({ term, opening }) => {
      if (term <= ref.term || opening === null) return true
      if (opening.from !== null && compareSnapshots(opening.from, ref) >= 0) return true
      return (opening.read.get(keyOf(ref.term, end.through.file)) ?? 0) >= end.through.bytes
    })
  }

  /** A term that isn't named in a later one's first record holds nothing that counted. */
  #limit(term: number, file: number): number {
    let least = Number.POSITIVE_INFINITY
    for (const { term: later, opening } of this.#terms) {
      if (later > term && opening !== null) least = Math.min(least, opening.read.get(keyOf(term, file)) ?? 0)
    }
    return least
  }

  /** Resolves with how many bytes of the file count. */
  async #readFile(position: LedgerPosition, from: number, limit: number, isFollowed: boolean, sum: { records: number; bytes: number; files: number }): Promise<number> {
    const { everything, onRecord } = this.#options
    const { term, file } = position
    const name = ledgerName(term, file)
    const books = this.#books
    const begin = everything === true ? 0 : from
    const found = this.#whole.get(keyOf(term, file))?.subarray(begin) ?? (await this.#store.readRange(name, begin, Number.POSITIVE_INFINITY))
    const bytes = found.length > limit - begin ? found.subarray(0, limit - begin) : found
    // Those that the snapshot covers are only handed over.
    if (begin < from && onRecord !== undefined) {
      scanFrames(bytes.subarray(0, from), (value) => {
        const record = value as LedgerRecord
        invariant(record.term === term, `records of ${name} carry its term`)
        onRecord(record, position, books)
      })
    }
    const rest = bytes.subarray(from - begin)
    const read = scanFrames(
      rest,
      (value) => {
        const record = value as LedgerRecord
        invariant(record.term === term, `records of ${name} carry its term`)
        books.apply(record, file)
        if (record.k === 'admit') this.#ids?.replay(record, books.segments.get(record.of))
        onRecord?.(record, position, books)
      },
      from,
      onRecord === undefined ? parseForBooks : JSON.parse,
    )
    // A file is closed whole before the next begins, so only the newest may have a torn tail.
    const damagedAt = read.damagedAt ?? (read.torn > 0 && isFollowed ? read.bytes : null)
    if (damagedAt !== null) {
      const offset = from + damagedAt
      this.#fail(`${name} is damaged at byte ${offset}: a record that was on stable storage doesn't check any more`, { name, offset })
    }
    sum.records += read.count
    sum.bytes += read.bytes
    if (rest.length > 0) sum.files += 1
    return from + read.bytes
  }

  #fail(message: string, details: Record<string, unknown>): void {
    if (this.#options.tolerateDamage !== true) throw new UsherError('ledger_corrupt', message, { details })
    this.#damaged.push(message)
  }
}

const openingOf = ({ from, read }: OpenRecord): Opening | null =>
  read === undefined ? null : { from: from ?? null, read: new Map(read.map((extent) => [keyOf(extent.term, extent.file), extent.bytes])) }

const endTerm = (books: Books, term: number): void =>
  books.endTerm(books.totals.lastAt, `the submitter of term ${term} ended between intent and receipt`)
