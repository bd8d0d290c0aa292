// Which known name was probably meant by an unknown one.

/** Letters to insert, remove, replace or swap with a neighbour. */
const distance = (a: string, b: string): number => {
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, j) => j)]
  for (let i = 1; i <= a.length; i += 1) {
    const row = [i]
    for (let j = 1; j <= b.length; j += 1) {
      const at = (r: number[] | undefined, c: number): number => r?.[c] ?? Number.POSITIVE_INFINITY
      const replace = at(rows[i - 1], j - 1) + (a[i - 1] === b[j - 1] ? 0 : 1)
      const swap =
        i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1] ? at(rows[i - 2], j - 2) + 1 : Number.POSITIVE_INFINITY
      row.push(Math.min(at(rows[i - 1], j) + 1, at(row, j - 1) + 1, replace, swap))
    }
    rows.push(row)
  }
  return rows[a.length]?.[b.length] ?? Number.POSITIVE_INFINITY
}

const lastPart = (name: string): string => name.slice(name.lastIndexOf('.') + 1)

/** The known name that is nearest to `given`, or undefined where none is near. A key in the wrong section counts as near. */
export const nearestName = (given: string, known: Iterable<string>): string | undefined => {
  let best: string | undefined
  let bestScore = Number.POSITIVE_INFINITY
  const wanted = given.toLowerCase()
  for (const name of known) {
    const whole = distance(wanted, name.toLowerCase())
    const score = Math.min(whole, distance(lastPart(wanted), lastPart(name.toLowerCase())) + 0.5)
    if (score < bestScore) [best, bestScore] = [name, score]
  }
  return bestScore <= Math.max(1.5, lastPart(wanted).length / 3) ? best : undefined
}
