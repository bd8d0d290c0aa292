// How long a job may run, as people write it, in whole seconds. Pure.

const withUnit = /^([0-9]{1,10})(?:\.([0-9]{1,9}))?\s*([smh])$/
const clock = /^([0-9]{1,7}):([0-5][0-9]):([0-5][0-9])$/
const secondsOf: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600 }

/**
 * `N s|m|h` (with or without a fraction, rounded up to whole seconds), `hh:mm:ss`, or an integer, which counts minutes.
 * Undefined for anything else. The range is the caller's to check.
 */
export const parseDuration = (value: string | number): number | undefined => {
  if (typeof value === 'number') return Number.isSafeInteger(value) && value >= 0 ? value * 60 : undefined
  const measured = withUnit.exec(value)
  if (measured !== null) {
    const unit = secondsOf[measured[3]!]!
    const fraction = measured[2] ?? ''
    // Integers until the one division: 0.1 h is 360 s, not 361.
    return Number(measured[1]) * unit + Math.ceil((Number(fraction) * unit) / 10 ** fraction.length)
  }
  const timed = clock.exec(value)
  if (timed !== null) return Number(timed[1]) * 3600 + Number(timed[2]) * 60 + Number(timed[3])
  return undefined
}

export const formatDuration = (seconds: number): string => `${seconds} s`
