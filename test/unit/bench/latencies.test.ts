import { describe, expect, it } from 'vitest'
import { Latencies } from '../../../src/bench/latencies.ts'
import { seeded, seedOf } from '../../support/random.ts'

describe('latencies', () => {
  it('have quantiles that are off by at most 1 % and a microsecond, from microseconds to hours', () => {
    const random = seeded(seedOf())
    const values = Array.from({ length: 5000 }, () => 10 ** (random() * 9.5 - 3)).sort((a, b) => a - b)
    const latencies = new Latencies()
    for (const value of values) latencies.add(value)
    for (const share of [0.01, 0.5, 0.9, 0.99, 0.999, 1]) {
      const exact = values[Math.ceil(values.length * share) - 1]!
      expect(latencies.at(share)).toBeGreaterThanOrEqual(exact)
      expect(latencies.at(share)).toBeLessThanOrEqual(exact * 1.01 + 0.002)
    }
  })

  it('count as many at once as they are told', () => {
    const latencies = new Latencies()
    latencies.add(1, 99)
    latencies.add(100)
    expect(latencies.at(0.99)).toBeLessThan(2)
    expect(latencies.at(0.995)).toBeGreaterThan(99)
  })

  it('are nothing where there are none', () => {
    expect(new Latencies().at(0.5)).toBe(0)
  })
})
