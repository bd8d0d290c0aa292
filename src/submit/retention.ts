// Removes what was finished longer than the retention ago: the files of segments, what others adopted of them, and the
// directories of instances that are gone and have nothing left. Only the leader does, while its lease holds.
//
// The ledger says so first, with the sums, so that the audit balances for ever; whatever a crash leaves is found in the
// listings of directories and removed later. How long ago is told by wall clocks, which may be wrong: nothing but finished
// segments hangs on them, and their ids stay seen for ever.
//
// Never: a file of a segment in which a job waits, is in doubt, dead or looked after, or that was set aside; a file that
// the ledger doesn't know; many files at once.

import type { Clock } from '../base/clock.ts'
import { sleep } from '../base/clock.ts'
import { messageOf } from '../base/errors.ts'
import { adoptedDirectory, hostDirectory, hostsDirectory, parseInstance, parseSegmentFile, segmentsDirectory } from '../store/layout.ts'
import type { Store } from '../store/store.ts'
import type { Books } from './books.ts'
import { enter } from './ledger.ts'
import type { Ledger, Unstamped } from './ledger.ts'
import { runsOf } from './records.ts'
import { parseRef } from './segment-book.ts'

export interface RetentionOptions {
  readonly store: Store
  readonly books: Books
  readonly ledger: Ledger
  readonly clock: Clock
  /** This instance, which lives. */
  readonly own: string
  readonly retentionMs: number
  /** Whether the lease still holds. */
  readonly mayAct: () => boolean
  readonly log: (level: 'info' | 'warn', message: string) => void
}

const everyMsMax = 60_000
/** Between two files: a few hundred a second, so that submitting doesn't feel it. */
const removePauseMs = 4
const segmentsAtOnce = 1000

/** Every name below is read from a listing, so none is looked up that isn't there. */
export class Retention {
  readonly #options: RetentionOptions
  /** Instances whose directories may hold files of removed segments; null: any may. */
  #dirty: Set<string> | null = null
  /** Instances whose directories were removed: forgotten once a later listing agrees. */
  readonly #cleared = new Set<string>()
  #removed = 0

  constructor(options: RetentionOptions) {
    this.#options = options
  }

