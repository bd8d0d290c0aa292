// One look at something costly, shared by all who ask: at most one at a time, and none sooner after the last than its pace
// allows. Who asks waits only so long, and gets what was seen last where the look hangs or fails.

import { UsherError } from '../base/errors.ts'

export interface Seen<T> {
  readonly value: T
  /** When the look began, by the wall clock. */
  readonly at: string
}

export interface SharedLookOptions<T> {
  readonly look: () => Promise<T>
  readonly nowMs: () => number
  /** From the beginning of one look to the next, at least. */
  readonly everyMs: number
  /** A look that took long is repeated this many times later than it took. */
  readonly restFactor: number
  /** What it looks at, for messages. */
  readonly what: string
}

export class SharedLook<T> {
  readonly #options: SharedLookOptions<T>
  #seen: Seen<T> | null = null
  #looking: Promise<void> | null = null
  #nextMs = Number.NEGATIVE_INFINITY
  #failure: unknown = null

  constructor(options: SharedLookOptions<T>) {
    this.#options = options
  }

  /** Null: nothing has been seen yet, and isn't within that time. */
  async latest(waitMs: number): Promise<Seen<T> | null> {
    if (this.#looking === null && this.#options.nowMs() >= this.#nextMs) this.#looking = this.#look()
    if (this.#looking !== null) {
      let timer: NodeJS.Timeout | undefined
      const late = new Promise<void>((resolve) => (timer = setTimeout(resolve, waitMs)))
      await Promise.race([this.#looking, late])
      clearTimeout(timer)
    }
    return this.#seen
  }

  /** As latest(), where there is no answer without it. */
  async required(waitMs: number): Promise<Seen<T>> {
    const seen = await this.latest(waitMs)
    if (seen !== null) return seen
    throw new UsherError('unavailable', `${this.#options.what} can't be read now`, { cause: this.#failure })
  }

  async #look(): Promise<void> {
    const { look, nowMs, everyMs, restFactor } = this.#options
    const began = nowMs()
    const at = new Date().toISOString()
    try {
      this.#seen = { value: await look(), at }
      this.#failure = null
    } catch (error) {
      // What was seen before is shown with its time; the next look tells whether it works again.
      this.#failure = error
    } finally {
      this.#nextMs = Math.max(began + everyMs, nowMs() + (nowMs() - began) * restFactor)
      this.#looking = null
    }
  }
}
