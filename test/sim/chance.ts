// The one source of chance of a run: all that happens in a simulated world follows from its seed.

export class Chance {
  #a: number
  #b: number
  #c: number
  #d = 1

  constructor(seed: number) {
    // Neighbouring seeds must not begin alike.
    let state = seed >>> 0
    let high = Math.floor(seed / 2 ** 32) >>> 0
    const next = (): number => {
      state = (state + 0x9e3779b9 + high) >>> 0
      high = (high ^ 0x85ebca6b) >>> 0
      let mixed = state ^ (state >>> 16)
      mixed = Math.imul(mixed, 0x21f0aaad)
      mixed ^= mixed >>> 15
      mixed = Math.imul(mixed, 0x735a2d97)
      return (mixed ^ (mixed >>> 15)) >>> 0
    }
    this.#a = next()
    this.#b = next()
    this.#c = next()
    for (let round = 0; round < 12; round += 1) this.unit()
  }

  /** Uniform in [0, 1): sfc32. */
  readonly unit = (): number => {
    const sum = (((this.#a + this.#b) | 0) + this.#d) | 0
    this.#d = (this.#d + 1) | 0
    this.#a = this.#b ^ (this.#b >>> 9)
    this.#b = (this.#c + (this.#c << 3)) | 0
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) + sum
    this.#c |= 0
    return (sum >>> 0) / 2 ** 32
  }

  between(low: number, high: number): number {
    return low + this.unit() * (high - low)
  }

  /** A whole number, both ends included. */
  whole(low: number, high: number): number {
    return low + Math.floor(this.unit() * (high - low + 1))
  }

  happens(probability: number): boolean {
    return probability > 0 && this.unit() < probability
  }

  of<T>(values: readonly T[]): T {
    return values[Math.floor(this.unit() * values.length)]!
  }

  /** Mostly near `low`, seldom far up to `high`. */
  skewed(low: number, high: number): number {
    const unit = this.unit()
    return low + unit * unit * unit * (high - low)
  }

  hex(digits: number): string {
    let text = ''
    while (text.length < digits) text += Math.floor(this.unit() * 2 ** 32).toString(16).padStart(8, '0')
    return text.slice(0, digits)
  }
}
