// Runs seeds from a turn of the event loop, and counts against them what was rejected and heard by nobody.
import { messageOf } from '../../src/base/errors.ts'
import { run } from './run.ts'
import type { Outcome, RunOptions } from './run.ts'

/** Kept from before a process takes real timers away. */
const turn = setImmediate

let rejected: unknown = null

export const hearRejections = (): void => {
  process.on('unhandledRejection', (reason) => {
    rejected ??= reason
  })
}

export const judged = async (options: RunOptions): Promise<Outcome> => {
  rejected = null
  // Not from a promise's reaction: there no other could be run to its end.
  const outcome = await new Promise<Outcome>((resolve, reject) => {
    turn(() => {
      try {
        resolve(run(options))
      } catch (error) {
        reject(error as Error)
      }
    })
  })
  await new Promise<void>((resolve) => turn(resolve))
  if (rejected === null || outcome.violation !== null) return outcome
  return { ...outcome, violation: { invariant: 'no promise is rejected unheard', detail: messageOf(rejected), atMs: 0 } }
}
