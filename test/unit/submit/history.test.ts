// Snapshots and what is read beyond them: the books and the ids of a new leader are the same with and without, whatever
// crashed, tore, was damaged or came late; and what it has to read stays small however long the store has lived.
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Clock } from '../../../src/base/clock.ts'
import { native } from '../../../src/base/native.ts'
import { ledgerName, snapshotName } from '../../../src/store/layout.ts'
import { Books, state } from '../../../src/submit/books.ts'
import { Compactor } from '../../../src/submit/compactor.ts'
import { encodeFrame, scanFrames } from '../../../src/submit/frames.ts'
import { readHistory } from '../../../src/submit/history.ts'
import type { History } from '../../../src/submit/history.ts'
import { enter, Ledger } from '../../../src/submit/ledger.ts'
import type { Unstamped } from '../../../src/submit/ledger.ts'
import type { LedgerRecord, SnapshotRef } from '../../../src/submit/records.ts'
import { RememberedIds } from '../../../src/submit/remembered-ids.ts'
import { stateOfBooks, stateOfSegment } from '../../../src/submit/snapshot.ts'
import { writeSnapshot } from '../../../src/submit/snapshot-writer.ts'
import { seeded, seedOf } from '../../support/random.ts'
import { MemoryStore } from './memory-store.ts'

const by = { host: 'h', instance: 'h-20261123T040000-3fa9c1', pid: 1, version: '0', config: 'x' }
const instances = ['a-20261123T040000-000001', 'b-20261123T040000-000002']
const retentionMs = 1000

/** A clock that only tests move; whoever sleeps goes on at once. */
class TestClock implements Clock {
  now = 1_800_000_000_000
  nowMs(): number {
    return this.now
  }
  wallMs(): number {
    return this.now
  }
  after(_ms: number, call: () => void): () => void {
    const timer = setImmediate(call)
    return () => clearImmediate(timer)
  }
}

/** All that books hold, in a form that can be compared. */
const contentOf = (books: Books): unknown => {
  const finished = [...books.finished.instances()].sort().map((instance) => [instance, [...books.finished.of(instance)]])
  const records = [...stateOfBooks(books)()].filter(({ k }) => k !== 'finished')
  return [
    ...records.map((record) => (record.k === 'instances' ? record.instances.toSorted() : record)),
    finished,
    ...[...books.segments.values()].map(stateOfSegment),
  ]
}

const createIds = (): RememberedIds => new RememberedIds(new native.SeenIds(), retentionMs)
const read = (memory: MemoryStore): Promise<History> => readHistory(memory.store, { leads: true, createIds })

/** One leader after the other, and beside them what the ledger must add up to. */
class World {
  readonly memory = new MemoryStore()
  readonly clock = new TestClock()
  readonly random: () => number
  /** Every record that counts, and the terms' ends, in their order. */
  readonly expected: (readonly [LedgerRecord, number] | number)[] = []
  readonly admitted = new Set<string>()
  readonly numbers = [0, 0]
  trimmed = false
  term = 0
  history!: History
  ledger!: Ledger
  books!: Books
  ids!: RememberedIds
  compactor!: Compactor
  #snapshots = 0
  readonly #spoiled = new Set<string>()
  #late: { name: string; bytes: Buffer }[] = []
  #background: Promise<unknown> | null = null
  #admitting: Promise<void> = Promise.resolve()
  /** Bytes of records that all leaders have written. */
  written = 0

  constructor(seed: number) {
    this.random = seeded(seed)
  }

  below(bound: number): number {
    return Math.floor(this.random() * bound)
  }

  /** A new leader: reads, compares, and begins its term. */
  async lead(compares = true): Promise<void> {
    await this.#background?.catch(() => undefined)
    this.#background = null
    if (this.term > 0) {
      this.expected.push(this.term)
      this.written += this.ledger.written
    }
    this.history = await read(this.memory)
    this.books = this.history.books
    this.ids = this.history.ids!
    if (compares) await this.#compare()
    this.term += 1 + this.below(3)
    this.#snapshots = 0
    const { store } = this.memory
    const { extents, base } = this.history
    this.ledger = await Ledger.create({ store, storeUuid: 'u', term: this.term, by, clock: this.clock, read: extents, from: base?.ref ?? null, fileBytesMax: 3000 })
    this.books.apply(this.ledger.opening)
    this.expected.push([this.ledger.opening, 1])
    this.compactor = new Compactor({
      ...this.source(),
      history: this.history,
      retentionMs,
      mayAct: () => true,
      log: () => undefined,
      growthBytesMin: 6000,
      filesMax: 6,
    })
  }

