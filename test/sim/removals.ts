// What leaders remove, seen by one who forgets nothing: notes when each segment is about to be removed and when its first name
// goes, keeps what the ledger tells before that becomes shorter, and looks whether it says the same without each file of it
// that goes.
import { native } from '../../src/base/native.ts'
import type { FileOperations, OpenFile } from '../../src/store/file-operations.ts'
import { parseInstance, parseSegmentFile } from '../../src/store/layout.ts'
import { parseRef } from '../../src/submit/books.ts'
import type { Books } from '../../src/submit/books.ts'
import { scanFrames } from '../../src/submit/frames.ts'
import type { LedgerRecord, RemovedRecord } from '../../src/submit/records.ts'
import { RememberedIds } from '../../src/submit/remembered-ids.ts'
import type { Inode } from './file-server.ts'
import type { Judge } from './judge.ts'
import type { Host } from './machine.ts'
import { follow, outcomeOf } from './trace.ts'
import type { Trace, Traces } from './trace.ts'
import { readTruth, root, summary } from './truth.ts'
import type { World } from './world.ts'

/** Times in records are cut to milliseconds, once or twice. */
const roundingMs = 5

const ledgerFile = new RegExp(`^${root}/ledger/[0-9]+/[0-9]+\\.(log|snapshot)$`)
/** Instance that has the file, instance that it adopted it from, name. */
const segmentPath = new RegExp(`^${root}/hosts/([^/]+)/(?:segments|adopted/([^/]+))/([^/.][^/]*)$`)

export class Removals {
  readonly #world: World
  readonly #judge: Judge
  readonly #hosts: readonly Host[]
  readonly #looksAtSnapshots: boolean
  readonly retentionMs: number
  /** Segments whose removal was written down, or was about to be. */
  readonly #announced = new Set<string>()
  /** When the first name of each went. */
  readonly #goneAtMs = new Map<string, number>()
  /** What was told of them when the ledger was about to become shorter. */
  readonly #kept: Traces = new Map()
  /** Segment → ids of jobs that were acknowledged on the strength of it. */
  readonly #acknowledged = new Map<string, string[]>()

  constructor(world: World, judge: Judge, hosts: readonly Host[], retentionMs: number) {
    this.#world = world
    this.#judge = judge
    this.#hosts = hosts
    this.retentionMs = retentionMs
    this.#looksAtSnapshots = Math.floor(world.seed / 100) % 4 === 0
    world.server.onUnlink = (path, node) => this.#unlinks(path, node)
  }

  acknowledges(segment: string, ids: readonly string[]): void {
    const known = this.#acknowledged.get(segment)
    if (known === undefined) this.#acknowledged.set(segment, [...ids])
    else known.push(...ids)
  }

  /** How far two wall clocks of hosts were ever apart. */
  get clockSpreadMs(): number {
    let low = Number.POSITIVE_INFINITY
    let high = Number.NEGATIVE_INFINITY
    for (const { wallAheadMs } of this.#hosts) {
      low = Math.min(low, wallAheadMs.low)
      high = Math.max(high, wallAheadMs.high)
    }
    return high - low
  }

  /** File operations of a submitter that tell what it writes to its ledger before it does. */
  watch(files: FileOperations): FileOperations {
    return {
      ...files,
      open: (path, mode) => (mode === 'new' && path.endsWith('.log') && ledgerFile.test(path) ? files.open(path, mode).then((file) => this.#watched(path, file)) : files.open(path, mode)),
    }
  }

  #watched(path: string, file: OpenFile): OpenFile {
    if (!path.endsWith('/0000000001.log')) this.#world.count('further files of a ledger')
    return {
      write: (bytes, position) => {
        this.#writes(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength))
        return file.write(bytes, position)
      },
      read: (into, position) => file.read(into, position),
      status: () => file.status(),
      sync: () => file.sync(),
      datasync: () => file.datasync(),
      close: () => file.close(),
    }
  }

  #writes(bytes: Buffer): void {
    if (!bytes.includes('"k":"removed"') && !bytes.includes('"k":"trimmed"')) return
    scanFrames(bytes, (value) => {
      const record = value as LedgerRecord
      if (record.k === 'removed') this.#announce(record)
      // Before it is on stable storage, and not from a promise's reaction.
      else if (record.k === 'trimmed') this.#world.time.after(0, null, () => this.#keep())
    })
  }

