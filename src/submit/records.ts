// What the ledger holds: the records and their frame. Each record is one line:
//
//   LLLLLLLL CCCCCCCC DDDDDDDDDDDD {json}\n
//
// L: bytes of the JSON, C: CRC-32C of "DDDDDDDDDDDD {json}", D: bytes of this file known to be on stable
// storage when the record was made; all hexadecimal, lower case. A record that doesn't check with a later
// one whose D covers it is damage; one without is the torn tail of a crash, and what follows it was
// never synced: an unsynced intent was never submitted, an unsynced receipt is asked for again.
//
// Jobs are named by segment and runs of indexes in it: [[first, last], …], both inclusive.

import { native } from '../base/native.ts'

export type Runs = readonly (readonly [number, number])[]

export interface Author {
  readonly host: string
  readonly instance: string
  readonly pid: number
  readonly version: string
  readonly config: string
}

interface Base {
  readonly term: number
  /** ISO 8601, the leader's wall clock: for people, never compared. */
  readonly at: string
}

/** About jobs of one segment. */
interface OfSegment extends Base {
  /** `<instance>/<number>` */
  readonly of: string
}

interface OfJobs extends OfSegment {
  readonly jobs: Runs
}

/** How much of a file holds whole records. */
export interface LedgerExtent {
  readonly term: number
  readonly file: number
  readonly bytes: number
}

/** The first record of every file. */
export interface OpenRecord extends Base {
  readonly k: 'open'
  readonly store: string
  readonly by: Author
  /** In a term's first file: what was read of earlier terms. Bytes beyond came late, and don't count. */
  readonly read?: readonly LedgerExtent[]
}

/** A segment was read, its ids compared with all seen before. Precedes everything about its jobs. */
export interface AdmitRecord extends OfSegment {
  readonly k: 'admit'
  readonly count: number
  readonly clusters: Readonly<Record<string, number>>
  /** Runs of ids in the order of the segment: producer (16 hex digits), first sequence (decimal), how many. */
  readonly ids: readonly (readonly [string, string, number])[]
  /** Base64 of the 8-byte digests, little-endian, in the order of the segment. */
  readonly digests: string
  /** Accepted before with the same content: the producer resent them. */
  readonly duplicates?: Runs
  /** Accepted before with another content. */
  readonly conflicts?: Runs
}

/** A segment that can't be transformed. */
export interface AsideRecord extends OfSegment {
  readonly k: 'aside'
  readonly count: number
  readonly reason: string
}

/** Every segment up to `last` of an instance that is gone has been admitted or set aside. */
export interface GoneRecord extends Base {
  readonly k: 'gone'
  readonly instance: string
  readonly last: number
}

/** About to be handed to the cluster: on stable storage before the cluster hears of it. */
export interface IntentRecord extends OfJobs {
  readonly k: 'intent'
  readonly cluster: string
}

export interface ReceiptRecord extends OfJobs {
  readonly k: 'receipt'
  /** The cluster's names for the jobs, in their order; left out where it gives none. */
  readonly ids?: readonly (string | null)[]
  /** Learnt by asking the cluster, not from its answer to the submission. */
  readonly found?: true
  /** Submitted on hold: to be released. */
  readonly held?: true
  /** The cluster may forget it: to be confirmed. */
  readonly unconfirmed?: true
  /** The driver will tell how it ends. */
  readonly unended?: true
  readonly detail?: string
}

/** Refused for good: dead letters. */
export interface RefusedRecord extends OfJobs {
  readonly k: 'refused'
  readonly reason: string
}

/** Certainly not taken; will be tried again. */
export interface LaterRecord extends OfJobs {
  readonly k: 'later'
  readonly reason: string
}

export interface DoubtRecord extends OfJobs {
  readonly k: 'doubt'
  readonly reason: string
}

/** Proven: the cluster doesn't have them. Submitted again. */
export interface AbsentRecord extends OfJobs {
  readonly k: 'absent'
}

/** Proven: the cluster has lost what it had acknowledged. Submitted again. */
export interface ForgottenRecord extends OfJobs {
  readonly k: 'forgotten'
}

export interface ReleasedRecord extends OfJobs {
  readonly k: 'released'
}

export interface ConfirmedRecord extends OfJobs {
  readonly k: 'confirmed'
}

/** How a job ended at the cluster. */
export interface EndedRecord extends OfJobs {
  readonly k: 'ended'
  readonly ends: readonly {
    readonly exitCode: number | null
    readonly signal: string | null
    readonly startedAt: string | null
    readonly endedAt: string
    readonly reason: string
  }[]
}

/** An operator's decision on dead letters or jobs in doubt. */
export interface DecisionRecord extends OfJobs {
  readonly k: 'decision'
  readonly request: string
  /** retry: dead → waiting. discard: dead → discarded. submitted | absent: in doubt → submitted | waiting. */
  readonly as: 'retry' | 'discard' | 'submitted' | 'absent'
  readonly by: string
  readonly jobId?: string
}

