// Keeps what a successor has to read bounded, however long the store has lived: writes a snapshot when the ledger has grown
// by as much as the last one is large, and removes files of the ledger that nobody needs any more. Those are the ones
// that the older of the two newest snapshots covers and that tell of no segment whose files are still there: so that
// a damaged snapshot costs nothing, and `usher trace` shows all of a job or nothing.
//
// Never: removing before the ledger says, on stable storage, which snapshot it can't be read without; removing without the
// lease; counting on a snapshot that this leader has neither written nor read.

import { sleep } from '../base/clock.ts'
import { messageOf } from '../base/errors.ts'
import {
  ledgerDirectory,
  ledgerName,
  ledgerTermDirectory,
  parseClaimNumber,
  parseLedgerFile,
  parseRequestFile,
  parseSnapshotFile,
  requestsDirectory,
  snapshotName,
} from '../store/layout.ts'
import { positionOf } from './finished.ts'
import type { History } from './history.ts'
import { enter } from './ledger.ts'
import type { LedgerExtent } from './records.ts'
import { compareSnapshots } from './snapshot.ts'
import type { SnapshotFile } from './snapshot-file.ts'
import { writeSnapshot } from './snapshot-writer.ts'
import type { SnapshotSource } from './snapshot-writer.ts'

/** When a file of the ledger ends and when a snapshot is due; left out, what fits a ledger of any size. */
export interface CompactionPace {
  /** A new file is begun when one has grown past this. */
  readonly fileBytesMax?: number
  /** When the ledger has grown by this, or by the size of the last one if that is more. */
  readonly growthBytesMin?: number
  /** And when so many files are to be read beyond the last one. */
  readonly filesMax?: number
}

export interface CompactorOptions extends SnapshotSource, CompactionPace {
  /** What this term began from. */
  readonly history: Pick<History, 'base' | 'bytes' | 'files'>
  readonly retentionMs: number
  /** Whether the lease still holds. */
  readonly mayAct: () => boolean
  readonly log: (level: 'info' | 'warn', message: string) => void
}

const everyMs = 1000
const idsEveryMs = 20
const trimEveryMsMax = 60_000
/** After one that could not be written. */
const againAfterMs = 60_000
/** Which parts of the bytes and files that make a snapshot due are worth one to a leader that is about to resign. */
const handOverBytesPart = 1 / 64
const handOverFilesPart = 1 / 16
const removePauseMs = 5

export class Compactor {
  readonly #options: CompactorOptions
  readonly #growthBytesMin: number
  readonly #filesMax: number
  /** Whole, because this leader has read or written them; the newest last. */
  #proven: SnapshotFile[]
  #number = 0
  /** Bytes and files of the ledger that are not in the newest snapshot. */
  #behind: { bytes: number; files: number }
  #writtenBefore = 0
  #notBeforeMs = Number.NEGATIVE_INFINITY
  #trimmedMs = Number.NEGATIVE_INFINITY
  #stepping: Promise<void> | null = null
  #handingOver = false

  constructor(options: CompactorOptions) {
    const { base, bytes, files } = options.history
    this.#options = options
    this.#growthBytesMin = options.growthBytesMin ?? 64 * 1024 * 1024
    this.#filesMax = options.filesMax ?? 64
    this.#proven = base === null ? [] : [base]
    this.#behind = { bytes, files }
  }

