// Preamble and frames: writing them, and finding them in bytes that were cut anywhere. Knows nothing of what
// payloads mean (messages.ts). A view handed out by the decoder is only good until the call returns.
//
// Frame: u32 CRC-32C of the rest | u32 payload bytes | u8 type | u8 flags (0) | u16 count | payload. Little-endian.
import { Buffer } from 'node:buffer'
import { UsherError } from '../base/errors.ts'
import { crc32c, type Crc32c } from './crc32c.ts'

export const preambleBytes = 8
export const headerBytes = 12
export const protocolVersion = 1
export const countMaxPerFrame = 0xffff

export const frameTypes = {
  HELLO: 1,
  WELCOME: 2,
  JOBS: 3,
  ACK: 4,
  REFUSED: 5,
  CREDIT: 6,
  PING: 7,
  PONG: 8,
  GOODBYE: 9,
  ERROR: 10,
} as const


export interface Frame {
  readonly type: number
  readonly count: number
  readonly payload: Buffer
}

export interface Preamble {
  /** Lowest version the producer speaks, or the one that usher chose (0: none). */
  readonly first: number
  /** Highest version its sender speaks. */
  readonly highest: number
}

export const encodePreamble = (first: number, highest: number): Buffer => {
  const bytes = Buffer.from('USHR\0\0\0\0', 'latin1')
  bytes.writeUInt16LE(first, 4)
  bytes.writeUInt16LE(highest, 6)
  return bytes
}

/** Room for a frame with a payload of this size; finishFrame completes it once the payload stands there. */
export const beginFrame = (payloadBytes: number): Buffer => Buffer.allocUnsafe(headerBytes + payloadBytes)

export const finishFrame = (frame: Buffer, type: number, count: number, crc: Crc32c = crc32c): Buffer => {
  frame.writeUInt32LE(frame.length - headerBytes, 4)
  frame[8] = type
  frame[9] = 0
  frame.writeUInt16LE(count, 10)
  frame.writeUInt32LE(crc(frame.subarray(4)), 0)
  return frame
}

export const encodeFrame = (type: number, count: number, payload: Uint8Array, crc: Crc32c = crc32c): Buffer => {
  const frame = beginFrame(payload.length)
  frame.set(payload, headerBytes)
  return finishFrame(frame, type, count, crc)
}

export interface FrameDecoderOptions {
  /** Expect the 8 bytes of a preamble first. */
  readonly onPreamble?: (preamble: Preamble) => void
  readonly onFrame: (frame: Frame) => void
  /** A larger payload is refused before it is kept. May be raised later. */
  readonly payloadBytesMax: number
  readonly crc32c?: Crc32c
}

export class FrameDecoder {
  payloadBytesMax: number
  readonly #onPreamble: ((preamble: Preamble) => void) | undefined
  readonly #onFrame: (frame: Frame) => void
  readonly #crc: Crc32c
  #greeted: boolean
  /** The beginning of what isn't complete yet; grows to the whole frame once its length is known. */
  #partial: Buffer = Buffer.alloc(0)
  #filled = 0
  #stopped = false

  constructor(options: FrameDecoderOptions) {
    this.payloadBytesMax = options.payloadBytesMax
    this.#onPreamble = options.onPreamble
    this.#onFrame = options.onFrame
    this.#crc = options.crc32c ?? crc32c
    this.#greeted = options.onPreamble === undefined
  }

  /** Bytes kept of something that isn't complete. */
  get partialBytes(): number {
    return this.#filled
  }

  /** Nothing more is taken or handed out, not even what the running push still has. */
  stop(): void {
    this.#stopped = true
    this.#partial = Buffer.alloc(0)
    this.#filled = 0
  }

  /** Takes bytes as they came. Throws UsherError when they aren't what the protocol says; the stream is then over. */
  push(bytes: Uint8Array): void {
    const chunk = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
    try {
      let at = 0
      while (this.#filled > 0 && at < chunk.length && !this.#stopped) at = this.#complete(chunk, at)
      while (at < chunk.length && !this.#stopped) {
        const needed = this.#needed(chunk, at, chunk.length - at)
        if (needed > chunk.length - at) {
          this.#partial = Buffer.allocUnsafe(needed)
          this.#filled = chunk.copy(this.#partial, 0, at)
          return
        }
        this.#deliver(chunk.subarray(at, at + needed))
        at += needed
      }
    } catch (error) {
      this.stop()
      throw error
    }
  }

  /** Adds to what is partial until it is whole, and hands it out. Returns where the rest begins. */
  #complete(chunk: Buffer, start: number): number {
    let at = start
    for (;;) {
      const taken = chunk.copy(this.#partial, this.#filled, at)
      this.#filled += taken
      at += taken
      if (this.#filled < this.#partial.length) return at
      const needed = this.#needed(this.#partial, 0, this.#filled)
      if (needed === this.#filled) break
      const larger = Buffer.allocUnsafe(needed)
      this.#partial.copy(larger, 0, 0, this.#filled)
      this.#partial = larger
    }
    const whole = this.#partial
    this.#partial = Buffer.alloc(0)
    this.#filled = 0
    this.#deliver(whole)
    return at
  }

  /** How many bytes what begins here has; as much of it as can be told from what is there. */
  #needed(bytes: Buffer, at: number, available: number): number {
    if (!this.#greeted) return preambleBytes
    if (available < headerBytes) return headerBytes
    const payloadBytes = bytes.readUInt32LE(at + 4)
    if (payloadBytes > this.payloadBytesMax) {
      throw new UsherError('frame_too_large', `a payload of ${payloadBytes} bytes, where ${this.payloadBytesMax} are allowed`)
    }
    return headerBytes + payloadBytes
  }

  #deliver(bytes: Buffer): void {
    if (!this.#greeted) {
      if (bytes.toString('latin1', 0, 4) !== 'USHR') throw new UsherError('not_usher', 'the first bytes are not "USHR"')
      this.#greeted = true
      this.#onPreamble?.({ first: bytes.readUInt16LE(4), highest: bytes.readUInt16LE(6) })
      return
    }
    if (this.#crc(bytes.subarray(4)) !== bytes.readUInt32LE(0)) {
      throw new UsherError('frame_corrupt', "the CRC doesn't match the frame")
    }
    const type = bytes[8]!
    if (bytes[9] !== 0) throw new UsherError('frame_unexpected', `flags ${bytes[9]} in a frame of type ${type}`)
    this.#onFrame({ type, count: bytes.readUInt16LE(10), payload: bytes.subarray(headerBytes) })
  }
}
