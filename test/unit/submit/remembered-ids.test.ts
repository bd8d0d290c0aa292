// What is remembered of ids when there is less memory than ids.
import { describe, expect, it } from 'vitest'
import { native } from '../../../src/base/native.ts'
import { RememberedIds } from '../../../src/submit/remembered-ids.ts'

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
})
