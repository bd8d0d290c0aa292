// A growing buffer to which little-endian numbers and text are appended. Fast, because every job of a load
// generator passes through it: no allocation but when it grows.
import { Buffer } from 'node:buffer'

/** So many UTF-16 units can't make 128 bytes of UTF-8, so that their length is one byte of LEB128. */
const shortText = 42

export class ByteWriter {
  #bytes: Buffer
  length = 0

  constructor(capacity = 4096) {
    this.#bytes = Buffer.allocUnsafe(capacity)
  }

  /** What has been written, as a view that the next write may change. */
  view(from = 0): Buffer {
    return this.#bytes.subarray(from, this.length)
  }

  /** What has been written, for the taker to keep. The writer starts again with memory of its own. */
  take(): Buffer {
    const taken = this.view()
    this.#bytes = Buffer.allocUnsafe(this.#bytes.length)
    this.length = 0
    return taken
  }

  clear(): void {
    this.length = 0
  }

  get capacity(): number {
    return this.#bytes.length
  }

  /** Makes sure that so many bytes can follow without another check. */
  reserve(bytes: number): void {
    const needed = this.length + bytes
    if (needed <= this.#bytes.length) return
    const larger = Buffer.allocUnsafe(Math.max(needed, this.#bytes.length * 2))
    this.#bytes.copy(larger, 0, 0, this.length)
    this.#bytes = larger
  }

  u8(value: number): void {
    this.reserve(1)
    this.#bytes[this.length++] = value
  }

  u16(value: number): void {
    this.reserve(2)
    this.length = this.#bytes.writeUInt16LE(value, this.length)
  }

  u32(value: number): void {
    this.reserve(4)
    this.length = this.#bytes.writeUInt32LE(value, this.length)
  }

  u64(value: bigint | number): void {
    this.reserve(8)
    if (typeof value === 'bigint') {
      this.length = this.#bytes.writeBigUInt64LE(value, this.length)
    } else {
      this.#bytes.writeUInt32LE(value % 0x1_0000_0000, this.length)
      this.length = this.#bytes.writeUInt32LE(Math.floor(value / 0x1_0000_0000), this.length + 4)
    }
  }

  setU32(offset: number, value: number): void {
    this.#bytes.writeUInt32LE(value, offset)
  }

  raw(bytes: Uint8Array): void {
    this.reserve(bytes.length)
    this.#bytes.set(bytes, this.length)
    this.length += bytes.length
  }

  leb(value: number): void {
    this.reserve(5)
    let rest = value
    while (rest >= 0x80) {
      this.#bytes[this.length++] = (rest & 0x7f) | 0x80
      rest >>>= 7
    }
    this.#bytes[this.length++] = rest
  }

  /** The text's UTF-8 without its length. */
  utf8(text: string): void {
    this.reserve(text.length * 3)
    this.length += this.#bytes.write(text, this.length, 'utf8')
  }

  /** The text's UTF-8 after its length as LEB128. */
  lebText(text: string): void {
    const units = text.length
    if (units > shortText) {
      const bytes = Buffer.byteLength(text, 'utf8')
      this.leb(bytes)
      this.reserve(bytes)
      this.length += this.#bytes.write(text, this.length, bytes, 'utf8')
      return
    }
    this.reserve(1 + units * 3)
    const bytes = this.#bytes
    const start = this.length + 1
    for (let i = 0; i < units; i++) {
      const unit = text.charCodeAt(i)
      if (unit >= 0x80) {
        const written = bytes.write(text, start, 'utf8')
        bytes[start - 1] = written
        this.length = start + written
        return
      }
      bytes[start + i] = unit
    }
    bytes[start - 1] = units
    this.length = start + units
  }
}
