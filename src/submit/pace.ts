// How many calls a cluster gets at a time: additive increase, multiplicative decrease (Chiu and Jain 1989). Calls that the cluster
// pushes back or doesn't answer, a quarter of the last or three in a row, halve it; calls that were taken let it grow by one a
// round, as long as the cluster works on them rather than keeping them waiting. That shows in their latency (Vegas, Brakmo and Peterson 1995): with
// `limit` calls under way that take `latency`, of which `base` would do if they were alone,
//
//   limit × (1 − base / latency)
//
// calls are in the cluster's queue. A few keep it busy, more only make each wait. Calls of different sizes have bases of their own.
//
// Never lets through more calls than the driver allows, and always one.

/** Calls in the cluster's queue: below, one more at a time is worth trying; above, there are too many. */
const queuedMin = 3
const queuedMax = 6
/** A base is forgotten after this, or once more as long after: a cluster with more jobs takes longer for each. */
const baseKeptMs = 10_000
const initial = 4
/** Three in a row, or a quarter of the last calls. */
const newestWeight = 0.1
const pushedBackMin = 0.25

export interface Call {
  readonly beganMs: number
  readonly jobs: number
}

/** The lowest latency of a period, and of the one before. */
interface Base {
  sinceMs: number
  nowMs: number
  beforeMs: number
}

export class Pace {
  readonly #max: number
  #limit: number
  #underWay = 0
  /** Of the present round: calls that were taken, what their bases are of their latencies, and whether the limit kept some back. */
  #taken = 0
  #ratios = 0
  #full = false
  /** Which part of the last calls was pushed back, the newest counting most: a few may have their jobs to blame. */
  #pushedBack = 0
  /** Calls begun before don't count again. */
  #cutAtMs = Number.NEGATIVE_INFINITY
  readonly #bases = new Map<number, Base>()

  constructor(max: number) {
    this.#max = max
    this.#limit = Math.min(max, initial)
  }

  /** Calls at a time, now. */
  get limit(): number {
    return this.#limit
  }

  get underWay(): number {
    return this.#underWay
  }

  get hasRoom(): boolean {
    return this.#underWay < this.#limit
  }

  begin(nowMs: number, jobs: number): Call {
    this.#underWay += 1
    if (this.#underWay >= this.#limit) this.#full = true
    return { beganMs: nowMs, jobs }
  }

  /** `taken`: the cluster took some of its jobs or judged them; else it was pushed back, or nobody knows. True: the limit was cut. */
  end(call: Call, nowMs: number, taken: boolean): boolean {
    this.#underWay -= 1
    this.#pushedBack += ((taken ? 0 : 1) - this.#pushedBack) * newestWeight
    if (taken) {
      this.#took(call, nowMs)
      return false
    }
    if (this.#pushedBack < pushedBackMin || call.beganMs < this.#cutAtMs) return false
    this.#cutAtMs = nowMs
    this.#pushedBack = 0
    this.#limit = Math.max(1, Math.floor(this.#limit / 2))
    this.#beginRound()
    return true
  }

  #took({ beganMs, jobs }: Call, nowMs: number): void {
    const latencyMs = Math.max(0.001, nowMs - beganMs)
    this.#taken += 1
    this.#ratios += this.#baseOf(jobs, latencyMs, nowMs) / latencyMs
    if (this.#taken < this.#limit) return
    const queued = this.#limit * (1 - this.#ratios / this.#taken)
    if (this.#full && queued < queuedMin) this.#limit = Math.min(this.#max, this.#limit + 1)
    else if (queued > queuedMax) this.#limit = Math.max(1, this.#limit - 1)
    this.#beginRound()
  }

  #beginRound(): void {
    this.#taken = 0
    this.#ratios = 0
    this.#full = false
  }

  /** The least that a call of about so many jobs took lately. */
  #baseOf(jobs: number, latencyMs: number, nowMs: number): number {
    const size = Math.floor(Math.log2(jobs))
    let base = this.#bases.get(size)
    if (base === undefined) this.#bases.set(size, (base = { sinceMs: nowMs, nowMs: latencyMs, beforeMs: Number.POSITIVE_INFINITY }))
    if (nowMs - base.sinceMs >= baseKeptMs) Object.assign(base, { sinceMs: nowMs, beforeMs: base.nowMs, nowMs: latencyMs })
    base.nowMs = Math.min(base.nowMs, latencyMs)
    return Math.min(base.nowMs, base.beforeMs)
  }
}
