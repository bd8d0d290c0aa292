// The addon, typed. Loading it is the only place where `any` from native code is narrowed.
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { messageOf, UsherError } from './errors.ts'

/** A failure as the addon reports it: a value, so that it survives structured clone. */
export interface NativeFailure {
  readonly code: 'xml_malformed' | 'xml_forbidden' | 'schema_violated' | 'segment_corrupt'
  readonly reason: string
  /** 1-based; columns count bytes. 0 where not applicable. */
  readonly line: number
  readonly column: number
}

export interface TransformResult {
  readonly failure: NativeFailure | null
  /** JSON lines, one a job; empty on failure. */
  readonly jsonl: Buffer
  readonly jobs: number
}

export interface SegmentRecovery {
  /** Length in bytes of the longest prefix that ends with a true commit mark; 0 without one. */
  readonly bytes: number
  /** Jobs in that prefix. */
  readonly jobs: number
  /** The document ends as a sealed segment does: last mark true, then the closing tag. */
  readonly sealed: boolean
  /** A false mark with another mark behind it: damage, not a torn tail. */
  readonly corrupt: boolean
}

/** The columns of a .jsonl file. Every array has one entry a line, `offsets` one more. */
export interface LineIndex {
  readonly count: number
  readonly producers: BigUint64Array
  readonly sequences: BigUint64Array
  readonly digests: BigUint64Array
  /** Byte offsets of line starts; the last is the length of the data. */
  readonly offsets: Float64Array
  readonly clusters: readonly string[]
  /** Index into `clusters`. */
  readonly clusterOf: Uint16Array
}

/** Which ids have been seen, with which content; kept as runs per producer. */
export interface SeenIds {
  /** Adds what is new. Answers for each: 0 new, 1 seen with the same digest, 2 seen with another digest. */
  admit(producers: BigUint64Array, sequences: BigUint64Array, digests: BigUint64Array): Uint8Array
  /** Begins a generation: what is admitted from now on is younger than all before. */
  advance(): void
  /**
   * Forgets the digests (never the ids) of what is at least so many generations old, at most 63, looking at so many slots of
   * its table. An id without a digest is answered with 1. True: all slots have been looked at.
   */
  forget(age: number, slots: number): boolean
  /** What save() gives from now on is at least what is held now. */
  beginSave(): void
  /** The next piece, of little more than so many bytes; null when everything has been given. */
  save(bytes: number): Buffer | null
  /** Adds what a piece holds. False: it isn't one. */
  load(piece: Uint8Array): boolean
  /** Ids held. */
  readonly size: number
  /** Bytes of memory held. */
  readonly bytes: number
}

/** What goes wrong on purpose, for tests: the nth call of an operation (1-based) fails with errno, `times` times. */
export interface WriterFault {
  readonly operation: 'open' | 'write' | 'fdatasync' | 'close' | 'link' | 'syncdir'
  readonly nth: number
  readonly times: number
  readonly errno: number
}

export interface IngestOptions {
  /** hosts/<instance>/segments, existing. */
  readonly directory: string
  readonly store: string
  readonly host: string
  readonly instance: string
  readonly pid: number
  readonly version: string
  readonly config: string
  /** Names of the configured clusters. */
  readonly clusters: readonly string[]
  /** Used where a job names none; null: refuse with cluster_required. */
  readonly defaultCluster: string | null
  readonly frameBytesMax: number
  readonly frameJobsMax: number
  readonly jobBytesMax: number
  /** First credit of each connection, in bytes; at least frameBytesMax + 12. */
  readonly creditBytes: number
  readonly idleMs: number
  /** Threads that hold producers' connections. */
  readonly threads: number
  readonly connectionsMax: number
  readonly helloTimeoutMs: number
  readonly frameTimeoutMs: number
  /** Answers that a producer may leave unread. */
  readonly outputBytesMax: number
  /** XML waiting for its sync beyond which no more is read. */
  readonly uncommittedBytesMax: number
  /** All incomplete frames of all connections together. */
  readonly partialBytesMax: number
  /** A segment is sealed when it has reached this size … */
  readonly segmentBytesMax: number
  /** … or this age, or when nothing is waiting and the last sealing was at least sealIntervalMs ago. */
  readonly segmentAgeMs: number
  readonly sealIntervalMs: number
  /** Large commits go past the page cache, where the file system can. */
  readonly directIo: boolean
  /** Free bytes of the file system below which jobs are refused with store_full. */
  readonly reserveBytes: number
  /** Acks are only given within this time of the start of the last successful presence write. */
  readonly acceptLeaseMs: number
  /** How long after a failure the writer waits before it tries the store again. */
  readonly retryMs: number
  readonly faults?: readonly WriterFault[]
}

export interface PublishedSegment {
  readonly segment: number
  readonly jobs: number
  /** Size of the file. */
  readonly bytes: number
}

