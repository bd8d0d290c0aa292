// The digest of a configuration: hosts of one store with different digests do different things with the same job.
// What only concerns one host (paths, addresses, its number of CPUs, logs) isn't in it.
import { createHash } from 'node:crypto'

/** JSON with sorted keys, so that the order in which things were written doesn't matter. */
const canonical = (value: unknown): string => {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null'
  const entries = Object.entries(value).filter(([, entry]) => entry !== undefined)
  return `{${entries
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, entry]) => `${JSON.stringify(name)}:${canonical(entry)}`)
    .join(',')}}`
}

/** 8 hexadecimal digits of the SHA-256 of these settings. */
export const configDigest = (settings: Readonly<Record<string, unknown>>): string =>
  createHash('sha256').update(canonical(settings)).digest('hex').slice(0, 8)
