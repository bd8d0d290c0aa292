// How long to wait before the next attempt: full jitter, so that clients that lost one host together don't come
// back together.
export const fullJitterMs = (attempt: number, baseMs: number, mostMs: number, random: () => number): number =>
  random() * Math.min(mostMs, baseMs * 2 ** Math.min(attempt, 30))

/** Fisher-Yates; the argument stays as it is. */
export const shuffled = <T>(items: readonly T[], random: () => number): T[] => {
  const result = [...items]
  for (let i = result.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1))
    const item = result[i]!
    result[i] = result[j]!
    result[j] = item
  }
  return result
}
