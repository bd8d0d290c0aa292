import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { changeMin, compareMeasure, compareRuns, isRatioLoss, mannWhitneyP, pMax } from '../../../src/bench/compare.ts'
import { type BenchResults, type Measure, median, readResults } from '../../../src/bench/results.ts'
import { compare } from '../../../src/cli/bench.ts'
import { run } from '../../../src/cli/program.ts'
import { seeded, seedOf } from '../../support/random.ts'
import { results } from './results.ts'

const measure = (rounds: readonly number[], better: Measure['better'] = 'higher'): Measure => ({ name: 'accept/usher', what: 'jobs', unit: 'jobs/s', better, rounds })

/** By its definition: every choice of which pooled values are the first run's. */
const slowP = (a: readonly number[], b: readonly number[]): number => {
  const pooled = [...a, ...b]
  /** How often the chosen are above the others, ties half. */
  const statistic = (chosen: ReadonlySet<number>): number => {
    let sum = 0
    for (let i = 0; i < pooled.length; i++) {
      for (let j = 0; j < pooled.length; j++) {
        if (chosen.has(i) && !chosen.has(j)) sum += pooled[i]! > pooled[j]! ? 1 : pooled[i] === pooled[j] ? 0.5 : 0
      }
    }
    return sum
  }
  const middle = (a.length * b.length) / 2
  const observed = Math.abs(statistic(new Set(a.keys())) - middle)
  let [all, asFar] = [0, 0]
  for (let bits = 0; bits < 1 << pooled.length; bits++) {
    const chosen = new Set(Array.from(pooled.keys()).filter((i) => (bits >> i) & 1))
    if (chosen.size !== a.length) continue
    all += 1
    if (Math.abs(statistic(chosen) - middle) >= observed) asFar += 1
  }
  return asFar / all
}

describe('the test for a difference', () => {
  it('has the values of published tables', () => {
    expect(mannWhitneyP([1, 2, 3, 4, 5], [6, 7, 8, 9, 10])).toBeCloseTo(2 / 252, 12)
    expect(mannWhitneyP([1, 3, 5, 7], [2, 4, 6, 8])).toBeCloseTo(48 / 70, 12)
    expect(mannWhitneyP([1, 2, 3], [4, 5, 6])).toBeCloseTo(2 / 20, 12)
    expect(mannWhitneyP([5, 5, 5], [5, 5, 5, 5])).toBe(1)
    expect(mannWhitneyP([], [1])).toBe(1)
  })

  it('is what its definition says for samples with ties and of different sizes', () => {
    const random = seeded(seedOf())
    const sample = (): number[] => Array.from({ length: 1 + Math.floor(random() * 5) }, () => Math.floor(random() * 6))
    for (let i = 0; i < 60; i++) {
      const [a, b] = [sample(), sample()]
      expect(mannWhitneyP(a, b), JSON.stringify([a, b])).toBeCloseTo(slowP(a, b), 12)
      expect(mannWhitneyP(b, a)).toBeCloseTo(mannWhitneyP(a, b), 12)
    }
  })
})

describe('a comparison', () => {
  it('tells a loss from a gain, by which way is better', () => {
    const [low, high] = [[90, 91, 92, 93, 94], [100, 101, 102, 103, 104]]
    expect(compareMeasure(measure(high), measure(low))).toMatchObject({ verdict: 'loss', before: 102, after: 92 })
    expect(compareMeasure(measure(low), measure(high)).verdict).toBe('gain')
    expect(compareMeasure(measure(low, 'lower'), measure(high, 'lower')).verdict).toBe('loss')
    expect(compareMeasure(measure(high, 'lower'), measure(low, 'lower')).verdict).toBe('gain')
  })

  it('says nothing of what is too small, though it is no chance', () => {
    const factor = 1 + changeMin / 2
    const rounds = [100, 100.1, 100.2, 100.3, 100.4]
    const compared = compareMeasure(measure(rounds), measure(rounds.map((value) => value / factor)))
    expect(compared.p).toBeLessThanOrEqual(pMax)
    expect(compared.verdict).toBe('same')
  })

  it('is not misled by one wild round', () => {
    expect(compareMeasure(measure([100, 101, 102, 103, 104]), measure([101, 100, 103, 102, 10])).verdict).toBe('same')
  })

  it('says so where there are too few rounds to tell', () => {
    expect(compareMeasure(measure([1, 2, 3]), measure([10, 20, 30])).verdict).toBe('too few rounds')
    expect(compareMeasure(measure([1]), measure([2])).verdict).toBe('too few rounds')
  })

  it('calls noise a change in at most one of a hundred', () => {
    const random = seeded(seedOf())
    const rounds = (): number[] => Array.from({ length: 5 }, () => 100 * (1 + 0.2 * (random() - 0.5)))
    const changes = Array.from({ length: 4000 }, () => compareMeasure(measure(rounds()), measure(rounds())).verdict).filter((verdict) => verdict !== 'same')
    // 0.8 % are expected, 32; five standard deviations more would be 60.
    expect(changes.length).toBeLessThan(60)
  })

  it('names what only one run has, and what differs between the machines', () => {
    const [before, after] = [results({ measures: [measure([1]), { ...measure([1]), name: 'old' }] }), results({ measures: [measure([1]), { ...measure([1]), name: 'new' }], machine: { kernel: '7.0' } })]
    const compared = compareRuns(before, after)
    expect(compared.comparisons.map(({ name }) => name)).toEqual(['accept/usher'])
    expect(compared).toMatchObject({ onlyBefore: ['old'], onlyAfter: ['new'], differences: ['kernel: 6.1 before, 7.0 after'] })
  })
})

