// A nudge: one UDP datagram by which one instance tells another that there is something new on the store (docs/protocol.md).
// Never more than a hint: it may get lost, come twice, late, or from anybody, and nothing depends on it. Pure.
//
// Layout: "USHN", u16 version, u16 what is new, 16 bytes uuid of the store. 24 bytes, integers little-endian.

/** `claims`: whoever follows should look at the claims; `published`: the leader should look for segments. */
export type Nudge = 'claims' | 'published'

export const nudgeBytes = 24

const mark = 'USHN'
const version = 1
const numbers: Readonly<Record<Nudge, number>> = { claims: 1, published: 2 }

const uuidHex = (uuid: string): string => uuid.replaceAll('-', '')

export const encodeNudge = (nudge: Nudge, storeUuid: string): Buffer => {
  const bytes = Buffer.alloc(nudgeBytes)
  bytes.write(mark, 0, 'latin1')
  bytes.writeUInt16LE(version, 4)
  bytes.writeUInt16LE(numbers[nudge], 6)
  bytes.write(uuidHex(storeUuid), 8, 'hex')
  return bytes
}

/**
 * Where an instance that listens there can be nudged, from another host; null: nowhere yet. One that listens on another
 * machine's loopback can't, and a nudge to it reaches nobody who minds.
 */
export const nudgeAddress = (host: string, listen: string): string | null => {
  if (listen === '') return null
  const wildcard = /^(?:0\.0\.0\.0|\[::\]):(\d+)$/.exec(listen)
  return wildcard === null ? listen : `${host}:${wildcard[1]}`
}

/** Null for anything that isn't a nudge of this version about this store. */
export const decodeNudge = (bytes: Buffer, storeUuid: string): Nudge | null => {
  if (bytes.length !== nudgeBytes || bytes.toString('latin1', 0, 4) !== mark || bytes.readUInt16LE(4) !== version) return null
  if (bytes.toString('hex', 8) !== uuidHex(storeUuid)) return null
  const number = bytes.readUInt16LE(6)
  return (Object.keys(numbers) as Nudge[]).find((nudge) => numbers[nudge] === number) ?? null
}
