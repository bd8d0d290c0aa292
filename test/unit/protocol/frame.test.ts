import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { UsherError } from '../../../src/base/errors.ts'
import { crc32c } from '../../../src/protocol/crc32c.ts'
import { encodePreamble, FrameDecoder, type Preamble } from '../../../src/protocol/frame.ts'
import { decodeMessage, encodeMessage, type Message, visitAck } from '../../../src/protocol/messages.ts'

const seed = Number(process.env['SEED'] ?? Date.now() % 2 ** 31)

const u64 = fc.bigInt(0n, 2n ** 64n - 1n)
const u32 = fc.nat({ max: 2 ** 32 - 1 })
const u16 = fc.nat({ max: 0xffff })
const text8 = fc.string({ unit: 'grapheme', maxLength: 12 }).filter((text) => Buffer.byteLength(text) < 256)
const message: fc.Arbitrary<Message> = fc.oneof(
  fc.record({ type: fc.constant('HELLO' as const), producer: u64, features: u32, name: text8 }),
  fc.record({
    type: fc.constant('WELCOME' as const), features: u32, frameBytesMax: u32, jobBytesMax: u32, frameJobsMax: u32, credit: u64, idleMs: u32,
    store: fc.uuid(), instance: text8, host: text8, version: text8,
  }),
  fc.record({ type: fc.constant('JOBS' as const), count: u16, payload: fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)) }),
  fc.record({ type: fc.constant('ACK' as const), ranges: fc.array(fc.record({ first: u64, jobs: u32 })) }),
  fc.record({ type: fc.constant('REFUSED' as const), jobs: fc.array(fc.record({ sequence: u64, code: u16, field: fc.nat({ max: 255 }), detail: text8 })) }),
  fc.record({ type: fc.constant('CREDIT' as const), bytes: u64 }),
  fc.record({ type: fc.constantFrom('PING' as const, 'PONG' as const), token: u64 }),
  fc.record({ type: fc.constant('GOODBYE' as const), code: u16, reason: text8, addresses: fc.array(text8, { maxLength: 4 }) }),
  fc.record({ type: fc.constant('ERROR' as const), code: u16, message: text8 }),
)

const decodeAll = (chunks: readonly Uint8Array[], payloadBytesMax = 65_536): { preambles: Preamble[]; messages: Message[] } => {
  const preambles: Preamble[] = []
  const messages: Message[] = []
  const decoder = new FrameDecoder({
    payloadBytesMax,
    onPreamble: (preamble) => preambles.push(preamble),
    onFrame: (frame) => {
      const decoded = decodeMessage(frame)
      messages.push(decoded.type === 'JOBS' ? { ...decoded, payload: Buffer.from(decoded.payload) } : decoded)
    },
  })
  for (const chunk of chunks) {
    // Whoever reads sockets may use the memory again.
    const once = Buffer.from(chunk)
    decoder.push(once)
    once.fill(0xee)
  }
  expect(decoder.partialBytes).toBe(0)
  return { preambles, messages }
}

const codeOf = (run: () => unknown): string => {
  try {
    run()
  } catch (error) {
    if (error instanceof UsherError) return error.code
    throw error
  }
  return 'none'
}

describe('CRC-32C', () => {
  it('has the values of RFC 3720', () => {
    expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283)
    expect(crc32c(Buffer.alloc(32))).toBe(0x8a9136aa)
    expect(crc32c(Buffer.alloc(32, 0xff))).toBe(0x62a8ab43)
    expect(crc32c(Buffer.from(Array.from({ length: 32 }, (_, i) => i)))).toBe(0x46dd794e)
    expect(crc32c(Buffer.alloc(0))).toBe(0)
  })

  it('continues from a seed, cut anywhere, and agrees with bit by bit', () => {
    const slow = (data: Uint8Array): number => {
      let crc = ~0
      for (const byte of data) {
        crc ^= byte
        for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1
      }
      return ~crc >>> 0
    }
    fc.assert(fc.property(fc.uint8Array({ maxLength: 100 }), fc.nat(100), (data, at) => {
      expect(crc32c(data)).toBe(slow(data))
      expect(crc32c(data.subarray(at), crc32c(data.subarray(0, at)))).toBe(slow(data))
    }), { seed })
  })
})

