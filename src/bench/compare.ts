// Whether two runs of a benchmark differ by more than noise. Each measure has a value for every round in both runs; whether
// the rounds of one tend to be higher than those of the other is what the Mann-Whitney U test tells, here exactly: of all
// ways to deal the pooled values out to two runs, the share whose rank sum is at least as far from the middle. It asks
// nothing of the distribution, and one wild round cannot decide it.
import { median, type BenchResults, type Measure } from './results.ts'

/** A difference counts when chance gives one so large in at most one of a hundred comparisons … */
export const pMax = 0.01
/** … and when it is worth a word. */
export const changeMin = 0.02

export type Verdict = 'gain' | 'loss' | 'same' | 'too few rounds'

export interface Comparison {
  readonly name: string
  readonly unit: string
  readonly before: number
  readonly after: number
  /** after ÷ before − 1, of the medians. */
  readonly change: number
  /** Two-sided. */
  readonly p: number
  readonly verdict: Verdict
}

export interface ComparedRuns {
  readonly comparisons: readonly Comparison[]
  readonly onlyBefore: readonly string[]
  readonly onlyAfter: readonly string[]
  /** What differs between the machines, and makes absolute numbers incomparable. */
  readonly differences: readonly string[]
}

/** Ranks from 1, twice as large, so that the middle of ties is whole. */
const doubledRanks = (values: readonly number[]): number[] => {
  const sorted = values.toSorted((a, b) => a - b)
  return values.map((value) => sorted.indexOf(value) + sorted.lastIndexOf(value) + 2)
}

/** The exact two-sided p of the Mann-Whitney U test, ties included. 1 where either side is empty. */
export const mannWhitneyP = (a: readonly number[], b: readonly number[]): number => {
  if (a.length === 0 || b.length === 0) return 1
  const ranks = doubledRanks([...a, ...b])
  const observed = ranks.slice(0, a.length).reduce((sum, rank) => sum + rank, 0)
  // ways[n] has, for each sum, how many choices of n ranks have it.
  const ways = Array.from({ length: a.length + 1 }, () => new Map<number, number>())
  ways[0]!.set(0, 1)
  for (const rank of ranks) {
    for (let n = a.length; n > 0; n--) {
      for (const [sum, count] of ways[n - 1]!) ways[n]!.set(sum + rank, (ways[n]!.get(sum + rank) ?? 0) + count)
    }
  }
  const middle = a.length * (a.length + b.length + 1)
  let all = 0
  let asFar = 0
  for (const [sum, count] of ways[a.length]!) {
    all += count
    if (Math.abs(sum - middle) >= Math.abs(observed - middle)) asFar += count
  }
  return asFar / all
}

/** The least p that so many rounds can have. */
const leastP = (a: number, b: number): number => {
  let choices = 1
  for (let i = 1; i <= a; i++) choices = (choices * (b + i)) / i
  return Math.min(1, 2 / choices)
}

export const compareMeasure = (before: Measure, after: Measure): Comparison => {
  const [a, b] = [median(before.rounds), median(after.rounds)]
  const p = mannWhitneyP(before.rounds, after.rounds)
  const change = a === b ? 0 : b / a - 1
  const verdict = ((): Verdict => {
    if (leastP(before.rounds.length, after.rounds.length) > pMax) return 'too few rounds'
    if (p > pMax || Math.abs(change) < changeMin) return 'same'
    return change > 0 === (after.better === 'higher') ? 'gain' : 'loss'
  })()
  return { name: after.name, unit: after.unit, before: a, after: b, change, p, verdict }
}

export const compareRuns = (before: BenchResults, after: BenchResults): ComparedRuns => {
  const earlier = new Map(before.measures.map((measure) => [measure.name, measure]))
  const later = new Set(after.measures.map(({ name }) => name))
  const fields = ['cpu', 'cores', 'kernel', 'node', 'fileSystem'] as const
  return {
    comparisons: after.measures.flatMap((measure) => {
      const known = earlier.get(measure.name)
      return known === undefined ? [] : [compareMeasure(known, measure)]
    }),
    onlyBefore: [...earlier.keys()].filter((name) => !later.has(name)),
    onlyAfter: [...later].filter((name) => !earlier.has(name)),
    differences: fields
      .filter((field) => before.machine[field] !== after.machine[field])
      .map((field) => `${field}: ${before.machine[field]} before, ${after.machine[field]} after`),
  }
}

/**
 * Whether ratios of this run are a loss against those of a baseline: chance doesn't explain it, and three of four rounds have less
 * than `keptMin` of the baseline's median.
 */
export const isRatioLoss = (baseline: readonly number[], now: readonly number[], keptMin: number): boolean => {
  const upperQuartile = now.toSorted((a, b) => a - b)[Math.floor(now.length * 0.75)] ?? Number.NaN
  return mannWhitneyP(baseline, now) <= pMax && upperQuartile < median(baseline) * keptMin
}
