import { describe, expect, it } from 'vitest'
import { native } from '../../../src/base/native.ts'
import { allowedRate, ClockRate, describeRate, rateBetween, windowMs } from '../../../src/election/clock-rate.ts'

const margin = 0.1

/** A host whose steered clock goes at a rate that can be changed. */
const makeHost = () => {
  const reading = { steeredMs: 1e6, rawMs: 5e8 }
  const clock = new ClockRate(() => ({ ...reading }), margin)
  return {
    /** Looks every 500 ms of the hardware's clock. */
    run: (ms: number, rate: number): string | null => {
      let reason: string | null = null
      for (let at = 0; at < ms; at += 500) {
        reading.rawMs += 500
        reading.steeredMs += 500 * (1 + rate)
        reason = clock.look()
      }
      return reason
    },
  }
}

describe('the rate of a clock', () => {
  it('is allowed so far that the fastest allowed is no more than the margin faster than the slowest', () => {
    const allowed = allowedRate(margin)
    expect((1 + allowed) / (1 - allowed)).toBeCloseTo(1 + margin, 12)
  })

  it('is fine where time synchronisation does what it usually does', () => {
    for (const rate of [0, 5e-4, -5e-4, 0.04, -0.04]) expect(makeHost().run(60_000, rate), `${rate}`).toBeNull()
  })

  for (const [rate, text] of [[0.12, '12.0 % fast'], [-0.083, '8.3 % slow']] as const) {
    it(`is a reason not to lead when it is ${text}, and says what to do; and none any more when it is mended`, () => {
      const host = makeHost()
      expect(host.run(10_000, 0)).toBeNull()
      expect(host.run(windowMs, rate)).toMatch(new RegExp(`^this host's clock runs ${text} against its hardware clock, where leases allow 4\\.8 %: mend .*chronyc tracking`))
      // A window that was begun before counts for what was in it.
      host.run(windowMs, 0)
      expect(host.run(windowMs, 0)).toBeNull()
    })
  }

  it('is measured on this machine by two clocks read together', () => {
    const from = native.clockReading()
    const until = native.bootMs() + 200
    while (native.bootMs() < until);
    const to = native.clockReading()
    expect(to.rawMs - from.rawMs).toBeGreaterThan(190)
    const rate = rateBetween(from, to)
    expect(Math.abs(rate), describeRate(rate)).toBeLessThan(0.02)
  })
})
