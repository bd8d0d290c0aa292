// The frame of what ledgers and snapshots hold. Each record is one line:
//
//   LLLLLLLL CCCCCCCC DDDDDDDDDDDD {json}\n
//
// L: bytes of the JSON, C: CRC-32C of "DDDDDDDDDDDD {json}", D: bytes of this file known to be on stable
// storage when the record was made; all hexadecimal, lower case. A record that doesn't check with a later
// one whose D covers it is damage; one without is the torn tail of a crash, and what follows it was
// never synced: an unsynced intent was never submitted, an unsynced receipt is asked for again.

import { native } from '../base/native.ts'

const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, '0')
const prefixBytes = 8 + 1 + 8 + 1
const durableBytes = 12 + 1
/** Bytes of a frame around its JSON. */
export const frameBytes = prefixBytes + durableBytes + 1

export const encodeFrame = (value: object, durable: number): Buffer => {
  const json = Buffer.from(JSON.stringify(value))
  const line = Buffer.allocUnsafe(frameBytes + json.length)
  line.write(`${hex(durable, 12)} `, prefixBytes, 'latin1')
  json.copy(line, prefixBytes + durableBytes)
  line[line.length - 1] = 0x0a
  const crc = native.crc32c(line.subarray(prefixBytes, line.length - 1))
  line.write(`${hex(json.length, 8)} ${hex(crc, 8)} `, 0, 'latin1')
  return line
}

/** The number that stands there, before a space; -1: none does. Digit by digit, since a new leader does this for every record. */
const hexAt = (bytes: Buffer, offset: number, digits: number): number => {
  if (bytes[offset + digits] !== 0x20) return -1
  let value = 0
  for (let at = offset; at < offset + digits; at += 1) {
    const byte = bytes[at]!
    const isDigit = byte >= 0x30 && byte <= 0x39
    if (!isDigit && !(byte >= 0x61 && byte <= 0x66)) return -1
    // Twelve digits are more than 32 bits.
    value = value * 16 + byte - (isDigit ? 0x30 : 0x57)
  }
  return value
}

/** Bytes of the frame that begins there, as far as its length can be trusted; null: no frame begins there. */
export const frameLength = (bytes: Buffer, offset: number): number | null => {
  const length = offset + 9 <= bytes.length ? hexAt(bytes, offset, 8) : -1
  return length < 0 ? null : frameBytes + length
}

export interface Frame<T> {
  readonly value: T
  readonly durable: number
  /** Offset behind it. */
  readonly next: number
}

/** The frame that begins there; null: none, or it isn't whole. */
export const decodeFrame = <T>(bytes: Buffer, offset: number, parse: (json: string) => unknown = JSON.parse): Frame<T> | null => {
  const body = offset + prefixBytes
  if (body + durableBytes + 1 > bytes.length) return null
  const length = hexAt(bytes, offset, 8)
  const crc = hexAt(bytes, offset + 9, 8)
  const end = body + durableBytes + length
  if (length < 0 || crc < 0 || end >= bytes.length || bytes[end] !== 0x0a) return null
  if (native.crc32c(bytes.subarray(body, end)) !== crc) return null
  const durable = hexAt(bytes, body, 12)
  if (durable < 0) return null
  return { value: parse(bytes.toString('utf8', body + durableBytes, end)) as T, durable, next: end + 1 }
}

export interface Frames {
  /** How many. */
  readonly count: number
  /** Bytes that hold them. */
  readonly bytes: number
  /** Bytes after them that hold nothing whole: a crash's torn tail, or a write in progress. */
  readonly torn: number
  /** Offset of a record that was on stable storage once and doesn't check any more; null: none. */
  readonly damagedAt: number | null
}

/**
 * Hands over the records of a file up to its torn tail, one after the other. `from`: offset in the file of the first byte given.
 * Offsets in the answer count from there as well. Never throws on content.
 */
export const scanFrames = (bytes: Buffer, onValue: (value: unknown) => void, from = 0, parse: (json: string) => unknown = JSON.parse): Frames => {
  let offset = 0
  let count = 0
  for (;;) {
    const decoded = decodeFrame<unknown>(bytes, offset, parse)
    if (decoded === null) break
    onValue(decoded.value)
    count += 1
    offset = decoded.next
  }
  // A record behind the gap proves damage when it knew the gap to be on stable storage. It is looked for everywhere, since
  // neither the length nor the line feed of the damaged one can be trusted.
  let damagedAt: number | null = null
  if (offset < bytes.length) {
    for (const { index } of bytes.toString('latin1', offset).matchAll(/[0-9a-f]{8} [0-9a-f]{8} [0-9a-f]{12} \{/g)) {
      const later = decodeFrame(bytes, offset + index)
      if (later === null || later.durable <= from + offset) continue
      damagedAt = offset
      break
    }
  }
  return { count, bytes: offset, torn: bytes.length - offset, damagedAt }
}
