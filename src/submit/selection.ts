// Which jobs of a segment go together in a call, as their driver says. Each job is looked at once, however often it is met.

import type { Gathering } from './driver.ts'
import type { Lines } from './lines.ts'

/** Not looked at yet; goes alone; else a number for all with one key. */
const unknown = 0
const alone = 1

export class Selection {
  readonly #lines: Lines
  readonly #gathering: Gathering | undefined
  readonly #numbers = new Map<string, number>()
  /** Null until it is needed, and where the driver doesn't care. */
  #keys: Uint32Array | null = null
  /** Of the present call: the key of its jobs, and whether one more fits. */
  #key = unknown
  #fits: ((job: ReturnType<Lines['job']>) => boolean) | null = null
  #full = false

  constructor(lines: Lines, gathering: Gathering | undefined) {
    this.#lines = lines
    this.#gathering = gathering
  }

  /** The next job is the first of a call. */
  begin(): void {
    this.#key = unknown
    this.#fits = null
    this.#full = false
  }

  /** Nothing more goes with what was taken. */
  get isFull(): boolean {
    return this.#full
  }

  /** Whether this job goes with those before; if so it counts as one of them. */
  takes(index: number): boolean {
    const gathering = this.#gathering
    if (gathering === undefined) return true
    if (this.#full) return false
    const key = this.#keyAt(gathering, index)
    if (this.#key === unknown) {
      this.#key = key
      this.#full = key === alone
      if (this.#full) return true
      this.#fits = gathering.begin()
      this.#fits(this.#lines.job(index))
      return true
    }
    if (key !== this.#key) return false
    this.#full = this.#fits?.(this.#lines.job(index)) === false
    return !this.#full
  }

  #keyAt(gathering: Gathering, index: number): number {
    this.#keys ??= new Uint32Array(this.#lines.index.count)
    const known = this.#keys[index]
    if (known !== undefined && known !== unknown) return known
    const name = gathering.keyOf(this.#lines.job(index))
    let key = name === null ? alone : this.#numbers.get(name)
    if (key === undefined) this.#numbers.set(name!, (key = alone + 1 + this.#numbers.size))
    this.#keys[index] = key
    return key
  }
}