  /** Runs until the signal is given. Rejects when the ledger fails: the term is over. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, retentionMs, ledger, log, mayAct } = this.#options
    let complaint = ''
    while (!signal.aborted) {
      await sleep(clock, Math.min(everyMsMax, retentionMs / 10), signal)
      if (signal.aborted || !mayAct()) continue
      try {
        await this.pass(signal)
        complaint = ''
      } catch (error) {
        if (ledger.failed !== null) throw error
        if (complaint !== messageOf(error)) log('warn', `what is finished can't be removed now: ${messageOf(error)}`)
        complaint = messageOf(error)
      }
    }
  }

  async pass(signal: AbortSignal): Promise<void> {
    const { store, books, log } = this.#options
    this.#removed = 0
    await this.#record()
    const hosts = (await store.list(hostsDirectory)).filter((name) => parseInstance(name) !== null)
    const dirty = this.#dirty ?? new Set(books.cursors.keys())
    if (dirty.size > 0) {
      this.#dirty = new Set()
      for (const instance of hosts) {
        const own = !dirty.has(instance) || (await this.#sweep(segmentsDirectory(instance), instance, signal))
        const adopted = await this.#sweepAdopted(instance, dirty, signal)
        if (!own || !adopted) {
          // Cut short: looked through again.
          this.#dirty = null
          return
        }
      }
    }
    await this.#clearInstances(hosts, signal)
    if (this.#removed > 0) log('info', `${this.#removed} files of finished segments removed`)
  }

  /** Writes down what is about to be removed. */
  async #record(): Promise<void> {
    const { books, ledger, clock, retentionMs, mayAct } = this.#options
    const before = clock.wallMs() - retentionMs
    for (const instance of books.finished.instances()) {
      for (;;) {
        const numbers = books.finished.before(instance, before, segmentsAtOnce)
        if (numbers.length === 0 || !mayAct()) break
        const tally = { submitted: 0, duplicates: 0, discarded: 0 }
        for (const number of numbers) {
          const { submitted, duplicates, discarded } = books.finished.get(instance, number)!
          tally.submitted += submitted
          tally.duplicates += duplicates
          tally.discarded += discarded
        }
        const record: Unstamped = { k: 'removed', instance, segments: runsOf(numbers), tally }
        await enter(ledger, books, [record])
        this.#dirty?.add(instance)
      }
    }
  }

  /** Removes the files of removed segments of that instance from a directory. False: cut short. */
  async #sweep(directory: string, instance: string, signal: AbortSignal): Promise<boolean> {
    const { store, books } = this.#options
    for (const file of await store.list(directory)) {
      const parsed = parseSegmentFile(file)
      if (parsed === null || !books.isRemoved(instance, parsed.number)) continue
      if (!(await this.#remove(`${directory}/${file}`, signal))) return false
    }
    return true
  }

  async #sweepAdopted(instance: string, dirty: ReadonlySet<string>, signal: AbortSignal): Promise<boolean> {
    const { store } = this.#options
    for (const of of await store.list(`${hostDirectory(instance)}/adopted`)) {
      if (dirty.has(of) && !(await this.#sweep(adoptedDirectory(instance, of), of, signal))) return false
    }
    return true
  }

  /** Files go one after the other. False: the lease is over, or the term. */
  async #remove(name: string, signal: AbortSignal): Promise<boolean> {
    const { store, clock, mayAct } = this.#options
    await sleep(clock, removePauseMs, signal)
    if (signal.aborted || !mayAct()) return false
    await store.remove(name)
    this.#removed += 1
    return true
  }

  /** Instances that were gone for longer than the retention and have nothing left that anybody needs. */
  async #clearInstances(hosts: readonly string[], signal: AbortSignal): Promise<void> {
    const { books, ledger, clock, own, retentionMs } = this.#options
    const before = clock.wallMs() - retentionMs
    const busy = new Set<string>([own])
    for (const ref of [...books.segments.keys(), ...books.setAside.keys()]) busy.add(parseRef(ref).instance)
    for (const [instance, { at, last }] of books.gone) {
      if (busy.has(instance) || books.finished.has(instance) || Date.parse(at) > before) continue
      if (hosts.includes(instance)) {
        this.#cleared.delete(instance)
        if (!(await this.#clear(instance, Math.max(last, books.cursors.get(instance) ?? 0), hosts, signal))) continue
        this.#cleared.add(instance)
      } else if (this.#cleared.delete(instance)) {
        // A listing of its own, later than the removal, doesn't show it.
        await enter(ledger, books, [{ k: 'cleared', instance }])
      } else {
        // Removed by an earlier leader, or by hand: the next listing decides.
        this.#cleared.add(instance)
      }
    }
  }

  /** Removes the directory of an instance. False: there is something in it that must stay, or the lease is over. */
  async #clear(instance: string, last: number, hosts: readonly string[], signal: AbortSignal): Promise<boolean> {
    const { store, books, log } = this.#options
    const segments = segmentsDirectory(instance)
    const known = (file: string): boolean => file === 'probe' || (parseSegmentFile(file)?.number ?? Number.POSITIVE_INFINITY) <= last
    const stray = (await store.list(segments)).find((file) => !known(file))
    if (stray !== undefined) {
      log('warn', `${segments}/${stray} is nothing that the ledger knows: the directory stays`)
      return false
    }
    // What it had adopted may belong to instances whose segments are still there.
    const adopted = `${hostDirectory(instance)}/adopted`
    for (const of of await store.list(adopted)) {
      const kept = (await store.list(adoptedDirectory(instance, of))).some((file) => {
        const number = parseSegmentFile(file)?.number
        return books.cursors.has(of) && (number === undefined || !books.isRemoved(of, number))
      })
      if (kept) return false
    }
    for (const host of hosts) {
      if (!(await store.list(`${hostDirectory(host)}/adopted`)).includes(instance)) continue
      if (!(await this.#removeTree(adoptedDirectory(host, instance), [], signal))) return false
    }
    const inner = [...(await store.list(adopted)).map((of) => `adopted/${of}`), 'adopted', 'segments']
    return this.#removeTree(hostDirectory(instance), inner, signal)
  }

  /** Removes directories with the files in them: those inside, in their order, then the outer one. */
  async #removeTree(directory: string, inner: readonly string[], signal: AbortSignal): Promise<boolean> {
    const { store } = this.#options
    for (const name of [...inner.map((each) => `${directory}/${each}`), directory]) {
      const files = [...(await store.list(name)), ...(await store.listPrivate(name))]
      for (const file of files) if (!(await this.#remove(`${name}/${file}`, signal))) return false
      await store.removeDirectory(name)
    }
    return true
  }
}
