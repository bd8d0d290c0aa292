// The results of a run of benchmarks: one JSON document, whoever writes it and whoever reads it. A measure keeps the value of
// every round, so that what a run says can be told from noise later.
import { readFileSync } from 'node:fs'
import { messageOf, UsherError } from '../base/errors.ts'

export const resultsFormat = 'usher-bench-1'

export interface Measure {
  /** Words from the general to the special, `/` between them: `accept/50 connections/usher`. The same in every run. */
  readonly name: string
  /** A sentence for people. */
  readonly what: string
  readonly unit: string
  readonly better: 'higher' | 'lower'
  /** One value for each round, in the order in which they were measured. */
  readonly rounds: readonly number[]
}

export interface Series {
  readonly name: string
  readonly points: readonly (readonly [x: number, y: number])[]
}

export interface Plot {
  readonly title: string
  readonly x: string
  readonly y: string
  /** Powers of ten at even distances. */
  readonly logX?: boolean
  readonly logY?: boolean
  readonly series: readonly Series[]
}

/** What was sent, and what became of it. */
export interface Books {
  readonly run: string
  readonly sent: number
  readonly accepted: number
  /** What the other side says it holds, or has submitted. */
  readonly found: number
  readonly twice: number
}

export interface Machine {
  readonly cpu: string
  readonly cores: number
  readonly memoryBytes: number
  readonly arch: string
  readonly kernel: string
  readonly node: string
  /** Of the folder that stores are made in. */
  readonly fileSystem: string
}

export interface BenchResults {
  readonly format: typeof resultsFormat
  readonly at: string
  readonly commit: string
  /** Files differed from that commit. */
  readonly changed: boolean
  readonly machine: Machine
  /** What each suite took. */
  readonly suiteSeconds: Readonly<Record<string, number>>
  /** Versions of what usher is compared with. */
  readonly peers: Readonly<Record<string, string>>
  readonly measures: readonly Measure[]
  readonly plots: readonly Plot[]
  readonly books: readonly Books[]
}

export const median = (values: readonly number[]): number => {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : ((sorted[middle - 1] ?? Number.NaN) + (sorted[middle] ?? Number.NaN)) / 2
}

const isMeasure = (value: unknown): value is Measure => {
  const { name, what, unit, better, rounds } = (value ?? {}) as Partial<Record<keyof Measure, unknown>>
  return (
    typeof name === 'string' && typeof what === 'string' && typeof unit === 'string' && (better === 'higher' || better === 'lower') &&
    Array.isArray(rounds) && rounds.length > 0 && rounds.every((round) => typeof round === 'number' && Number.isFinite(round))
  )
}

/** What a file holds. Throws input_invalid where it is something else. */
export const readResults = (file: string): BenchResults => {
  const wrong = (reason: string, cause?: unknown): UsherError =>
    new UsherError('input_invalid', `${file} holds no results of a benchmark: ${reason}`, { ...(cause === undefined ? {} : { cause }), details: { file } })
  let value: unknown
  try {
    value = JSON.parse(readFileSync(file, 'utf8'))
  } catch (error) {
    throw wrong(messageOf(error), error)
  }
  const results = (value ?? {}) as Partial<BenchResults>
  if (results.format !== resultsFormat) throw wrong(`its format is ${JSON.stringify(results.format)}, not ${resultsFormat}`)
  if (!Array.isArray(results.measures)) throw wrong('it has no measures')
  const bad = results.measures.findIndex((measure) => !isMeasure(measure))
  if (bad >= 0) throw wrong(`measure ${bad + 1} is none`)
  return results as BenchResults
}
