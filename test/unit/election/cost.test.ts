// What the election costs the file server: every call of FileOperations counted, over simulated time, on real files.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { chainDefaults } from '../../../src/election/claim-chain.ts'
import { Elector } from '../../../src/election/elector.ts'
import { DirectoryStore } from '../../../src/store/directory-store.ts'
import type { FileOperations, OpenFile } from '../../../src/store/file-operations.ts'
import { realFiles } from '../../../src/store/file-operations.ts'
import { claimsDirectory, termsDirectory } from '../../../src/store/layout.ts'
import { generator } from './model.ts'

const leaseMs = 3_000
/** Shorter than usual, so that a leader has old claims to remove soon: one for each that it makes, as ever after. */
const retainMs = 30_000

/** Counts each call by its name, those on open files too. */
class Counter {
  readonly calls = new Map<string, number>()
  inFlight = 0
  readonly files: FileOperations = {
    ...this.#counted(realFiles),
    open: async (path, mode) => {
      const file = await this.#count('open', () => realFiles.open(path, mode))
      return this.#counted<OpenFile>(file)
    },
  }

  get total(): number {
    return [...this.calls.values()].reduce((sum, count) => sum + count, 0)
  }

  async #count<T>(name: string, call: () => Promise<T>): Promise<T> {
    this.calls.set(name, (this.calls.get(name) ?? 0) + 1)
    this.inFlight += 1
    try {
      return await call()
    } finally {
      this.inFlight -= 1
    }
  }

  #counted<T extends object>(what: T): T {
    // The store is asked each of them all the same, however few calls make it.
    const single = Object.entries(what).filter(([name]) => name !== 'readWhole' && name !== 'writeSynced')
    const entries = single.map(([name, call]) => {
      const counted = (...args: unknown[]): unknown =>
        this.#count(name, () => (call as (...args: unknown[]) => Promise<unknown>).apply(what, args))
      return [name, counted]
    })
    return Object.fromEntries(entries) as T
  }
}

/** Time that stands still until it is moved, and timers by it. */
class Time {
  now = 1_000
  readonly #due = new Map<object, { readonly at: number; readonly work: () => void }>()
  readonly timer = {
    set: (work: () => void, ms: number): unknown => {
      const handle = {}
      this.#due.set(handle, { at: this.now + ms, work })
      return handle
    },
    clear: (handle: unknown): void => void this.#due.delete(handle as object),
  }

  /** Goes to the next timer and fires it; false: there is none until then. */
  step(until: number): boolean {
    let first: object | null = null
    for (const [handle, { at }] of this.#due) if (first === null || at < this.#due.get(first)!.at) first = handle
    const next = first === null ? undefined : this.#due.get(first)
    if (first === null || next === undefined || next.at > until) {
      this.now = until
      return false
    }
    this.#due.delete(first)
    this.now = Math.max(this.now, next.at)
    next.work()
    return true
  }
}

let root: string
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'usher-cost-'))
})
afterEach(() => rm(root, { recursive: true }))

it('costs a host at most 10 file operations a lease while nothing happens, leading or following', async () => {
  const store = new DirectoryStore(root)
  for (const directory of [claimsDirectory, termsDirectory, 'hosts']) await store.makeDirectory(directory)
  const time = new Time()
  const random = generator(7)
  const hosts = ['a', 'b', 'c', 'ineligible'].map((name) => {
    const counter = new Counter()
    const elector = new Elector({
      store: new DirectoryStore(root, counter.files),
      instance: name,
      host: name,
      address: '',
      leaseMs,
      clock: () => time.now,
      deadline: { arm: () => undefined, disarm: () => undefined },
      eligible: name !== 'ineligible',
      timer: time.timer,
      chain: { ...chainDefaults(leaseMs), retainMs, random },
    })
    return { name, counter, elector }
  })
  const settled = async (): Promise<void> => {
    // An operation that ends begins the next one in a microtask or two; a turn of the event loop without any is the end.
    for (let quiet = 0; quiet < 2; quiet += 1) {
      await new Promise((resolve) => setImmediate(resolve))
      if (hosts.some(({ counter }) => counter.inFlight > 0)) quiet = -1
    }
  }
  const run = async (ms: number): Promise<void> => {
    const until = time.now + ms
    while (time.step(until)) await settled()
  }
  try {
    for (const { elector } of hosts) {
      elector.start()
      await settled()
    }
    await run(2 * retainMs)
    const before = hosts.map(({ counter }) => new Map(counter.calls))
    const totals = hosts.map(({ counter }) => counter.total)
    const leases = 30
    const claims = (await store.list(claimsDirectory)).length
    await run(leases * leaseMs)
    // As many are removed as are made, and nobody else was ever needed.
    expect(Math.abs((await store.list(claimsDirectory)).length - claims)).toBeLessThanOrEqual(1)
    expect(hosts.map(({ elector }) => elector.state.role)).toEqual(['leader', 'follower', 'follower', 'follower'])
    const costs = hosts.map(({ name, counter }, index) => {
      const each = [...counter.calls].map(([call, count]) => [call, (count - (before[index]!.get(call) ?? 0)) / leases] as const)
      return { name, operations: (counter.total - totals[index]!) / leases, each: each.filter(([, count]) => count > 0) }
    })
    for (const { name, operations, each } of costs) {
      process.stdout.write(`${name}: ${operations.toFixed(1)} file operations a lease (${each.map(([call, count]) => `${call} ${count.toFixed(1)}`).join(', ')})\n`)
      expect(operations, name).toBeGreaterThan(0)
      expect(operations, name).toBeLessThanOrEqual(10)
    }
  } finally {
    for (const { elector } of hosts) await elector.stop()
  }
})
