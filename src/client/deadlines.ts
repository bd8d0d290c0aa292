// One timer for the times of all jobs: it rings when the earliest may be over, and whoever owns the jobs then
// looks at each of them. A timer for each job would cost more than the job.

/** Rings at most this often, however many times are over. */
const atMostEveryMs = 10
const timerMostMs = 2 ** 31 - 1

export class Deadlines {
  readonly #onRing: (nowMs: number) => number
  #timer: NodeJS.Timeout | undefined
  #atMs = Infinity

  /** `onRing` gives up what is over at nowMs (performance.now()), and returns the earliest time of what is left. */
  constructor(onRing: (nowMs: number) => number) {
    this.#onRing = onRing
  }

  add(atMs: number): void {
    if (atMs < this.#atMs) this.#arm(atMs)
  }

  stop(): void {
    clearTimeout(this.#timer)
    this.#atMs = -Infinity
  }

  #arm(atMs: number): void {
    clearTimeout(this.#timer)
    this.#atMs = atMs
    this.#timer = setTimeout(() => this.#ring(), Math.min(timerMostMs, Math.max(0, Math.ceil(atMs - performance.now()))))
  }

  #ring(): void {
    const nowMs = performance.now()
    this.#atMs = Infinity
    const next = this.#onRing(nowMs)
    if (next < this.#atMs) this.#arm(Math.max(next, nowMs + atMostEveryMs))
  }
}