describe('the guard', () => {
  const baseline = [1, 1.01, 1.02, 0.99, 0.98]
  it('finds a loss that neither the spread nor another machine explains', () => {
    expect(isRatioLoss(baseline, baseline.map((ratio) => ratio / 2), 0.7)).toBe(true)
  })

  it('finds it though one round in eight is as good as ever', () => {
    expect(isRatioLoss([...baseline, ...baseline], [0.5, 0.5, 0.5, 0.5, 1, 0.5, 0.5, 0.5], 0.7)).toBe(true)
  })

  it('passes what is as it was, less than its margin slower, faster, or now as good and now not', () => {
    expect(isRatioLoss(baseline, baseline, 0.7)).toBe(false)
    expect(isRatioLoss(baseline, baseline.map((ratio) => ratio * 0.8), 0.7)).toBe(false)
    expect(isRatioLoss(baseline, baseline.map((ratio) => ratio * 2), 0.7)).toBe(false)
    expect(isRatioLoss([...baseline, ...baseline], [0.5, 0.5, 1, 0.5, 0.5, 1, 0.5, 1], 0.7)).toBe(false)
  })

  it('passes where there are too few rounds to tell', () => {
    expect(isRatioLoss(baseline, [0.1], 0.7)).toBe(false)
  })
})

describe('the median', () => {
  it('is the middle, or the mean of the two in the middle', () => {
    expect(median([3, 1, 2])).toBe(2)
    expect(median([4, 1, 3, 2])).toBe(2.5)
    expect(median([])).toBeNaN()
  })
})

describe('usher bench compare', () => {
  let folder: string
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'usher-compare-'))
  })
  afterEach(() => {
    rmSync(folder, { recursive: true })
    process.exitCode = undefined
  })

  const file = (name: string, value: BenchResults | string): string => {
    const path = join(folder, name)
    writeFileSync(path, typeof value === 'string' ? value : JSON.stringify(value))
    return path
  }
  const captured = async (...args: string[]): Promise<{ status: number; out: string; err: string }> => {
    let [out, err] = ['', '']
    process.exitCode = undefined
    const status = await run(args, { write: (text) => void (out += text) }, { write: (text) => void (err += text) })
    return { status, out, err }
  }

  it('ends with 1 where something is lost, and with 0 where nothing is', () => {
    const fast = file('fast.json', results({ measures: [measure([100, 101, 102, 103, 104])] }))
    const slow = file('slow.json', results({ measures: [measure([80, 81, 82, 83, 84])] }))
    const compared = (before: string, after: string, json: boolean): { status: number; text: string } => {
      let text = ''
      const status = compare(before, after, json, { write: (part) => void (text += part) })
      return { status, text }
    }
    for (const json of [true, false]) {
      expect(compared(fast, slow, json).status).toBe(1)
      expect(compared(slow, fast, json).status).toBe(0)
      expect(compared(fast, fast, json).status).toBe(0)
    }
    expect(compared(fast, slow, false).text).toMatch(/accept\/usher +102 jobs\/s +82 jobs\/s +−19.6 % +0.0079 +loss\n1 measure: 0 gained, 1 lost/)
    expect(JSON.parse(compared(fast, slow, true).text)).toMatchObject({ comparisons: [{ verdict: 'loss' }] })
  })

  it('refuses what is no result of a benchmark, and two without a measure in common', async () => {
    const good = file('good.json', results({ measures: [measure([1])] }))
    for (const text of ['', '{}', '[1]', 'null', '{"format":"usher-bench-1"}', JSON.stringify(results({ measures: [{ ...measure([1]), rounds: [] }] }))]) {
      const { status, err } = await captured('bench', 'compare', good, file('bad.json', text))
      expect(status, text).toBe(65)
      expect(err).toContain('holds no results of a benchmark')
    }
    expect(() => readResults(join(folder, 'none.json'))).toThrow('holds no results')
    const other = file('other.json', results({ measures: [{ ...measure([1]), name: 'other' }] }))
    expect((await captured('bench', 'compare', good, other)).err).toContain('no measure in common')
  })

  it('writes the report of a run', async () => {
    const good = file('good.json', results({ measures: [measure([1])] }))
    expect((await captured('bench', 'report', good, '--out', join(folder, 'report.html'))).status).toBe(0)
    expect((await captured('bench', 'report', good, '--out', join(folder, 'no', 'report.html'))).status).toBe(69)
  })
})