  /** Runs until the signal is given, or handOver(). Rejects when the ledger fails: the term is over. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, retentionMs, ids, ledger, log, mayAct } = this.#options
    const pauseMs = Math.min(everyMs, retentionMs / 10)
    while (!signal.aborted && !this.#handingOver) {
      ids.tick(clock.wallMs())
      const forgets = ids.forgetSome()
      await sleep(clock, forgets ? idsEveryMs : pauseMs, signal)
      if (signal.aborted || this.#handingOver || forgets || !mayAct() || clock.nowMs() < this.#notBeforeMs) continue
      try {
        this.#stepping = this.step(signal)
        await this.#stepping
      } catch (error) {
        if (ledger.failed !== null) throw error
        if (signal.aborted) return
        log('warn', `the ledger can't be compacted now: ${messageOf(error)}`)
        this.#notBeforeMs = clock.nowMs() + againAfterMs
      } finally {
        this.#stepping = null
      }
    }
  }

  /**
   * Before this leader resigns, and while it still leads: a snapshot, where it spares the successor a good part of what it
   * would have to read before it may submit. Nothing hangs on it; ends soon after the signal is given.
   */
  async handOver(signal: AbortSignal): Promise<void> {
    const { ledger, mayAct, log } = this.#options
    // From here on run() does nothing more, and so nothing to the ids either.
    this.#handingOver = true
    const aborted = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
    // Whatever becomes of it is run()'s to tell.
    await Promise.race([this.#stepping?.catch(() => undefined), aborted])
    if (signal.aborted || !mayAct() || ledger.failed !== null || !this.#spares()) return
    try {
      await this.snapshot(signal)
    } catch (error) {
      log('info', `the next leader has to read the ledger: no snapshot could be written before the resignation: ${messageOf(error)}`)
    }
  }

  /** Does what is due. */
  async step(signal: AbortSignal): Promise<void> {
    const { clock, retentionMs } = this.#options
    if (this.#isDue()) await this.snapshot(signal)
    if (clock.nowMs() - this.#trimmedMs < Math.min(trimEveryMsMax, retentionMs / 10)) return
    this.#trimmedMs = clock.nowMs()
    await this.trim()
  }

  /** Writes one now. */
  async snapshot(signal: AbortSignal): Promise<void> {
    const { ledger, clock, log } = this.#options
    const startedMs = clock.nowMs()
    const written = ledger.written
    // A number is used up by trying.
    this.#number += 1
    const done = await writeSnapshot(this.#options, this.#number, signal)
    this.#proven = [...this.#proven, done].slice(-2)
    this.#behind = { bytes: 0, files: 0 }
    this.#writtenBefore = written
    log('info', `snapshot ${done.ref.term}/${done.ref.number} of ${done.bytes} bytes written in ${Math.round(clock.nowMs() - startedMs)} ms`)
  }

  /** Bytes of the ledger that are not in the newest snapshot. */
  get #grown(): number {
    return this.#behind.bytes + this.#options.ledger.written - this.#writtenBefore
  }

  #spares(): boolean {
    const last = this.#proven.at(-1)?.bytes ?? 0
    // Of the files this term's own count by their bytes.
    return this.#grown >= Math.max(this.#growthBytesMin * handOverBytesPart, last * handOverFilesPart) || this.#behind.files >= this.#filesMax * handOverFilesPart
  }

  #isDue(): boolean {
    const { clock, retentionMs } = this.#options
    const last = this.#proven.at(-1)
    const grown = this.#grown
    if (grown >= Math.max(this.#growthBytesMin, last?.bytes ?? 0) || this.#behind.files >= this.#filesMax) return true
    // A small store's ledger grows slowly, and is kept no longer than its segments all the same.
    const beganAt = last?.head.at ?? this.#options.books.terms[0]?.at ?? ''
    return grown > 0 && clock.wallMs() - Date.parse(beganAt) > retentionMs
  }

  /** Removes what nobody needs any more. */
  async trim(): Promise<void> {
    const [older, newer] = this.#proven
    if (older === undefined || newer === undefined) return
    const { ledger, books, log } = this.#options
    const removable = this.#removable(older)
    if (removable.length > 0) {
      const remaining = ledger.covers().filter((extent) => !removable.includes(extent))
      await enter(ledger, books, [{ k: 'trimmed', needs: older.ref, termsBefore: remaining[0]?.term ?? ledger.term, ...(await this.#oldRequests()) }])
      const gone = new Set(removable.map(({ term, file }) => positionOf(term, file)))
      ledger.forget(({ term, file }) => gone.has(positionOf(term, file)))
    }
    const removed = await this.#sweep(older)
    if (removed > 0) log('info', `${removed} files of the ledger removed, which nobody needs any more`)
  }

  /** Files that the snapshot covers wholly and that tell of no segment that is still there. */
  #removable(older: SnapshotFile): LedgerExtent[] {
    const { ledger, books } = this.#options
    const covered = new Map(older.head.covers.map(({ term, file, bytes }) => [positionOf(term, file), bytes]))
    const files = ledger.covers().slice(0, -1)
    const positions = files.map(({ term, file }) => positionOf(term, file))
    // How many segments begin to be told of in a file, less those that no longer are.
    const changes = new Int32Array(files.length + 1)
    const mark = (first: number, last: number): void => {
      changes[lowerBound(positions, first)]! += 1
      changes[lowerBound(positions, last + 1)]! -= 1
    }
    for (const { first, last } of books.segments.values()) mark(first, last)
    books.finished.spans(mark)
    const removable: LedgerExtent[] = []
    let telling = 0
    for (const [at, extent] of files.entries()) {
      telling += changes[at]!
      if (telling === 0 && covered.get(positions[at]!) === extent.bytes) removable.push(extent)
    }
    return removable
  }

  /** Requests recorded longer than the retention ago are forgotten, unless one of them could be found again. */
  async #oldRequests(): Promise<{ requestsBefore?: string }> {
    const { store, books, clock, retentionMs } = this.#options
    const listed = (await store.list(requestsDirectory)).map(parseRequestFile)
    if (listed.some((id) => id !== null && books.requests.has(id))) return {}
    return { requestsBefore: new Date(clock.wallMs() - retentionMs).toISOString() }
  }

  /** Removes files of the ledger that count for nobody, snapshots older than the two newest, and directories that are empty then. */
  async #sweep(older: SnapshotFile): Promise<number> {
    const { store, ledger } = this.#options
    const counted = new Set(ledger.covers().map(({ term, file }) => positionOf(term, file)))
    const terms = (await store.list(ledgerDirectory)).map(parseClaimNumber).filter((n): n is number => n !== null)
    let removed = 0
    for (const term of terms) {
      if (term > ledger.term) return removed
      const directory = ledgerTermDirectory(term)
      let kept = 0
      for (const name of await store.list(directory)) {
        const file = parseLedgerFile(name)
        const number = parseSnapshotFile(name)
        const isOld =
          (file !== null && positionOf(term, file) <= positionOf(older.ref.term, older.head.covers.at(-1)!.file) && !counted.has(positionOf(term, file))) ||
          (number !== null && compareSnapshots({ term, number }, older.ref) < 0)
        if (!isOld) kept += 1
        else if (await this.#remove(file !== null ? ledgerName(term, file) : snapshotName(term, number!))) removed += 1
        else return removed
      }
      if (kept === 0 && term < ledger.term && this.#options.mayAct()) await this.#removeDirectory(directory)
    }
    return removed
  }

  /** False: the lease is over. */
  async #remove(name: string): Promise<boolean> {
    const { store, clock, mayAct } = this.#options
    await sleep(clock, removePauseMs)
    if (!mayAct()) return false
    await store.remove(name)
    return true
  }

  async #removeDirectory(directory: string): Promise<void> {
    const { store } = this.#options
    for (const name of await store.listPrivate(directory)) await store.remove(`${directory}/${name}`)
    await store.removeDirectory(directory)
  }
}

/** Index of the first that is not less. */
const lowerBound = (sorted: readonly number[], value: number): number => {
  let low = 0
  let high = sorted.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (sorted[middle]! < value) low = middle + 1
    else high = middle
  }
  return low
}
