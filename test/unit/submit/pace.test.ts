// How many calls at a time: against a model of a cluster that works on a few at once and lets the others wait.
import { describe, expect, it } from 'vitest'
import { Pace } from '../../../src/submit/pace.ts'
import type { Call } from '../../../src/submit/pace.ts'
import { seeded, seedOf } from '../../support/random.ts'

interface Model {
  /** Calls that the cluster works on at once, and how long each takes then. */
  workers: number
  serviceMs: number
  /** More calls than these under way are pushed back. */
  roomFor: number
}

/** Calls of a dispatcher that always has more. Returns calls taken a second, and the limits that there were. */
const simulate = (pace: Pace, model: Model, nowMs: number, forMs: number, random: () => number) => {
  const events: { atMs: number; call: Call; taken: boolean }[] = []
  const freeAtMs = Array.from({ length: model.workers }, () => nowMs)
  const limits: number[] = []
  let taken = 0
  let most = 0
  const end = nowMs + forMs
  const fill = (): void => {
    while (pace.hasRoom) {
      const call = pace.begin(nowMs, 1)
      most = Math.max(most, pace.underWay)
      if (pace.underWay > model.roomFor) {
        events.push({ atMs: nowMs + 1, call, taken: false })
        continue
      }
      const worker = freeAtMs.indexOf(Math.min(...freeAtMs))
      const doneMs = Math.max(nowMs, freeAtMs[worker]!) + model.serviceMs * (0.7 + 0.6 * random())
      freeAtMs[worker] = doneMs
      events.push({ atMs: doneMs, call, taken: true })
    }
  }
  for (fill(); nowMs < end; fill()) {
    events.sort((a, b) => a.atMs - b.atMs)
    const next = events.shift()!
    nowMs = next.atMs
    pace.end(next.call, nowMs, next.taken)
    if (next.taken) taken += 1
    limits.push(pace.limit)
  }
  for (const { call, atMs } of events) pace.end(call, atMs, true)
  return { nowMs, perSecond: (taken * 1000) / forMs, limits: limits.slice(limits.length / 2), most }
}

const seed = seedOf()
const anywhere = { roomFor: Number.POSITIVE_INFINITY, serviceMs: 5 }

describe('the pace of calls', () => {
  it.each([1, 2, 4, 8, 16])('finds enough calls for a cluster that works on %i at once, and few more', (workers) => {
    const { perSecond, limits } = simulate(new Pace(64), { ...anywhere, workers }, 0, 60_000, seeded(seed))
    expect(perSecond, `seed ${seed}`).toBeGreaterThan(0.9 * workers * 200)
    expect(Math.max(...limits), `seed ${seed}`).toBeLessThanOrEqual(workers * 2 + 12)
  })

  it('halves what it sends to a cluster that pushes back, once for all calls of that time, and tries again', () => {
    const pace = new Pace(64)
    const { limits, perSecond } = simulate(pace, { workers: 64, serviceMs: 5, roomFor: 12 }, 0, 60_000, seeded(seed))
    expect(Math.max(...limits)).toBeLessThanOrEqual(14)
    expect(Math.min(...limits)).toBeGreaterThanOrEqual(6)
    expect(perSecond, `seed ${seed}`).toBeGreaterThan(0.5 * 12 * 200)
    const calls = Array.from({ length: pace.limit }, () => pace.begin(1e6, 1))
    expect(calls.map((call) => pace.end(call, 1e6 + 5, false)).filter(Boolean)).toHaveLength(1)
  })

  it('comes down to one call at a time, never to none, and grows again when the cluster is well', () => {
    const pace = new Pace(8)
    for (let at = 0; at < 20; at += 1) pace.end(pace.begin(at * 1000, 1), at * 1000 + 500, false)
    expect(pace.limit).toBe(1)
    const { limits } = simulate(pace, { ...anywhere, workers: 8 }, 1e6, 10_000, seeded(seed))
    expect(limits.at(-1)).toBe(8)
  })

  it('follows a cluster that becomes slower and faster', () => {
    const pace = new Pace(64)
    const random = seeded(seed)
    let { nowMs } = simulate(pace, { ...anywhere, workers: 4 }, 0, 60_000, random)
    for (const [serviceMs, workers] of [[50, 4], [5, 4], [5, 12], [5, 2]] as const) {
      const result = simulate(pace, { ...anywhere, serviceMs, workers }, nowMs, 90_000, random)
      nowMs = result.nowMs
      expect(result.perSecond, `seed ${seed}: ${serviceMs} ms, ${workers}`).toBeGreaterThan((0.8 * workers * 1000) / serviceMs)
    }
  })

  it('never lets through more than the driver allows', () => {
    expect(simulate(new Pace(3), { ...anywhere, workers: 50 }, 0, 5000, seeded(seed)).most).toBe(3)
    expect(simulate(new Pace(1), { ...anywhere, workers: 50 }, 0, 5000, seeded(seed)).most).toBe(1)
  })
})
