// A process that runs seeds: one after the other, from the first to the last by a stride, telling its parent how it goes.
//
// Real time, chance and timers are taken away first, so that nothing can come between a seed and what follows from it.
import { hearRejections, judged } from './judged.ts'
import { limits, optionsOf, switches } from './switches.ts'

const forbid = (name: string) => (): never => {
  throw new Error(`${name} is not part of a simulated world`)
}

const realNow = performance.now.bind(performance)

class GivenDate extends Date {
  constructor(...given: unknown[]) {
    if (given.length === 0) forbid('new Date()')()
    super(given[0] as number)
  }
}

const isolate = (): void => {
  Math.random = forbid('Math.random')
  GivenDate.now = forbid('Date.now')
  Object.assign(globalThis, { Date: GivenDate, setTimeout: forbid('setTimeout'), setInterval: forbid('setInterval') })
  AbortSignal.timeout = forbid('AbortSignal.timeout')
}

export interface Progress {
  readonly type: 'progress' | 'done'
  readonly seeds: number
  /** The newest seed that is done. */
  readonly seed: number
  readonly simulatedMs: number
  readonly steps: number
  readonly counts: Readonly<Record<string, number>>
  readonly broken: readonly { readonly seed: number; readonly invariant: string; readonly detail: string }[]
}

const report = (message: Progress): void => {
  process.send?.(message)
}

const range = async (from: number, to: number, stride: number, stopAtFirst: boolean): Promise<void> => {
  const counts = new Map<string, number>()
  const broken: { seed: number; invariant: string; detail: string }[] = []
  let seeds = 0
  let simulatedMs = 0
  let steps = 0
  let toldAtMs = realNow()
  let seed = from
  const tell = (type: Progress['type']): void => report({ type, seeds, seed, simulatedMs, steps, counts: Object.fromEntries(counts), broken })
  for (; seed < to; seed += stride) {
    const outcome = await judged({ seed })
    seeds += 1
    simulatedMs += outcome.simulatedMs
    steps += outcome.steps
    for (const [what, count] of outcome.counts) counts.set(what, (counts.get(what) ?? 0) + count)
    if (outcome.violation !== null) {
      broken.push({ seed, invariant: outcome.violation.invariant, detail: outcome.violation.detail })
      if (stopAtFirst) break
    }
    if (realNow() - toldAtMs > 1000) {
      toldAtMs = realNow()
      tell('progress')
    }
  }
  tell('done')
}

const replay = async (seed: number): Promise<void> => {
  const outcome = await judged({ seed, verbose: true })
  process.stdout.write(`${outcome.events.join('\n')}\n`)
  const { violation } = outcome
  const verdict = violation === null ? 'holds' : `BROKEN: ${violation.invariant}: ${violation.detail}`
  process.stdout.write(`seed ${seed}: ${verdict} (${Math.round(outcome.simulatedMs)} ms simulated, ${outcome.steps} steps, digest ${outcome.digest})\n`)
  process.exitCode = violation === null ? 0 : 1
}

export interface Found {
  readonly type: 'found'
  /** Null: none broke an invariant. */
  readonly seed: number | null
  readonly invariant: string
  readonly detail: string
  readonly seeds: number
}

/** Looks for the first seed that breaks the invariants of one protection with it off (or any with it on, which must find none). */
const search = async (name: string, from: number, seeds: number, on: boolean, verbose: boolean): Promise<void> => {
  const chosen = [...switches, ...limits].find((one) => one.name === name)
  if (chosen === undefined) throw new Error(`no switch is called ${name}`)
  for (let seed = from; seed < from + seeds; seed += 1) {
    const { violation, events } = await judged({ ...optionsOf(chosen, seed, on), verbose })
    if (verbose) process.stdout.write(`${events.join('\n')}\n`)
    if (violation === null || (!on && !chosen.breaks.includes(violation.invariant))) continue
    const found: Found = { type: 'found', seed, invariant: violation.invariant, detail: violation.detail, seeds: seed - from + 1 }
    process.send?.(found)
    process.stdout.write(`${name}: seed ${seed}: ${violation.invariant}: ${violation.detail}\n`)
    return
  }
  const none: Found = { type: 'found', seed: null, invariant: '', detail: '', seeds }
  process.send?.(none)
  process.stdout.write(`${name}: none of ${seeds} seeds from ${from}\n`)
}

const [mode, ...given] = process.argv.slice(2)
Error.stackTraceLimit = mode === 'one' ? 20 : 0
isolate()
hearRejections()
if (mode === 'one') await replay(Number(given[0]))
else if (mode === 'range') await range(Number(given[0]), Number(given[1]), Number(given[2]), given[3] === 'first')
else if (mode === 'switch') await search(given[0] ?? '', Number(given[1]), Number(given[2]), given[3] === 'on', given[4] === 'verbose')