  async #compare(): Promise<void> {
    const reference = new Books()
    for (const step of this.expected) {
      if (typeof step === 'number') reference.endTerm(reference.totals.lastAt, `the submitter of term ${step} ended between intent and receipt`)
      else reference.apply(...step)
    }
    expect(contentOf(this.books)).toEqual(contentOf(reference))
    // Of another reading, since asking admits.
    const { seen } = (await read(this.memory)).ids!
    expect(seen.size).toBe(this.admitted.size)
    for (const id of this.admitted) {
      const [producer = '', sequence = ''] = id.split('-')
      expect(seen.admit(BigUint64Array.of(BigInt(producer)), BigUint64Array.of(BigInt(sequence)), BigUint64Array.of(BigInt(sequence)))[0]).toBe(1)
    }
  }

  source() {
    const { clock, books, ids, ledger } = this
    return { store: this.memory.store, storeUuid: 'u', by, clock, books, ids, ledger, settled: () => this.#admitting, groupBytes: 1 + this.below(500) }
  }

  admit(): Promise<void> {
    return (this.#admitting = this.#admit())
  }

  async enter(records: readonly Unstamped[]): Promise<void> {
    this.clock.now += this.below(50)
    await enter(this.ledger, this.books, records)
    // Read back from where they are, so that it is the file that is compared.
    const { file, bytes } = this.ledger.entered
    const found: LedgerRecord[] = []
    scanFrames(this.memory.files.get(ledgerName(this.term, file))!.subarray(0, bytes), (record) => found.push(record as LedgerRecord))
    for (const record of found.slice(-records.length)) this.expected.push([record, file])
  }

  async #admit(): Promise<void> {
    const which = this.below(2)
    const number = (this.numbers[which]! += 1)
    const of = `${instances[which]}/${number}`
    if (this.below(10) === 0) {
      await this.enter([{ k: 'aside', of, count: 3, reason: 'it is broken' }])
      return
    }
    const count = this.below(6)
    const producer = 1 + this.below(3)
    const first = this.below(4) === 0 ? this.below(200) : this.admitted.size * 2
    const sequences = BigUint64Array.from({ length: count }, (_, index) => BigInt(first + index))
    const verdicts = this.ids.seen.admit(new BigUint64Array(count).fill(BigInt(producer)), sequences, sequences)
    const duplicates: [number, number][] = []
    for (const [index, verdict] of verdicts.entries()) if (verdict === 1) duplicates.push([index, index])
    for (const sequence of sequences) this.admitted.add(`${producer}-${sequence}`)
    await this.enter([
      {
        k: 'admit',
        of,
        count,
        clusters: this.below(2) === 0 ? { c: count } : { c: Math.ceil(count / 2), d: Math.floor(count / 2) },
        ids: [[producer.toString(16).padStart(16, '0'), String(first), count]],
        digests: Buffer.from(sequences.buffer).toString('base64'),
        ...(duplicates.length > 0 ? { duplicates } : {}),
      },
    ])
  }

  /** Something happens to a job. */
  async move(): Promise<void> {
    const all = [...this.books.segments.values()]
    const segment = all[this.below(all.length)]
    if (segment?.states == null) return
    const index = this.below(segment.count)
    const shared = { of: segment.ref, jobs: [[index, index]] as [number, number][] }
    switch (segment.states[index]) {
      case state.waiting:
        return this.enter([{ k: 'intent', cluster: 'c', ...shared }])
      case state.intent:
      case state.doubt: {
        const kinds: Unstamped[] = [
          { k: 'receipt', ids: ['7'], ...shared },
          { k: 'receipt', ids: [null], held: true, unconfirmed: true, ...shared },
          { k: 'refused', reason: 'no such queue', ...shared },
          { k: 'later', reason: 'busy', ...shared },
          { k: 'doubt', reason: 'no answer', ...shared },
        ]
        return this.enter([kinds[this.below(kinds.length)]!])
      }
      case state.dead:
        return this.enter([
          { k: 'decision', request: 'r', as: this.below(2) === 0 ? 'retry' : 'discard', by: 'u', ...shared },
          { k: 'request', request: `r${this.below(20)}`, result: 'done' },
        ])
      default:
        if (segment.followUps.has(index)) return this.enter([{ k: 'released', ...shared }, { k: 'confirmed', ...shared }])
    }
  }

  /** Files of finished segments are removed, as far as this is about the ledger. */
  async remove(): Promise<void> {
    const instance = instances[this.below(2)]!
    const numbers = this.books.finished.before(instance, this.clock.now - this.below(3) * 500, 1 + this.below(10))
    if (numbers.length === 0) return
    await this.enter([{ k: 'removed', instance, segments: numbers.map((number) => [number, number]), tally: { submitted: 0, duplicates: 0, discarded: 0 } }])
  }

  /** What the compactor enters is expected as well. */
  async compact(): Promise<void> {
    // One snapshot at a time, as the compactor writes them.
    await this.#background?.catch(() => undefined)
    this.clock.now += this.below(1500)
    const before = this.ledger.entered
    await this.compactor.step(new AbortController().signal)
    const { file, bytes } = this.ledger.entered
    if (file === before.file && bytes === before.bytes) return
    const found: LedgerRecord[] = []
    const name = ledgerName(this.term, file)
    scanFrames(this.memory.files.get(name)!.subarray(0, bytes), (record) => found.push(record as LedgerRecord))
    this.expected.push([found.at(-1)!, file])
    this.trimmed = true
  }

  /** An orderly resignation, and whoever comes after it. */
  async resign(): Promise<void> {
    await this.#background?.catch(() => undefined)
    await this.compactor.handOver(new AbortController().signal)
    await this.lead()
  }

  /** A snapshot in the background of everything else. */
  snapshot(): void {
    if (this.#background !== null) return
    // Beyond the numbers that the compactor uses.
    this.#snapshots += 1
    this.#background = writeSnapshot(this.source(), 1000 + this.#snapshots, new AbortController().signal).finally(() => (this.#background = null))
    this.#background.catch(() => undefined)
  }

  async pause(): Promise<void> {
    for (let turns = this.below(8); turns > 0; turns -= 1) await new Promise((resolve) => setImmediate(resolve))
  }

  snapshots(): (SnapshotRef & { name: string })[] {
    return [...this.memory.files.keys()].flatMap((name) => {
      const match = /^ledger\/0*([0-9]+)\/0*([0-9]+)\.snapshot$/.exec(name)
      return match === null ? [] : [{ term: Number(match[1]), number: Number(match[2]), name }]
    })
  }

  /** The newest snapshot is cut short, damaged, or doesn't show for now; one at a time, and none that is needed. */
  async spoil(): Promise<void> {
    await this.#background?.catch(() => undefined)
    const newest = this.snapshots().sort((a, b) => a.term - b.term || a.number - b.number).at(-1)
    if ([...this.#spoiled].some((name) => this.memory.files.has(name))) return
    if (newest === undefined || (this.books.needs?.term === newest.term && this.books.needs.number === newest.number)) return
    this.#spoiled.add(newest.name)
    const bytes = Buffer.from(this.memory.files.get(newest.name)!)
    const kind = this.below(3)
    if (kind === 0) this.memory.files.set(newest.name, bytes.subarray(0, this.below(bytes.length)))
    else if (kind === 1) {
      bytes[this.below(bytes.length)]! ^= 1 << this.below(8)
      this.memory.files.set(newest.name, bytes)
    } else if (!this.trimmed) {
      this.memory.hidden.add(newest.name)
    }
  }

  show(): void {
    this.memory.hidden.clear()
  }

  /** What the kernel of a dead leader still writes arrives: records, a further file, a snapshot of them. */
  async late(): Promise<void> {
    await this.#background?.catch(() => undefined)
    for (const { name, bytes } of this.#late.splice(0)) this.memory.files.set(name, Buffer.concat([this.memory.files.get(name) ?? Buffer.alloc(0), bytes]))
  }

  /** The leader dies with records on their way that nobody has heard of, and a snapshot that counts on them. */
  async crash(): Promise<void> {
    await this.#background?.catch(() => undefined)
    const { file } = this.ledger.entered
    const name = ledgerName(this.term, file)
    const before = new Map([...this.memory.files].map(([key, bytes]) => [key, bytes.length]))
    const counted = this.expected.length
    const { size } = this.admitted
    const known = [...this.admitted]
    const numbers = [...this.numbers]
    for (let more = this.below(4); more > 0; more -= 1) await (this.below(2) === 0 ? this.admit() : this.move())
    if (this.below(2) === 0) {
      this.snapshot()
      await this.#background
    }
    this.expected.length = counted
    if (this.admitted.size > size) {
      this.admitted.clear()
      for (const id of known) this.admitted.add(id)
    }
    this.numbers.splice(0, 2, ...numbers)
    for (const [key, bytes] of this.memory.files) {
      const length = before.get(key) ?? 0
      if (bytes.length === length && before.has(key)) continue
      this.#late.push({ name: key, bytes: Buffer.from(bytes.subarray(length)) })
      if (before.has(key)) this.memory.files.set(key, bytes.subarray(0, length))
      else this.memory.files.delete(key)
    }
    // Some of it may have arrived in part: a torn tail.
    const tail = this.#late.find((each) => each.name === name)
    const line = tail === undefined ? 0 : tail.bytes.indexOf(0x0a)
    if (tail !== undefined && line > 0 && this.below(2) === 0) {
      const torn = this.below(line)
      this.memory.files.set(name, Buffer.concat([this.memory.files.get(name)!, tail.bytes.subarray(0, torn)]))
      tail.bytes = tail.bytes.subarray(torn)
    }
    await this.lead()
  }
}

const step = fc.oneof(
  { weight: 8, arbitrary: fc.constant('admit' as const) },
  { weight: 24, arbitrary: fc.constant('move' as const) },
  { weight: 3, arbitrary: fc.constant('remove' as const) },
  { weight: 3, arbitrary: fc.constant('snapshot' as const) },
  { weight: 4, arbitrary: fc.constant('compact' as const) },
  { weight: 2, arbitrary: fc.constant('pause' as const) },
  { weight: 2, arbitrary: fc.constant('spoil' as const) },
  { weight: 1, arbitrary: fc.constant('show' as const) },
  { weight: 2, arbitrary: fc.constant('late' as const) },
  { weight: 2, arbitrary: fc.constant('lead' as const) },
  { weight: 1, arbitrary: fc.constant('resign' as const) },
  { weight: 2, arbitrary: fc.constant('crash' as const) },
)

describe('what a new leader reads', () => {
  it('adds up to the same books and ids with snapshots and without, whatever tore, was damaged, or came late', async () => {
    const seed = seedOf()
    await fc.assert(
      fc.asyncProperty(fc.integer(), fc.array(step, { minLength: 20, maxLength: 160 }), async (chance, steps) => {
        const world = new World(chance)
        await world.lead()
        for (const name of steps) await world[name]()
        await world.lead()
        // The ledger alone says the same, as long as all of it is there.
        if (world.trimmed) return
        for (const { name } of world.snapshots()) world.memory.hidden.add(name)
        const whole = await read(world.memory)
        expect(whole.base).toBeNull()
      }),
      { numRuns: 150, seed },
    )
  }, 120_000)

  it('stays bounded over hundreds of terms, and so do the files of the ledger', async () => {
    const world = new World(seedOf())
    await world.lead()
    const worst = { bytes: 0, files: 0, read: 0, onDisk: 0 }
    for (let round = 0; round < 220; round += 1) {
      for (let moves = 0; moves < 12; moves += 1) {
        if (moves % 3 === 0) await world.admit()
        // Everything is finished in the end: what isn't must be kept.
        for (const segment of world.books.segments.values()) {
          const jobs: [number, number][] = [[0, segment.count - 1]]
          if (segment.states?.every((value) => value === state.waiting) !== true) continue
          await world.enter([{ k: 'intent', cluster: 'c', of: segment.ref, jobs }])
          await world.enter([{ k: 'receipt', of: segment.ref, jobs }])
        }
      }
      for (const segment of world.books.segments.values()) {
        for (const [index, value] of (segment.states ?? []).entries()) {
          const shared = { of: segment.ref, jobs: [[index, index]] as [number, number][] }
          if (value === state.waiting) await world.enter([{ k: 'intent', cluster: 'c', ...shared }])
          if (value === state.waiting || value === state.doubt) await world.enter([{ k: 'receipt', ...shared }])
        }
      }
      await world.remove()
      await world.remove()
      await world.compact()
      world.memory.bytesRead = 0
      await world.lead(round % 20 === 19)
      if (round < 40 || round % 20 === 19) continue
      worst.bytes = Math.max(worst.bytes, world.history.bytes)
      worst.files = Math.max(worst.files, world.history.files)
      worst.read = Math.max(worst.read, world.memory.bytesRead)
      worst.onDisk = Math.max(worst.onDisk, [...world.memory.files.keys()].length)
    }
    expect(world.trimmed).toBe(true)
    expect(world.term).toBeGreaterThan(220)
    // At most what makes a snapshot due, what one round adds, and the snapshot itself; of well over a megabyte.
    expect(worst.bytes).toBeLessThan(60_000)
    expect(worst.files).toBeLessThan(24)
    expect(worst.onDisk).toBeLessThan(120)
    expect(world.written).toBeGreaterThan(1_000_000)
    expect(worst.read).toBeLessThan(world.written / 5)
  }, 120_000)

  it('is a snapshot and little more after a leader that resigned in order', async () => {
    const world = new World(7)
    await world.lead()
    for (let moves = 0; moves < 30; moves += 1) await world.admit()
    for (let moves = 0; moves < 300; moves += 1) await world.move()
    const { term } = world
    // The second would spare nothing.
    await world.compactor.handOver(new AbortController().signal)
    await world.resign()
    expect(world.history.base?.ref).toEqual({ term, number: 1 })
    expect(world.history.records).toBe(0)
    expect(world.snapshots()).toHaveLength(1)
  })

  it('is one snapshot where a leader resigns while one is written', async () => {
    const world = new World(8)
    await world.lead()
    for (let moves = 0; moves < 30; moves += 1) await world.admit()
    for (let moves = 0; moves < 1000; moves += 1) await world.move()
    const running = world.compactor.run(new AbortController().signal)
    while (world.snapshots().length === 0) await new Promise((resolve) => setImmediate(resolve))
    expect((await read(world.memory)).base).toBeNull()
    await world.compactor.handOver(new AbortController().signal)
    // It has said so itself, and nothing of it goes on beside what comes.
    await running
    expect(world.snapshots()).toHaveLength(1)
    await world.lead()
    expect(world.history.base).not.toBeNull()
  })

  it('is the ledger where the snapshot of a resignation takes too long', async () => {
    const world = new World(9)
    await world.lead()
    for (let moves = 0; moves < 30; moves += 1) await world.admit()
    const over = new AbortController()
    const handingOver = world.compactor.handOver(over.signal)
    while (world.snapshots().length === 0) await new Promise((resolve) => setImmediate(resolve))
    over.abort()
    await handingOver
    await world.lead()
    expect(world.history.base).toBeNull()
    expect(world.history.records).toBeGreaterThan(30)
  })

  it('is not believed of a snapshot that counts on records which no successor has counted', async () => {
    const world = new World(1)
    await world.lead()
    await world.admit()
    await world.admit()
    const name = ledgerName(world.term, 1)
    const short = Buffer.from(world.memory.files.get(name)!)
    const superseded = world.term
    await world.enter([{ k: 'aside', of: `${instances[0]}/9`, count: 1, reason: 'late' }])
    await writeSnapshot(world.source(), 1, new AbortController().signal)
    const snapshot = world.memory.files.get(snapshotName(superseded, 1))!
    const whole = world.memory.files.get(name)!
    world.expected.pop()
    world.memory.files.set(name, short)
    world.memory.files.delete(snapshotName(superseded, 1))
    await world.lead()
    expect(world.history.base).toBeNull()
    // Both arrive.
    world.memory.files.set(name, whole)
    world.memory.files.set(snapshotName(superseded, 1), snapshot)
    await world.lead()
    expect(world.history.base).toBeNull()
    expect(world.books.setAside.size).toBe([...world.expected].filter((each) => typeof each !== 'number' && each[0].k === 'aside').length)
  })

  it("isn't cut short by the first record of a term that nobody counted", async () => {
    const world = new World(5)
    await world.lead()
    const { term } = world
    const early = world.ledger.entered
    await world.admit()
    await world.admit()
    world.term += 1
    // A leader between the two read less of the first's ledger, died, and its first record comes after the third has begun.
    const { at } = world.ledger.opening
    const late: LedgerRecord = { k: 'open', term: term + 1, at, store: 'u', by, read: [{ term, ...early }] }
    world.expected.push(term)
    await world.lead()
    world.expected.splice(world.expected.indexOf(term + 1), 1)
    world.memory.files.set(ledgerName(term + 1, 1), encodeFrame(late, 0))
    await world.lead()
    expect(world.admitted.size).toBeGreaterThan(0)
  })

  it('says so when the snapshot is gone without which the ledger says nothing', async () => {
    const world = new World(2)
    await world.lead()
    for (let round = 0; round < 40 && world.books.needs === null; round += 1) {
      for (let moves = 0; moves < 20; moves += 1) await world.admit()
      for (let moves = 0; moves < 400; moves += 1) await world.move()
      world.clock.now += 2000
      await world.remove()
      await world.compact()
      await world.compact()
    }
    expect(world.books.needs).not.toBeNull()
    for (const { name } of world.snapshots()) world.memory.files.delete(name)
    await expect(read(world.memory)).rejects.toThrow("can't be read without")
    const tolerant = await readHistory(world.memory.store, { tolerateDamage: true })
    expect(tolerant.damaged.join()).toContain("can't be read without")
  })

  it("isn't held up by a first file that was removed and created anew by a late request", async () => {
    const world = new World(2)
    await world.lead()
    const first = ledgerName(world.term, 1)
    for (let round = 0; round < 40 && world.memory.files.has(first); round += 1) {
      for (let moves = 0; moves < 20; moves += 1) await world.admit()
      for (let moves = 0; moves < 400; moves += 1) await world.move()
      world.clock.now += 2000
      await world.remove()
      await world.compact()
      await world.compact()
    }
    expect(world.memory.files.has(first)).toBe(false)
    await world.admit()
    world.memory.files.set(first, Buffer.alloc(0))
    const { books, records } = await read(world.memory)
    expect(records).toBeGreaterThan(0)
    expect(contentOf(books)).toEqual(contentOf(world.books))
    await world.lead()
  })

  it('holds no id that the ledger might not have', async () => {
    const world = new World(6)
    await world.lead()
    await world.admit()
    let settle = (): void => undefined
    const admitting = new Promise<void>((resolve) => (settle = resolve))
    world.ids.seen.admit(BigUint64Array.of(9n), BigUint64Array.of(9n), BigUint64Array.of(9n))
    let isDone = false
    const writing = writeSnapshot({ ...world.source(), settled: () => admitting }, 1, new AbortController().signal).finally(() => (isDone = true))
    for (let turns = 0; turns < 200; turns += 1) await new Promise((resolve) => setImmediate(resolve))
    expect(isDone).toBe(false)
    expect((await read(world.memory)).base).toBeNull()
    await world.enter([{ k: 'aside', of: `${instances[0]}/9`, count: 1, reason: 'it stands for the admission' }])
    settle()
    const { head, end } = await writing
    expect(end.through).toEqual(world.ledger.entered)
    expect(head.covers.at(-1)!.bytes).toBeLessThan(end.through.bytes)
    expect((await read(world.memory)).base).not.toBeNull()
  })

  it('is read anew when files go while it is read', async () => {
    const world = new World(3)
    await world.lead()
    for (let moves = 0; moves < 30; moves += 1) await world.admit()
    await writeSnapshot(world.source(), 1, new AbortController().signal)
    await writeSnapshot(world.source(), 2, new AbortController().signal)
    let begun = 0
    const expected = contentOf(world.books)
    const { books } = await readHistory(world.memory.store, {
      everything: true,
      onBegin: () => (begun += 1),
      onRecord: () => {
        if (begun === 1) for (const name of [...world.memory.files.keys()]) if (name.endsWith('2.log')) world.memory.files.delete(name)
      },
    })
    expect(begun).toBe(2)
    expect(contentOf(books)).toEqual(expected)
  })

  it('finds a damaged snapshot at every byte, and does without it', async () => {
    const world = new World(4)
    await world.lead()
    for (let moves = 0; moves < 4; moves += 1) await world.admit()
    await writeSnapshot(world.source(), 1, new AbortController().signal)
    const name = snapshotName(world.term, 1)
    const good = world.memory.files.get(name)!
    const expected = contentOf((await read(world.memory)).books)
    expect((await read(world.memory)).base).not.toBeNull()
    for (let at = 0; at < good.length; at += 1) {
      const bad = Buffer.from(good)
      bad[at]! ^= 0x10
      world.memory.files.set(name, bad)
      const history = await read(world.memory)
      expect(history.base, `byte ${at}`).toBeNull()
      expect(contentOf(history.books)).toEqual(expected)
      world.memory.files.set(name, good.subarray(0, at))
      expect((await read(world.memory)).base, `cut at ${at}`).toBeNull()
    }
  }, 60_000)
})