/** A request of an operator was carried out (or could not be): its file may go. */
export interface RequestRecord extends Base {
  readonly k: 'request'
  readonly request: string
  readonly result: string
  /** Jobs that were named and are not in a state to be decided on. */
  readonly unfit?: readonly string[]
}

export type LedgerRecord =
  | OpenRecord
  | AdmitRecord
  | AsideRecord
  | GoneRecord
  | IntentRecord
  | ReceiptRecord
  | RefusedRecord
  | LaterRecord
  | DoubtRecord
  | AbsentRecord
  | ForgottenRecord
  | ReleasedRecord
  | ConfirmedRecord
  | EndedRecord
  | DecisionRecord
  | RequestRecord

/** Records that name single jobs of a segment. */
export type JobsRecord = Extract<LedgerRecord, { jobs: Runs }>

export const isJobsRecord = (record: LedgerRecord): record is JobsRecord => 'jobs' in record

const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, '0')
const prefixBytes = 8 + 1 + 8 + 1
const durableBytes = 12 + 1

export const encodeRecord = (record: LedgerRecord, durable: number): Buffer => {
  const json = Buffer.from(JSON.stringify(record))
  const line = Buffer.allocUnsafe(prefixBytes + durableBytes + json.length + 1)
  line.write(`${hex(durable, 12)} `, prefixBytes, 'latin1')
  json.copy(line, prefixBytes + durableBytes)
  line[line.length - 1] = 0x0a
  const crc = native.crc32c(line.subarray(prefixBytes, line.length - 1))
  line.write(`${hex(json.length, 8)} ${hex(crc, 8)} `, 0, 'latin1')
  return line
}

const hexAt = (bytes: Buffer, offset: number, digits: number): number => {
  const text = bytes.toString('latin1', offset, offset + digits)
  return /^[0-9a-f]+$/.test(text) && bytes[offset + digits] === 0x20 ? Number.parseInt(text, 16) : -1
}

interface Decoded {
  readonly record: LedgerRecord
  readonly durable: number
  readonly next: number
}

const decodeAt = (bytes: Buffer, offset: number): Decoded | null => {
  const body = offset + prefixBytes
  if (body + durableBytes + 1 > bytes.length) return null
  const length = hexAt(bytes, offset, 8)
  const crc = hexAt(bytes, offset + 9, 8)
  const end = body + durableBytes + length
  if (length < 0 || crc < 0 || end >= bytes.length || bytes[end] !== 0x0a) return null
  if (native.crc32c(bytes.subarray(body, end)) !== crc) return null
  const durable = hexAt(bytes, body, 12)
  if (durable < 0) return null
  return { record: JSON.parse(bytes.toString('utf8', body + durableBytes, end)) as LedgerRecord, durable, next: end + 1 }
}

export interface LedgerFile {
  readonly records: LedgerRecord[]
  /** Bytes that hold them. */
  readonly bytes: number
  /** Bytes after them that hold nothing whole: a crash's torn tail, or a write in progress. */
  readonly torn: number
  /** Offset of a record that was on stable storage once and doesn't check any more; null: none. */
  readonly damagedAt: number | null
}

/** Reads one ledger file up to its torn tail. Never throws on content. */
export const decodeLedger = (bytes: Buffer): LedgerFile => {
  const records: LedgerRecord[] = []
  let offset = 0
  for (;;) {
    const decoded = decodeAt(bytes, offset)
    if (decoded === null) break
    records.push(decoded.record)
    offset = decoded.next
  }
  // A record behind the gap proves damage when it knew the gap to be on stable storage. It is looked for everywhere, since
  // neither the length nor the line feed of the damaged one can be trusted.
  let damagedAt: number | null = null
  if (offset < bytes.length) {
    for (const { index } of bytes.toString('latin1', offset).matchAll(/[0-9a-f]{8} [0-9a-f]{8} [0-9a-f]{12} \{/g)) {
      const later = decodeAt(bytes, offset + index)
      if (later === null || later.durable <= offset) continue
      damagedAt = offset
      break
    }
  }
  return { records, bytes: offset, torn: bytes.length - offset, damagedAt }
}

/** Indexes → runs. They need not be in order. */
export const runsOf = (indexes: readonly number[]): [number, number][] => {
  const sorted = [...indexes].sort((a, b) => a - b)
  const runs: [number, number][] = []
  for (const index of sorted) {
    const last = runs.at(-1)
    if (last !== undefined && index === last[1] + 1) last[1] = index
    else runs.push([index, index])
  }
  return runs
}

export const countOf = (runs: Runs): number => runs.reduce((sum, [first, last]) => sum + last - first + 1, 0)

export function* indexesOf(runs: Runs): Generator<number> {
  for (const [first, last] of runs) for (let index = first; index <= last; index += 1) yield index
}
