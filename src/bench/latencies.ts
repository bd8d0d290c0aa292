// Latencies in log-linear buckets, as HDR histograms have them: 128 to each power of two of microseconds, so that a quantile
// is off by at most 1 %, whatever its size, and memory stays constant however many there are.

const indexOf = (us: number): number => {
  const shift = Math.max(0, Math.floor(Math.log2(Math.max(1, us))) - 7)
  return shift * 128 + Math.floor(us / 2 ** shift)
}

const upperEdge = (index: number): number => {
  const shift = index < 256 ? 0 : Math.floor(index / 128) - 1
  return (index - shift * 128 + 1) * 2 ** shift
}

export class Latencies {
  #count = 0
  readonly #counts: number[] = []

  add(ms: number, count = 1): void {
    const index = indexOf(Math.max(0, Math.floor(ms * 1000)))
    this.#counts[index] = (this.#counts[index] ?? 0) + count
    this.#count += count
  }

  /** In ms: at least that share of all is below it. 0 where there are none. */
  at(share: number): number {
    let seen = 0
    for (const [index, count] of this.#counts.entries()) {
      seen += count ?? 0
      if (seen > 0 && seen >= this.#count * share) return upperEdge(index) / 1000
    }
    return 0
  }
}
