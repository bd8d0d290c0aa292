// A process that runs seeds: one after the other, from the first to the last by a stride, telling its parent how it goes.
//
// Real time, chance and timers are taken away first, so that nothing can come between a seed and what follows from it.
import { messageOf } from '../../src/base/errors.ts'
import { run } from './run.ts'
import type { Outcome } from './run.ts'

const forbid = (name: string) => (): never => {
  throw new Error(`${name} is not part of a simulated world`)
}

const realNow = performance.now.bind(performance)
const realSetImmediate = setImmediate

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

let rejected: unknown = null
process.on('unhandledRejection', (reason) => {
  rejected ??= reason
})

/** Runs a seed; what was rejected and heard by nobody counts as broken. */
const judged = async (options: Parameters<typeof run>[0]): Promise<Outcome> => {
  rejected = null
  // From a turn of the event loop, not from a promise's reaction: there none could be run to its end.
  const outcome = await new Promise<Outcome>((resolve, reject) => {
    realSetImmediate(() => {
      try {
        resolve(run(options))
      } catch (error) {
        reject(error as Error)
      }
    })
  })
  await new Promise<void>((resolve) => realSetImmediate(resolve))
  if (rejected === null || outcome.violation !== null) return outcome
  return { ...outcome, violation: { invariant: 'no promise is rejected unheard', detail: messageOf(rejected), atMs: 0 } }
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

const one = async (seed: number): Promise<void> => {
  const outcome = await judged({ seed, verbose: true })
  process.stdout.write(`${outcome.events.join('\n')}\n`)
  const { violation } = outcome
  const verdict = violation === null ? 'holds' : `BROKEN: ${violation.invariant}: ${violation.detail}`
  process.stdout.write(`seed ${seed}: ${verdict} (${Math.round(outcome.simulatedMs)} ms simulated, ${outcome.steps} steps, digest ${outcome.digest})\n`)
  process.exitCode = violation === null ? 0 : 1
}

const [mode, ...given] = process.argv.slice(2)
Error.stackTraceLimit = mode === 'one' ? 20 : 0
isolate()
if (mode === 'one') await one(Number(given[0]))
else if (mode === 'range') await range(Number(given[0]), Number(given[1]), Number(given[2]), given[3] === 'first')
