// CRC-32C (Castagnoli; RFC 3720 appendix B.4) in plain TypeScript, eight bytes a step, so that the client library
// works without the addon. Where the addon is there, its hardware version is handed in instead.

/** A CRC of data, continuing from `seed`, the CRC of what came before (0: nothing did). */
export type Crc32c = (data: Uint8Array, seed?: number) => number

const polynomialReflected = 0x82f63b78

/** Table k holds what a byte adds to the CRC when k more bytes follow it within the step. */
const tables = ((): Int32Array => {
  const table = new Int32Array(8 * 256)
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ polynomialReflected : crc >>> 1
    table[byte] = crc
  }
  for (let i = 256; i < table.length; i++) {
    const before = table[i - 256]!
    table[i] = (before >>> 8) ^ table[before & 0xff]!
  }
  return table
})()

export const crc32c: Crc32c = (data, seed = 0) => {
  const t = tables
  let crc = ~seed
  let i = 0
  for (const end = data.length - 7; i < end; i += 8) {
    crc ^= data[i]! | (data[i + 1]! << 8) | (data[i + 2]! << 16) | (data[i + 3]! << 24)
    crc =
      t[1792 + (crc & 0xff)]! ^
      t[1536 + ((crc >>> 8) & 0xff)]! ^
      t[1280 + ((crc >>> 16) & 0xff)]! ^
      t[1024 + (crc >>> 24)]! ^
      t[768 + data[i + 4]!]! ^
      t[512 + data[i + 5]!]! ^
      t[256 + data[i + 6]!]! ^
      t[data[i + 7]!]!
  }
  for (; i < data.length; i++) crc = (crc >>> 8) ^ t[(crc ^ data[i]!) & 0xff]!
  return ~crc >>> 0
}
