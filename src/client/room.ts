// Who waits until there is room for another job, or until nothing is held any more. It must never leave one waiting
// when what it waits for is there: the client calls settled() after each answer.
import { UsherError } from '../base/errors.ts'
import type { Settings } from './options.ts'
import type { Outbox } from './outbox.ts'

const timerMostMs = 2 ** 31 - 1

export class Room {
  readonly #outbox: Outbox
  readonly #settings: Settings
  #waiting: (() => void)[] = []
  #empty: (() => void)[] = []
  #closing = false

  constructor(outbox: Outbox, settings: Settings) {
    this.#outbox = outbox
    this.#settings = settings
  }

  get full(): boolean {
    const { heldJobs, heldBytes } = this.#outbox
    return !this.#closing && (heldJobs >= this.#settings.heldJobsMax || heldBytes >= this.#settings.heldBytesMax)
  }

  /** No job is taken any more, so that none has to wait for room to be told so. */
  close(): void {
    this.#closing = true
  }

  /** `lastError` is the cause where the time (of performance.now()) is over. */
  async whenRoom(deadlineMs: number, signal: AbortSignal | undefined, lastError: () => UsherError | undefined): Promise<void> {
    const unlessAborted = (): void => {
      if (signal?.aborted === true) throw new UsherError('aborted', 'given up while waiting for room; the job was not sent')
    }
    while (this.full) {
      unlessAborted()
      const leftMs = deadlineMs - performance.now()
      if (leftMs <= 0) throw new UsherError('timed_out', 'no room in time; the job was not sent', { cause: lastError() })
      await new Promise<void>((resolve) => {
        const woken = (): void => {
          clearTimeout(timer)
          signal?.removeEventListener('abort', woken)
          resolve()
        }
        const timer = leftMs === Infinity ? undefined : setTimeout(woken, Math.min(leftMs, timerMostMs))
        signal?.addEventListener('abort', woken)
        this.#waiting.push(woken)
      })
    }
    unlessAborted()
  }

  /** The caller has seen that something is held. */
  whenEmpty(): Promise<void> {
    return new Promise((resolve) => this.#empty.push(resolve))
  }

  /** Something may have got its answer. */
  settled(): void {
    if (this.#waiting.length > 0 && !this.full) this.wake()
    if (this.#outbox.heldJobs === 0) for (const resolve of this.#empty.splice(0)) resolve()
  }

  /** Has all who wait for room look again. */
  wake(): void {
    for (const woken of this.#waiting.splice(0)) woken()
  }
}
