// The newest number up to which every segment is done; they may be done out of order. Pure.
export class PublishedNumber {
  #value = 0
  readonly #ahead = new Set<number>()

  get value(): number {
    return this.#value
  }

  /** Returns whether the value has gone up. */
  done(number: number): boolean {
    this.#ahead.add(number)
    const before = this.#value
    while (this.#ahead.delete(this.#value + 1)) this.#value += 1
    return this.#value > before
  }
}
