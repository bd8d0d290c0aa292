// Snapshots as files, `ledger/<term>/<number>.snapshot`: found, probed and read. A file that a crash cut short has no last
// record and counts for nothing. Never reads more than a few MiB at a time.

import { UsherError } from '../base/errors.ts'
import { snapshotName } from '../store/layout.ts'
import type { Store } from '../store/store.ts'
import type { Books } from './books.ts'
import { decodeFrame, frameLength } from './frames.ts'
import type { LedgerRecord, SnapshotRef } from './records.ts'
import type { RememberedIds } from './remembered-ids.ts'
import { restore, snapshotFormat } from './snapshot.ts'
import type { SnapshotEnd, SnapshotHead, SnapshotRecord } from './snapshot.ts'

export interface SnapshotFile {
  readonly ref: SnapshotRef
  readonly head: SnapshotHead
  readonly end: SnapshotEnd
  readonly bytes: number
}

const atOnce = 4 * 1024 * 1024
const headBytes = 64 * 1024
/** The last record is shorter. */
const tailBytes = 512

/** How a file begins. */
export interface Head {
  /** Null: it isn't whole. */
  readonly first: LedgerRecord | SnapshotRecord | null
  /** All of the file, where it is small: it need not be read again. */
  readonly whole: Buffer | null
}

/** How a file of the ledger, or a snapshot, begins, with its first record however long. */
export const readHead = async (store: Store, name: string): Promise<Head> => {
  const bytes = await store.readRange(name, 0, headBytes)
  // Not the memory of a large reading for what is mostly little.
  const whole = bytes.length < headBytes ? Buffer.from(bytes) : null
  const length = frameLength(bytes, 0)
  if (length === null) return { first: null, whole }
  const record = decodeFrame<LedgerRecord | SnapshotRecord>(length <= bytes.length || whole !== null ? bytes : await store.readRange(name, 0, length), 0)
  return { first: record?.value ?? null, whole }
}

/** Looks at both ends of a snapshot. Null: it isn't whole, or of a format that this version doesn't know. */
export const probeSnapshot = async (store: Store, ref: SnapshotRef): Promise<SnapshotFile | null> => {
  const name = snapshotName(ref.term, ref.number)
  const tail = await store.readTail(name, tailBytes)
  const start = tail.lastIndexOf(0x0a, tail.length - 2) + 1
  const end = decodeFrame<SnapshotRecord>(tail, start)
  if (end === null || end.next !== tail.length || end.value.k !== 'end') return null
  const { first: head } = await readHead(store, name)
  if (head?.k !== 'snapshot' || head.format !== snapshotFormat || head.term !== ref.term || head.number !== ref.number) return null
  return { ref, head, end: end.value, bytes: end.value.at + tail.length - start }
}

/** Reads a snapshot into empty books, and the ids where they are wanted. Throws (ledger_corrupt) where it is damaged. */
export const loadSnapshot = async (store: Store, { ref, end }: SnapshotFile, books: Books, ids: RememberedIds | null): Promise<void> => {
  await readRecords(store, snapshotName(ref.term, ref.number), 0, ids === null ? end.ids : end.at, (record) => {
    if (record.k === 'snapshot') return true
    if (record.k === 'end') return false
    if (record.k !== 'ids' && record.k !== 'generation') restore(books, record)
    else return ids?.load(record) ?? true
    return true
  })
}

const readRecords = async (store: Store, name: string, from: number, to: number, onRecord: (record: SnapshotRecord) => boolean): Promise<void> => {
  const damaged = (at: number): UsherError =>
    new UsherError('ledger_corrupt', `${name} is damaged at byte ${at}: a record of it doesn't check any more`, { details: { name, offset: at } })
  let at = from
  let size = atOnce
  while (at < to) {
    const bytes = await store.readRange(name, at, Math.min(size, to - at))
    let offset = 0
    for (;;) {
      const frame = decodeFrame<SnapshotRecord>(bytes, offset)
      if (frame === null) break
      if (!onRecord(frame.value)) throw damaged(at + offset)
      offset = frame.next
    }
    const length = frameLength(bytes, offset)
    // Only the end of what was read may cut a record, and the next reading must take in the whole of it.
    if (offset < bytes.length && (length === null ? bytes.length - offset >= 9 : length <= bytes.length - offset)) throw damaged(at + offset)
    if (offset === 0 && size >= (length ?? 0)) throw damaged(at)
    size = Math.max(atOnce, length ?? 0)
    at += offset
  }
}
