// The checks can fail: with any one protection turned off the simulator finds that invariant broken which it is for, and with
// all of them on the same seeds hold.
import { beforeAll, describe, expect, it } from 'vitest'
import { hearRejections, judged } from './judged.ts'
import regressions from './regressions.json' with { type: 'json' }
import { limits, optionsOf, switches } from './switches.ts'
import type { Switch } from './switches.ts'

beforeAll(hearRejections)

/** The first seed that breaks what the protection is for; null: none of those that are tried. */
const search = async (one: Switch): Promise<{ seed: number; invariant: string } | null> => {
  for (let seed = one.from; seed < one.from + one.seeds; seed += 1) {
    const { violation } = await judged(optionsOf(one, seed, false))
    if (violation !== null && one.breaks.includes(violation.invariant)) return { seed, invariant: violation.invariant }
  }
  return null
}

describe('the simulator', () => {
  it('does the same again from the same seed', async () => {
    for (let seed = 1; seed <= 20; seed += 1) {
      const first = await judged({ seed })
      const second = await judged({ seed, verbose: true })
      expect(second.digest, `seed ${seed}`).toBe(first.digest)
    }
  })

  for (const one of switches) {
    it(`finds what this protection is for without it: ${one.name}`, async () => {
      const found = await search(one)
      expect(found, `${one.instead}: none of ${one.seeds} seeds from ${one.from} breaks ${one.breaks.join(' or ')}`).not.toBeNull()
      const { violation } = await judged(optionsOf(one, found!.seed, true))
      expect(violation, `seed ${found!.seed} with the protection on`).toBeNull()
    })
  }

  for (const one of limits) {
    it(`sees what lies beyond what is promised: ${one.name}`, async () => {
      expect(await search(one), `${one.instead}: none of ${one.seeds} seeds from ${one.from} breaks ${one.breaks.join(' or ')}`).not.toBeNull()
    })
  }

  it('holds on every seed that once broke an invariant', async () => {
    for (const { seed, what } of regressions as { seed: number; what: string }[]) {
      const { violation } = await judged({ seed })
      expect(violation, `seed ${seed}: ${what}`).toBeNull()
    }
  })
})
