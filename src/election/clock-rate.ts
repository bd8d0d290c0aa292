// Whether this host's clock runs at a rate that leases can be counted by. The election is safe as long as no clock runs
// faster than another by more than the margin; nobody compares clocks between hosts, but each can compare the clock that
// leases are counted by, which time synchronisation steers (adjtimex, up to a tenth fast or slow), with the hardware's
// own, which nobody steers. Pure: the readings are handed in.
//
// What it can't see is a hardware clock that is wrong itself. Those are off by some hundred millionths, not by hundredths.

export interface ClockReading {
  /** CLOCK_MONOTONIC: steered as CLOCK_BOOTTIME is, and stands still during suspend as the other does. */
  readonly steeredMs: number
  /** CLOCK_MONOTONIC_RAW, read at the same moment. */
  readonly rawMs: number
}

/** How much faster than another host's a clock may run: by so much longer than a lease followers wait. */
export const clockMargin = 0.1

/** The least time that a rate is measured over: the moment between the readings of a pair doesn't count against it. */
export const windowMs = 100

/** How far from the true rate each of two clocks may be, so that one is never faster than the other by more than the margin. */
export const allowedRate = (margin: number): number => margin / (2 + margin)

const percent = (rate: number): string => `${(Math.abs(rate) * 100).toFixed(Math.abs(rate) < 0.01 ? 3 : 1)} %`

export const describeRate = (rate: number): string => `runs ${percent(rate)} ${rate < 0 ? 'slow' : 'fast'} against its hardware clock`

export const clockRemedy = "mend this host's time synchronisation ('chronyc tracking' and 'adjtimex --print' show what steers its clock)"

/** By how much more than one the steered clock went while the hardware's went one. */
export const rateBetween = (from: ClockReading, to: ClockReading): number => (to.steeredMs - from.steeredMs) / (to.rawMs - from.rawMs) - 1

export class ClockRate {
  readonly #read: () => ClockReading
  readonly #margin: number
  #from: ClockReading
  #reason: string | null = null

  constructor(read: () => ClockReading, margin: number) {
    this.#read = read
    this.#margin = margin
    this.#from = read()
  }

  /** To be called every second or so. Answers why this host must not stand for election, null: its clock is fine. */
  look(): string | null {
    const now = this.#read()
    if (now.rawMs - this.#from.rawMs < windowMs) return this.#reason
    const rate = rateBetween(this.#from, now)
    this.#from = now
    const allowed = allowedRate(this.#margin)
    this.#reason =
      Math.abs(rate) <= allowed ? null : `this host's clock ${describeRate(rate)}, where leases allow ${percent(allowed)}: ${clockRemedy}`
    return this.#reason
  }
}
