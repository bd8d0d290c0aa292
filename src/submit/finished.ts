// Segments of which nothing can change any more and whose files are still there: how many jobs, what became of them,
// when something last happened to them, and which files of the ledger tell of them. A busy store has very many, so they
// are rows of numbers: 48 bytes each, and no object.

import type { Tally } from './records.ts'

/** A file of the ledger as one number that rises with terms and files: at most 2^20 files a term, 2^33 claims. */
export const positionOf = (term: number, file: number): number => term * 2 ** 20 + file

export interface Finished extends Tally {
  /** When something last happened to it, by the wall clock of the leader of that time. */
  readonly lastMs: number
  /** The files of the ledger that tell of it lie between these, both inclusive. */
  readonly first: number
  readonly last: number
}

const columns = 6

/** Those of one instance: row n is segment base + n; one whose `first` is 0 isn't there. */
interface Table {
  base: number
  rows: Float64Array
  /** Rows in use, from the first on. */
  length: number
  /** Segments that are there. */
  count: number
}

export interface FinishedRows {
  readonly instance: string
  readonly base: number
  readonly rows: Float64Array
}

export class FinishedSegments {
  readonly #tables = new Map<string, Table>()

  add(instance: string, number: number, finished: Finished): void {
    let table = this.#tables.get(instance)
    if (table === undefined) this.#tables.set(instance, (table = { base: number, rows: new Float64Array(columns * 4), length: 0, count: 0 }))
    // With room for as many again: a few that finish in falling order don't move all the others each time.
    if (number < table.base) growFront(table, Math.max(table.base - number, Math.min(table.length, table.base - 1)))
    const at = number - table.base
    if ((at + 1) * columns > table.rows.length) {
      const rows = new Float64Array(Math.max((at + 1) * columns, table.rows.length * 2))
      rows.set(table.rows)
      table.rows = rows
    }
    table.length = Math.max(table.length, at + 1)
    table.count += 1
    const { lastMs, first, last, submitted, duplicates, discarded } = finished
    table.rows.set([first, last, lastMs, submitted, duplicates, discarded], at * columns)
  }

  get(instance: string, number: number): Finished | undefined {
    const table = this.#tables.get(instance)
    if (table === undefined || number < table.base || number >= table.base + table.length) return undefined
    return rowAt(table.rows, number - table.base)
  }

  remove(instance: string, number: number): Finished | undefined {
    const table = this.#tables.get(instance)
    const found = this.get(instance, number)
    if (table === undefined || found === undefined) return undefined
    table.rows[(number - table.base) * columns] = 0
    table.count -= 1
    if (table.count === 0) this.#tables.delete(instance)
    else if (table.count * 2 <= table.length) shrink(table)
    return found
  }

  has(instance: string): boolean {
    return this.#tables.has(instance)
  }

  instances(): IterableIterator<string> {
    return this.#tables.keys()
  }

  *of(instance: string): Generator<[number, Finished]> {
    const table = this.#tables.get(instance)
    if (table === undefined) return
    for (let at = 0; at < table.length; at += 1) {
      const row = rowAt(table.rows, at)
      if (row !== undefined) yield [table.base + at, row]
    }
  }

  /** Which files of the ledger tell of each of them: positions of the first and the last. */
  spans(onSpan: (first: number, last: number) => void): void {
    for (const { rows, length } of this.#tables.values()) {
      for (let at = 0; at < length * columns; at += columns) if (rows[at] !== 0) onSpan(rows[at]!, rows[at + 1]!)
    }
  }

  /** Numbers of an instance's segments that nothing has happened to since that time; so many at most. */
  before(instance: string, lastMs: number, max: number): number[] {
    const table = this.#tables.get(instance)
    const found: number[] = []
    if (table === undefined) return found
    const { base, rows, length } = table
    for (let at = 0; at < length && found.length < max; at += 1) {
      if (rows[at * columns] !== 0 && rows[at * columns + 2]! < lastMs) found.push(base + at)
    }
    return found
  }

  /** Copies for a snapshot. */
  rows(): FinishedRows[] {
    return [...this.#tables].map(([instance, { base, rows, length }]) => ({ instance, base, rows: rows.slice(0, length * columns) }))
  }

  load({ instance, base, rows }: FinishedRows): void {
    for (let at = 0; at * columns < rows.length; at += 1) {
      const row = rowAt(rows, at)
      if (row !== undefined) this.add(instance, base + at, row)
    }
  }
}

const rowAt = (rows: Float64Array, at: number): Finished | undefined => {
  const [first, last, lastMs, submitted, duplicates, discarded] = rows.subarray(at * columns, (at + 1) * columns) as unknown as [number, number, number, number, number, number]
  return first === 0 ? undefined : { first, last, lastMs, submitted, duplicates, discarded }
}

const growFront = (table: Table, by: number): void => {
  const rows = new Float64Array((table.length + by) * columns)
  rows.set(table.rows.subarray(0, table.length * columns), by * columns)
  table.rows = rows
  table.base -= by
  table.length += by
}

/** Segments go in the order of their numbers, for the most part: what is empty at the front is given up when it is half of all. */
const shrink = (table: Table): void => {
  let empty = 0
  while (empty < table.length && table.rows[empty * columns] === 0) empty += 1
  if (empty * 2 < table.length) return
  table.rows = table.rows.slice(empty * columns, table.length * columns)
  table.base += empty
  table.length -= empty
}