  #announce({ instance, segments }: RemovedRecord): void {
    for (const [first, last] of segments) {
      for (let number = first; number <= last; number += 1) {
        this.#announced.add(`${instance}/${number}`)
        this.#world.count('segments removed')
      }
    }
  }

  /** What the ledger tells of removed segments may be gone soon. */
  #keep(): void {
    const told: Traces = new Map()
    const truth = readTruth(this.#world, { onRecord: (record) => follow(told, record) })
    if (typeof truth === 'string') this.#world.violate('the ledger can be read', truth)
    else this.#keepFrom(told)
  }

  #keepFrom(told: Traces): void {
    for (const of of this.#announced) {
      if (this.#kept.has(of)) continue
      const traces = told.get(of)
      if (traces !== undefined) this.#kept.set(of, traces)
      else this.#world.violate('nothing unfinished is removed', `${of} is removed, and the ledger doesn't tell what became of it`)
    }
  }

  /** Everything that was ever told; `told` is what the ledger tells now, and `books` what it adds up to. Looks at each removal. */
  complete(told: Traces, books: Books): Traces {
    this.#keepFrom(told)
    const traces: Traces = new Map(this.#kept)
    for (const [of, found] of told) {
      const { instance, number } = parseRef(of)
      if (books.segments.has(of) || books.setAside.has(of) || books.finished.get(instance, number) !== undefined) traces.set(of, found)
      else if (!traces.has(of)) this.#world.violate('nothing unfinished is removed', `the books forget ${of}, and no ledger has said so`)
    }
    for (const [of, atMs] of this.#goneAtMs) for (const trace of traces.get(of) ?? []) this.#settled(of, trace, atMs)
    for (const [of, ids] of this.#acknowledged) {
      if (!this.#goneAtMs.has(of)) continue
      const missing = ids.find((id) => traces.get(of)?.some((trace) => trace.id === id) !== true)
      if (missing !== undefined) this.#world.violate('nothing unfinished is removed', `${of} is gone with ${missing}, which was accepted in it and never admitted`)
    }
    return traces
  }

  /** A name is about to go. */
  #unlinks(path: string, node: Inode): void {
    const found = segmentPath.exec(path)
    if (found !== null) this.#unlinksSegment(found[2] ?? found[1]!, found[3]!, node, found[2] !== undefined)
    else if (ledgerFile.test(path)) this.#unlinksLedger(path)
  }

  #unlinksSegment(instance: string, file: string, { links, size }: Inode, adopted: boolean): void {
    const parsed = parseSegmentFile(file)
    if (parsed === null || parseInstance(instance) === null) return
    const of = `${instance}/${parsed.number}`
    // It is sealed; or was, and was created anew by a late request; or nobody was told that anything in it was accepted, and then
    // what another made of it may go as well: its owner may have removed it after it was adopted.
    const unheard = !this.#acknowledged.has(of)
    if (parsed.kind === 'part' && (links > 1 || size === 0 || unheard)) return
    if (adopted && unheard) return
    const world = this.#world
    world.count('files of finished segments removed')
    if (!this.#announced.has(of)) world.violate('nothing unfinished is removed', `${file} of ${of} goes, and no ledger has said so`)
    else if (!this.#goneAtMs.has(of)) this.#goneAtMs.set(of, world.time.now)
  }

  /** By what clusters had when it went, whatever any leader believed. */
  #settled(of: string, trace: Trace, goneAtMs: number): void {
    const world = this.#world
    const known = this.#judge.jobs.get(trace.id)
    const outcome = outcomeOf(trace)
    // The job itself is in another segment, whatever has become of it there.
    if (outcome === 'duplicate') return
    const done = (outcome === 'receipt' || outcome === 'submitted') && trace.due.size === 0
    if (known === undefined || known.taken === 0 || known.takenAtMs > goneAtMs || !done) {
      const due = trace.due.size > 0 ? `, still to be ${[...trace.due].join(', ')}` : ''
      world.violate('nothing unfinished is removed', `${of} is gone with ${trace.id}: ${trace.steps.join(' ')}${due}; its cluster has it ${known?.taken ?? 0} times`)
      return
    }
    const agoMs = goneAtMs - known.takenAtMs
    if (agoMs < this.retentionMs - this.clockSpreadMs - roundingMs) {
      world.violate('nothing is removed before its time', `${of} went with ${trace.id}, which its cluster had taken ${Math.round(agoMs)} ms before`)
    }
  }

  #unlinksLedger(path: string): void {
    const world = this.#world
    const isSnapshot = path.endsWith('.snapshot')
    world.count(isSnapshot ? 'snapshots removed' : 'files of the ledger removed')
    // There are ten times as many of these, and looking is dear.
    if (isSnapshot && !this.#looksAtSnapshots) return
    const createIds = (): RememberedIds => new RememberedIds(new native.SeenIds(), this.retentionMs)
    const [before, after] = [readTruth(world, { createIds }), readTruth(world, { createIds, without: path })]
    const [was, is] = [before, after].map((truth) => (typeof truth === 'string' ? truth : `${truth.ids?.seen.size} ids, ${summary(truth.books)}`))
    if (was !== is) world.violate('what is removed from the ledger changes nothing', `without ${path} ${was} becomes ${is}`)
  }
}
