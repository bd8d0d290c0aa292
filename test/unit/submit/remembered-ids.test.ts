// What is remembered of ids when there is less memory than ids.
import { describe, expect, it } from 'vitest'
import { native } from '../../../src/base/native.ts'
import { RememberedIds } from '../../../src/submit/remembered-ids.ts'
import type { IdsRecord } from '../../../src/submit/snapshot.ts'

const dayMs = 86_400_000
const batch = 1000

describe('remembered ids', () => {
  it('forget the oldest digests when they have no room, long before the retention is over, and no id ever', () => {
    const bytesMax = 1024 * 1024
    const ids = new RememberedIds(new native.SeenIds(), 7 * dayMs, bytesMax)
    const admit = (first: number, digest: bigint): Uint8Array =>
      ids.seen.admit(
        new BigUint64Array(batch).fill(7n),
        BigUint64Array.from({ length: batch }, (_, at) => BigInt(first + at)),
        new BigUint64Array(batch).fill(digest),
      )
    const count = 400_000
    for (let first = 0; first < count; first += batch) {
      expect(admit(first, 1n).every((verdict) => verdict === 0)).toBe(true)
      ids.tick(dayMs)
      while (ids.forgetSome());
    }
    expect(ids.seen.size).toBe(count)
    // Eight times as much without the bound.
    expect(ids.seen.bytes).toBeLessThan(1.5 * bytesMax)
    const oldest = admit(0, 2n)
    const newest = admit(count - batch, 2n)
    expect(oldest.every((verdict) => verdict === 1)).toBe(true)
    expect(newest.every((verdict) => verdict === 2)).toBe(true)
  })

  it('remember the content of what was admitted after a long time without a tick', () => {
    const ids = new RememberedIds(new native.SeenIds(), dayMs)
    const admit = (wallMs: number, sequence: bigint, digest: bigint): number =>
      ids.admit(wallMs, BigUint64Array.of(7n), BigUint64Array.of(sequence), BigUint64Array.of(digest))[0]!
    ids.tick(dayMs)
    admit(4 * dayMs, 1n, 1n)
    ids.tick(4 * dayMs + 1)
    while (ids.forgetSome());
    expect(admit(4 * dayMs + 1, 1n, 2n)).toBe(2)
  })

  it('are never older for who loads them than they were, however long the saving took', () => {
    const ids = new RememberedIds(new native.SeenIds(), dayMs)
    const admit = (to: RememberedIds, wallMs: number, digest: bigint): number =>
      to.admit(wallMs, BigUint64Array.of(7n), BigUint64Array.of(1n), BigUint64Array.of(digest))[0]!
    const loaded = new RememberedIds(new native.SeenIds(), dayMs)
    ids.tick(dayMs)
    admit(ids, 2 * dayMs, 1n)
    // Half a retention goes by after the first record.
    const saving = ids.save(1024)
    const first = saving.next().value as IdsRecord
    ids.tick(2.5 * dayMs)
    for (const record of [first, ...saving]) expect(loaded.load(record)).toBe(true)
    loaded.tick(2.75 * dayMs)
    while (loaded.forgetSome());
    expect(admit(loaded, 2.75 * dayMs, 2n)).toBe(2)
  })
})
