// The ledger's frame: torn tails at every byte, damage told from tearing.
import { describe, expect, it } from 'vitest'
import { encodeFrame, scanFrames } from '../../../src/submit/frames.ts'
import type { Frames } from '../../../src/submit/frames.ts'
import { countOf, indexesOf, parseForBooks, runsOf } from '../../../src/submit/records.ts'
import type { LedgerRecord } from '../../../src/submit/records.ts'

const decodeLedger = (bytes: Buffer): Frames & { records: LedgerRecord[] } => {
  const records: LedgerRecord[] = []
  return { ...scanFrames(bytes, (value) => records.push(value as LedgerRecord)), records }
}

const record = (index: number): LedgerRecord => ({
  k: 'intent',
  term: 3,
  at: '2026-11-23T04:00:00.000Z',
  of: 'h-20261123T040000-3fa9c1/1',
  cluster: 'größe',
  jobs: [[index, index + 1]],
})

const fileOf = (count: number): { bytes: Buffer; ends: number[] } => {
  const parts: Buffer[] = []
  const ends: number[] = []
  let length = 0
  for (let index = 0; index < count; index += 1) {
    // Each is synced before the next is made.
    const bytes = encodeFrame(record(index), length)
    parts.push(bytes)
    length += bytes.length
    ends.push(length)
  }
  return { bytes: Buffer.concat(parts), ends }
}

describe('ledger records', () => {
  it('reads back what was written', () => {
    const { bytes } = fileOf(5)
    const read = decodeLedger(bytes)
    expect(read.records).toEqual([0, 1, 2, 3, 4].map(record))
    expect(read).toMatchObject({ bytes: bytes.length, torn: 0, damagedAt: null })
  })

  it('keeps the whole records of a file torn at any byte', () => {
    const { bytes, ends } = fileOf(3)
    for (let cut = 0; cut <= bytes.length; cut += 1) {
      const read = decodeLedger(bytes.subarray(0, cut))
      expect(read.records.length).toBe(ends.filter((end) => end <= cut).length)
      expect(read.damagedAt).toBeNull()
    }
  })

  it('takes a tail of zeroes or garbage for torn', () => {
    const { bytes } = fileOf(2)
    for (const tail of [Buffer.alloc(4096), Buffer.from('garbage\n\n00000001 00000000 \n')]) {
      const read = decodeLedger(Buffer.concat([bytes, tail]))
      expect(read.records.length).toBe(2)
      expect(read.damagedAt).toBeNull()
    }
  })

  it('reports a flipped bit in any byte that was on stable storage', () => {
    const { bytes, ends } = fileOf(3)
    for (let at = 0; at < ends[1]!; at += 1) {
      const damaged = Buffer.from(bytes)
      damaged[at]! ^= 0x10
      const read = decodeLedger(damaged)
      expect(read.damagedAt, `byte ${at}`).not.toBeNull()
    }
  })

  it('takes a gap within the last unsynced group for torn', () => {
    const { bytes } = fileOf(1)
    // Two records of one group: neither knew the other to be on stable storage.
    const first = encodeFrame(record(1), bytes.length)
    const second = encodeFrame(record(2), bytes.length)
    const read = decodeLedger(Buffer.concat([bytes, Buffer.alloc(first.length), second]))
    expect(read.records.length).toBe(1)
    expect(read.damagedAt).toBeNull()
  })

  it('gives the books a receipt without the names that nothing hangs on, whatever is in them, and all else as it is', () => {
    const base = { k: 'receipt', of: 'a/1', jobs: [[0, 3]] }
    const after = { found: true, detail: '"ids":["x"],', term: 3, at: 'now' }
    for (const ids of [[], ['7'], [null, '8', null], ['4711_[1-5]', 'a"b', 'c\\\\', '],"ids":["y"],', 'größe']]) {
      expect(parseForBooks(JSON.stringify({ ...base, ids, ...after }))).toEqual({ ...base, ...after })
      const kept = { ...base, ids, held: true, ...after }
      expect(parseForBooks(JSON.stringify(kept))).toEqual(kept)
    }
    expect(parseForBooks(JSON.stringify({ ...base, term: 3 }))).toEqual({ ...base, term: 3 })
    expect(parseForBooks(JSON.stringify(record(1)))).toEqual(record(1))
  })

  it('turns indexes into runs and back', () => {
    expect(runsOf([5, 1, 2, 3, 9])).toEqual([[1, 3], [5, 5], [9, 9]])
    expect([...indexesOf([[1, 3], [9, 9]])]).toEqual([1, 2, 3, 9])
    expect(countOf([[1, 3], [9, 9]])).toBe(4)
  })
})
