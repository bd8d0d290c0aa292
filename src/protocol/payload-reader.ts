// Reads a payload from its beginning to its end. Throws `frame_malformed` where it is shorter or longer than its type says.
import { Buffer } from 'node:buffer'
import { UsherError } from '../base/errors.ts'

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

export class PayloadReader {
  readonly #bytes: Buffer
  #at = 0

  constructor(payload: Uint8Array) {
    this.#bytes = Buffer.from(payload.buffer, payload.byteOffset, payload.length)
  }

  get left(): number {
    return this.#bytes.length - this.#at
  }

  #advance(bytes: number): number {
    if (bytes > this.left) throw new UsherError('frame_malformed', `the payload ends ${bytes - this.left} bytes early`)
    const at = this.#at
    this.#at += bytes
    return at
  }

  u8(): number {
    return this.#bytes[this.#advance(1)]!
  }

  u16(): number {
    return this.#bytes.readUInt16LE(this.#advance(2))
  }

  u32(): number {
    return this.#bytes.readUInt32LE(this.#advance(4))
  }

  u64(): bigint {
    return this.#bytes.readBigUInt64LE(this.#advance(8))
  }

  raw(bytes: number): Buffer {
    const at = this.#advance(bytes)
    return this.#bytes.subarray(at, at + bytes)
  }

  text(bytes: number): string {
    const raw = this.raw(bytes)
    try {
      return utf8.decode(raw)
    } catch (error) {
      throw new UsherError('frame_malformed', 'text of the payload is not UTF-8', { cause: error })
    }
  }

  text8(): string {
    return this.text(this.u8())
  }

  text16(): string {
    return this.text(this.u16())
  }

  /** Text that its sender may have cut within a character. */
  cutText8(): string {
    return this.raw(this.u8()).toString('utf8')
  }

  end(): void {
    if (this.left > 0) throw new UsherError('frame_malformed', `${this.left} bytes are left over in the payload`)
  }
}
