// A flag that one loop waits for and others set: wake-ups before the wait count, many count as one.
import type { Clock } from './clock.ts'

export class Wakeup {
  #set = false
  #resolve: (() => void) | null = null

  wake(): void {
    this.#set = true
    this.#resolve?.()
  }

  /** Resolves at the next wake(), at once if there was one since the last wait, or after `ms`. */
  wait(clock: Clock, ms: number): Promise<void> {
    return new Promise((resolve) => {
      if (this.#set) {
        this.#set = false
        resolve()
        return
      }
      const done = (): void => {
        cancel()
        this.#set = false
        this.#resolve = null
        resolve()
      }
      const cancel = clock.after(ms, done)
      this.#resolve = done
    })
  }
}
