// What the ledgers of earlier terms look like, one after the other from the newest: their files, their snapshots, how each
// began. Several are looked at ahead at a time, since on a file server each look takes some round trips and nobody
// submits meanwhile. A failure is told to whoever asks for that term, and to nobody where nobody does.

import { ledgerName, ledgerTermDirectory, parseLedgerFile, parseSnapshotFile } from '../store/layout.ts'
import type { Store } from '../store/store.ts'
import { readHead } from './snapshot-file.ts'
import type { Head } from './snapshot-file.ts'

export interface LedgerLook {
  /** Numbers of its files, rising. */
  readonly files: readonly number[]
  /** Numbers of its snapshots, falling. */
  readonly snapshots: readonly number[]
  /** How its first file begins; null: there is none. */
  readonly head: Head | null
}

const ahead = 8
/** Small files are kept, so that they are read once; not more of them than this. */
const keptBytesMax = 16 * 1024 * 1024

export class LedgerLooks {
  readonly #store: Store
  readonly #terms: readonly number[]
  /** Nobody writes a ledger of these terms any more. */
  readonly #leads: boolean
  readonly #looking: Promise<LedgerLook>[] = []
  #begun = 0
  #keptBytes = 0

  constructor(store: Store, terms: readonly number[], leads: boolean) {
    this.#store = store
    this.#terms = terms
    this.#leads = leads
  }

  /** That of the next term. */
  next(): Promise<LedgerLook> {
    while (this.#begun < this.#terms.length && this.#looking.length < ahead) {
      const look = this.#look(this.#terms[this.#begun]!)
      look.catch(() => undefined)
      this.#looking.push(look)
      this.#begun += 1
    }
    return this.#looking.shift()!
  }

  async #look(term: number): Promise<LedgerLook> {
    const names = await this.#store.list(ledgerTermDirectory(term))
    const files = names.map(parseLedgerFile).filter((n): n is number => n !== null)
    const snapshots = names.map(parseSnapshotFile).filter((n): n is number => n !== null)
    files.sort((a, b) => a - b)
    snapshots.sort((a, b) => b - a)
    if (this.#leads) await this.#findBehind(term, files)
    return { files, snapshots, head: files[0] === 1 ? await this.#readHead(term) : null }
  }

  /**
   * A file that the listing lacks would never count again, so the next number is asked for by its name. It may be remembered
   * as absent for that: nobody writes a ledger of an earlier term any more.
   */
  async #findBehind(term: number, files: number[]): Promise<void> {
    for (let next = (files.at(-1) ?? 0) + 1; await this.#store.exists(ledgerName(term, next)); next += 1) files.push(next)
  }

  async #readHead(term: number): Promise<Head> {
    const { first, whole } = await readHead(this.#store, ledgerName(term, 1))
    if (whole === null || this.#keptBytes + whole.length > keptBytesMax) return { first, whole: null }
    this.#keptBytes += whole.length
    return { first, whole }
  }
}