/** A batch of what happened since the last one; delivered on the JavaScript thread. */
export interface IngestEvents {
  /** Connections since the last event: accepted, and turned away because there were too many. */
  readonly opened: number
  readonly turnedAway: number
  /** Those that were told a code (docs/protocol.md) and closed; no more than a hundred, and how many more. */
  readonly cutOff: readonly { readonly connection: number; readonly code: number; readonly peer: string }[]
  readonly cutOffMore: number
  /** Connections can't be accepted, which is tried again; errno null: they can again; null: no change. */
  readonly listener: { readonly operation: string; readonly errno: string | null } | null
  /** The goodbye has been said, and the last connection has gone. */
  readonly emptied: boolean
  readonly published: readonly PublishedSegment[]
  /** Numbers given up after a failure. Where there is an `.xml.part`, its whole commits hold what was acknowledged. */
  readonly abandoned: readonly number[]
  /** Jobs acknowledged since the last event. */
  readonly accepted: number
  /** The writer began to fail; null: no change. Numbers of abandoned segments that hold no acknowledged job need nothing. */
  readonly failure: { readonly code: 'store_full' | 'store_failing'; readonly operation: string; readonly errno: string } | null
  /** The writer works again. */
  readonly recovered: boolean
  /** The accept lease had run out, at an ack or between two presence writes: nothing is acked any more. Start a new instance. */
  readonly retired: boolean
}

export interface IngestStats {
  readonly connections: number
  readonly acceptedJobs: number
  readonly refusedJobs: number
  readonly jobsBytes: number
  readonly uncommittedBytes: number
  readonly partialBytes: number
  readonly commits: number
  readonly segments: number
  /** Sum of fdatasync times, ms. */
  readonly syncMs: number
}

export interface Ingest {
  /** Accepts connections on a numeric address, once; port 0 takes any free one. Returns the port. Throws with an errno as code. */
  listen(address: string, port: number): number
  /** Accepts no more connections, refuses jobs with this code, and says so to everybody, once. Who stays is cut off after `withinMs`. */
  goodbye(code: number, reason: string, addresses: readonly string[], withinMs: number): void
  /** A presence write that began at this boot time (bootMs()) has succeeded. */
  presenceWritten(atBootMs: number): void
  stats(): IngestStats
  /** Commits and seals what there is, delivers the events, closes what is still connected, then calls back. */
  stop(done: () => void): void
}

/** Segments from file to file, one after the other, in memory that is kept between them. Throws with an errno as code. */
export interface SegmentTransform {
  /** Holds the whole file, which is open for reading; returns its bytes. `direct`: past the page cache, if it is large and can be. */
  read(fd: number, direct: boolean): number
  /** Of what is held: as recoverSegment. */
  recover(): SegmentRecovery
  /** The segment was never sealed: so many bytes of it count, and the closing tag that it lacks is added. */
  closeAfter(bytes: number): void
  /** Makes JSON lines of what is held; as transform. */
  run(): { readonly failure: NativeFailure | null; readonly jobs: number; readonly xmlBytes: number; readonly jsonBytes: number }
  /** Writes the lines from the beginning of a file that is open for writing, all of them. */
  write(fd: number): void
  /** Lets go of the segment and its lines. */
  clear(): void
}

export interface Native {
  crc32c(data: Uint8Array, seed?: number): number
  crc32cPortable(data: Uint8Array, seed?: number): number
  xxh64(data: Uint8Array): bigint
  /** CLOCK_BOOTTIME in milliseconds: goes on during suspend, never jumps. */
  bootMs(): number
  /** CLOCK_MONOTONIC and CLOCK_MONOTONIC_RAW at one moment: the clock that time synchronisation steers, and the hardware's. */
  clockReading(): { readonly steeredMs: number; readonly rawMs: number }
  /** SIGKILLs this process at that boot time, stopped or not. Arming again replaces it. */
  armDeadline(atBootMs: number): void
  disarmDeadline(): void
  /** A whole file, opened, read and closed in one go off the JavaScript thread. Rejects with an errno as the code. */
  readWhole(path: string): Promise<Buffer>
  /** All of the bytes from a position on, and fdatasync, in one go off the JavaScript thread. The error's syscall says what failed. */
  writeSynced(fd: number, bytes: Uint8Array, position: number): Promise<void>
  /** SO_LINGER with zero seconds on a socket: death or close discards what is queued. */
  abortOnClose(fd: number): void
  /** XML segment → JSON lines. Pure: the same bytes in give the same bytes out. */
  transform(xml: Uint8Array): TransformResult
  /** Finds the whole commits of a segment that may be torn. */
  recoverSegment(bytes: Uint8Array): SegmentRecovery
  indexLines(jsonl: Uint8Array): LineIndex
  readonly SegmentTransform: new () => SegmentTransform
  readonly SeenIds: new () => SeenIds
  readonly Ingest: new (options: IngestOptions, onEvents: (events: IngestEvents) => void) => Ingest
}

const load = (): Native => {
  const require = createRequire(import.meta.url)
  // From src/base and from dist/base alike, the package's root is two folders up.
  const root = fileURLToPath(new URL('../..', import.meta.url))
  try {
    const build = require('node-gyp-build') as (directory: string) => unknown
    return build(root) as Native
  } catch (error) {
    throw new UsherError('native_missing', `the addon can't be loaded: run 'npm run build:native' in ${root} (${messageOf(error)})`, { cause: error })
  }
}

export const native: Native = load()
