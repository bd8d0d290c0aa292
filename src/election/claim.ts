// What stands in a claim: who made it and for how long it holds. All claims of a term are links to one
// file, so a claim says nothing about its own number. Pure.

export interface Claim {
  readonly instance: string
  readonly host: string
  /** Where its owner can be reached; '' when nowhere. */
  readonly address: string
  /** The number of the claim that this file was made for, and so the term it begins. */
  readonly term: number
  /** 0: a resignation. */
  readonly leaseMs: number
  /** Makes the content unlike any other's. */
  readonly nonce: string
}

/** No lease is longer, so a claim that can't be read is waited out by this. */
export const leaseMsMax = 60_000

export const encodeClaim = (claim: Claim): Buffer => {
  const { instance, host, address, term, leaseMs, nonce } = claim
  return Buffer.from(`${JSON.stringify({ instance, host, address, term, leaseMs, nonce })}\n`)
}

/** Null for anything that isn't a whole claim. Members that a later version adds are let be. */
export const decodeClaim = (bytes: Uint8Array): Claim | null => {
  let value: unknown
  try {
    value = JSON.parse(Buffer.from(bytes).toString('utf8'))
  } catch {
    // Public files are written whole: this one is damaged, which the caller waits out.
    return null
  }
  if (typeof value !== 'object' || value === null) return null
  const { instance, host, address, term, leaseMs, nonce } = value as Record<string, unknown>
  if (typeof instance !== 'string' || typeof host !== 'string' || typeof address !== 'string') return null
  if (typeof nonce !== 'string' || typeof term !== 'number' || !Number.isSafeInteger(term) || term < 1) return null
  if (typeof leaseMs !== 'number' || !(leaseMs >= 0 && leaseMs <= leaseMsMax)) return null
  return { instance, host, address, term, leaseMs, nonce }
}
