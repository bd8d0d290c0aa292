import { describe, expect, it } from 'vitest'
import { decodeNudge, encodeNudge, nudgeBytes } from '../../../src/protocol/nudge.ts'

const store = 'e35691c8-27ce-4d87-bc4e-fb143225f199'

describe('a nudge', () => {
  it('has the bytes that docs/protocol.md gives', () => {
    expect(encodeNudge('claims', store).toString('hex')).toBe('5553484e01000100e35691c827ce4d87bc4efb143225f199')
    expect(encodeNudge('published', store).toString('hex')).toBe('5553484e01000200e35691c827ce4d87bc4efb143225f199')
  })

  it('says what was said', () => {
    for (const nudge of ['claims', 'published'] as const) expect(decodeNudge(encodeNudge(nudge, store), store)).toBe(nudge)
  })

  it('is nothing when it is cut, long, of another version, store or kind, or has any other bit changed', () => {
    const whole = encodeNudge('claims', store)
    for (let cut = 0; cut < nudgeBytes; cut += 1) expect(decodeNudge(whole.subarray(0, cut), store)).toBeNull()
    expect(decodeNudge(Buffer.concat([whole, Buffer.alloc(1)]), store)).toBeNull()
    expect(decodeNudge(whole, 'e35691c8-27ce-4d87-bc4e-fb143225f198')).toBeNull()
    for (let bit = 0; bit < nudgeBytes * 8; bit += 1) {
      const changed = Buffer.from(whole)
      changed[bit >> 3]! ^= 1 << (bit & 7)
      expect(decodeNudge(changed, store), `bit ${bit}`).toBeNull()
    }
  })
})