describe('frames', () => {
  it('come back whole, wherever the bytes are cut', () => {
    fc.assert(fc.property(fc.array(message, { maxLength: 6 }), fc.array(fc.nat(2000)), (messages, cuts) => {
      const bytes = Buffer.concat([encodePreamble(1, 9), ...messages.map((one) => encodeMessage(one))])
      const places = [0, ...cuts.map((cut) => cut % bytes.length).sort((a, b) => a - b), bytes.length]
      const chunks = places.slice(1).map((end, i) => bytes.subarray(places[i]!, end))
      expect(decodeAll(chunks)).toEqual({ preambles: [{ first: 1, highest: 9 }], messages })
    }), { seed, numRuns: 300 })
  })

  it('come back whole when split at every byte', () => {
    const messages: Message[] = [{ type: 'PING', token: 7n }, { type: 'GOODBYE', code: 66, reason: 'bye', addresses: ['a:1', 'b:2'] }]
    const bytes = Buffer.concat([encodePreamble(1, 1), ...messages.map((one) => encodeMessage(one))])
    for (let at = 0; at <= bytes.length; at++) expect(decodeAll([bytes.subarray(0, at), bytes.subarray(at)]).messages).toEqual(messages)
    expect(decodeAll([...bytes].map((byte) => Buffer.from([byte]))).messages).toEqual(messages)
  })

  it('give nothing while they are cut short, at every byte', () => {
    const bytes = encodeMessage({ type: 'ERROR', code: 3, message: 'x' })
    for (let length = 0; length < bytes.length; length++) {
      let seen = 0
      const decoder = new FrameDecoder({ payloadBytesMax: 100, onFrame: () => seen++ })
      decoder.push(bytes.subarray(0, length))
      expect([seen, decoder.partialBytes]).toEqual([0, length])
    }
  })

  it('with any one bit turned over are an error, never another message', () => {
    const bytes = encodeMessage({ type: 'ACK', ranges: [{ first: 17n, jobs: 3 }] })
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const wrong = Buffer.from(bytes)
      wrong[bit >> 3]! ^= 1 << (bit & 7)
      let seen = 0
      const decoder = new FrameDecoder({ payloadBytesMax: 1000, onFrame: () => seen++ })
      const code = codeOf(() => decoder.push(wrong))
      expect(seen).toBe(0)
      // A longer length is only found out when the bytes after it are there.
      if (code === 'none') expect(decoder.partialBytes).toBe(bytes.length)
      else expect(['frame_corrupt', 'frame_too_large']).toContain(code)
    }
  })

  it('that are too large are refused before the payload is there', () => {
    const decoder = new FrameDecoder({ payloadBytesMax: 100, onFrame: () => undefined })
    const header = Buffer.alloc(12)
    header.writeUInt32LE(101, 4)
    expect(codeOf(() => decoder.push(header))).toBe('frame_too_large')
    expect(decoder.partialBytes).toBe(0)
  })

  it('of random bytes end in an error of the protocol or wait for more', () => {
    fc.assert(fc.property(fc.array(fc.uint8Array({ maxLength: 64 }), { maxLength: 8 }), fc.boolean(), (chunks, greeted) => {
      const decoder = new FrameDecoder({ payloadBytesMax: 1000, onFrame: decodeMessage, crc32c: () => 0, ...(greeted ? {} : { onPreamble: () => undefined }) })
      const code = codeOf(() => chunks.forEach((chunk) => decoder.push(chunk)))
      expect(['none', 'not_usher', 'frame_corrupt', 'frame_too_large', 'frame_unexpected', 'frame_malformed']).toContain(code)
    }), { seed, numRuns: 1000 })
  })

  it('with payloads of random bytes decode or are malformed', () => {
    fc.assert(fc.property(fc.nat({ max: 12 }), u16, fc.uint8Array({ maxLength: 80 }), (type, count, payload) => {
      const code = codeOf(() => decodeMessage({ type, count, payload: Buffer.from(payload) }))
      expect(['none', 'frame_unexpected', 'frame_malformed']).toContain(code)
    }), { seed, numRuns: 2000 })
  })

  it('name ranges without objects as they do with them', () => {
    const bytes = encodeMessage({ type: 'ACK', ranges: [{ first: 2n ** 53n - 1n, jobs: 1 }, { first: 4_294_967_296n, jobs: 7 }] })
    const seen: [number, number][] = []
    new FrameDecoder({ payloadBytesMax: 100, onFrame: (frame) => visitAck(frame, (first, jobs) => seen.push([first, jobs])) }).push(bytes)
    expect(seen).toEqual([[2 ** 53 - 1, 1], [2 ** 32, 7]])
  })
})
