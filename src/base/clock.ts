// Time as it is handed to logic: suspend-proof, never compared between hosts, replaceable by a simulator's.
import { native } from './native.ts'

export interface Clock {
  /** Milliseconds of CLOCK_BOOTTIME: goes on during suspend, never jumps. */
  nowMs(): number
  /** Milliseconds since 1970 by the wall clock, which may jump: for people to read, and for what outlives a host's boot. */
  wallMs(): number
  /** Calls back once; returns what cancels it. */
  after(ms: number, call: () => void): () => void
}

export const systemClock: Clock = {
  nowMs: () => native.bootMs(),
  wallMs: () => Date.now(),
  after: (ms, call) => {
    const timer = setTimeout(call, ms)
    return () => clearTimeout(timer)
  },
}

/** Resolves after that time, or at once when the signal is given. */
export const sleep = (clock: Clock, ms: number, signal?: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal?.aborted) {
      resolve()
      return
    }
    const cancel = clock.after(ms, () => {
      signal?.removeEventListener('abort', stop)
      resolve()
    })
    const stop = (): void => {
      cancel()
      resolve()
    }
    signal?.addEventListener('abort', stop, { once: true })
  })

/** The wall clock's time as records carry it: ISO 8601. */
export const wallTime = (clock: Clock): string => new Date(clock.wallMs()).toISOString()

/**
 * Full jitter: uniformly between 0 and an exponentially growing bound, so that many who failed together
 * don't come back together (M. Brooker, "Exponential Backoff and Jitter").
 */
export const fullJitter = (attempt: number, minMs: number, maxMs: number, random: () => number): number =>
  random() * Math.min(maxMs, minMs * 2 ** Math.min(attempt, 30))
