// What frames mean: one message type each, to bytes and back. JOBS keeps its jobs as bytes (job-encoder.ts).
// Sequences are bigint here; the client's hot path, acknowledgements, has visitAck.
import { Buffer } from 'node:buffer'
import { invariant, UsherError } from '../base/errors.ts'
import { ByteWriter } from './byte-writer.ts'
import type { Crc32c } from './crc32c.ts'
import { encodeFrame, type Frame, frameTypes } from './frame.ts'
import { PayloadReader } from './payload-reader.ts'

export interface Hello {
  readonly type: 'HELLO'
  readonly producer: bigint
  readonly features: number
  readonly name: string
}

export interface Welcome {
  readonly type: 'WELCOME'
  readonly features: number
  readonly frameBytesMax: number
  readonly jobBytesMax: number
  readonly frameJobsMax: number
  readonly credit: bigint
  readonly idleMs: number
  /** Of the store, with hyphens. */
  readonly store: string
  readonly instance: string
  readonly host: string
  readonly version: string
}

export interface Jobs {
  readonly type: 'JOBS'
  readonly count: number
  readonly payload: Uint8Array
}

export interface Ack {
  readonly type: 'ACK'
  readonly ranges: readonly { readonly first: bigint; readonly jobs: number }[]
}

export interface RefusedJob {
  readonly sequence: bigint
  /** Number on the wire (codeOfWire). */
  readonly code: number
  /** Tag, 0 for the job. */
  readonly field: number
  readonly detail: string
}

export interface Refused {
  readonly type: 'REFUSED'
  readonly jobs: readonly RefusedJob[]
}

export type Message =
  | Hello
  | Welcome
  | Jobs
  | Ack
  | Refused
  | { readonly type: 'CREDIT'; readonly bytes: bigint }
  | { readonly type: 'PING' | 'PONG'; readonly token: bigint }
  | { readonly type: 'GOODBYE'; readonly code: number; readonly reason: string; readonly addresses: readonly string[] }
  | { readonly type: 'ERROR'; readonly code: number; readonly message: string }

const ackBytes = 12

const counted = (out: ByteWriter, text: string, limit: number, width: 'u8' | 'u16'): void => {
  const bytes = Buffer.from(text, 'utf8')
  invariant(bytes.length <= limit, `text of ${bytes.length} bytes where ${limit} fit`)
  out[width](bytes.length)
  out.raw(bytes)
}

const text8 = (out: ByteWriter, text: string): void => counted(out, text, 0xff, 'u8')

/** Appends the payload; returns the count of the header. */
const encodePayload = (out: ByteWriter, message: Message): number => {
  switch (message.type) {
    case 'HELLO':
      out.u64(message.producer)
      out.u32(message.features)
      text8(out, message.name)
      return 0
    case 'WELCOME':
      out.u32(message.features)
      out.u32(message.frameBytesMax)
      out.u32(message.jobBytesMax)
      out.u32(message.frameJobsMax)
      out.u64(message.credit)
      out.u32(message.idleMs)
      out.raw(Buffer.from(message.store.replaceAll('-', ''), 'hex'))
      text8(out, message.instance)
      text8(out, message.host)
      text8(out, message.version)
      return 0
    case 'JOBS':
      out.raw(message.payload)
      return message.count
    case 'ACK':
      for (const range of message.ranges) {
        out.u64(range.first)
        out.u32(range.jobs)
      }
      return message.ranges.length
    case 'REFUSED':
      for (const job of message.jobs) {
        out.u64(job.sequence)
        out.u16(job.code)
        out.u8(job.field)
        text8(out, job.detail)
      }
      return message.jobs.length
    case 'CREDIT':
      out.u64(message.bytes)
      return 0
    case 'PING':
    case 'PONG':
      out.u64(message.token)
      return 0
    case 'GOODBYE':
      out.u16(message.code)
      text8(out, message.reason)
      for (const address of message.addresses) text8(out, address)
      return message.addresses.length
    case 'ERROR':
      out.u16(message.code)
      counted(out, message.message, 0xffff, 'u16')
      return 0
  }
}

export const encodeMessage = (message: Message, crc?: Crc32c): Buffer => {
  const out = new ByteWriter(256)
  const count = encodePayload(out, message)
  return encodeFrame(frameTypes[message.type], count, out.view(), crc)
}

const decodeUuid = (bytes: Buffer): string => bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')

const repeat = <T>(count: number, read: () => T): T[] => Array.from({ length: count }, read)

const decodePayload = (frame: Frame, read: PayloadReader): Message => {
  switch (frame.type) {
    case frameTypes.HELLO:
      return { type: 'HELLO', producer: read.u64(), features: read.u32(), name: read.text8() }
    case frameTypes.WELCOME:
      return {
        type: 'WELCOME',
        features: read.u32(),
        frameBytesMax: read.u32(),
        jobBytesMax: read.u32(),
        frameJobsMax: read.u32(),
        credit: read.u64(),
        idleMs: read.u32(),
        store: decodeUuid(read.raw(16)),
        instance: read.text8(),
        host: read.text8(),
        version: read.text8(),
      }
    case frameTypes.JOBS:
      return { type: 'JOBS', count: frame.count, payload: read.raw(read.left) }
    case frameTypes.ACK:
      return { type: 'ACK', ranges: repeat(frame.count, () => ({ first: read.u64(), jobs: read.u32() })) }
    case frameTypes.REFUSED:
      return {
        type: 'REFUSED',
        jobs: repeat(frame.count, () => ({ sequence: read.u64(), code: read.u16(), field: read.u8(), detail: read.cutText8() })),
      }
    case frameTypes.CREDIT:
      return { type: 'CREDIT', bytes: read.u64() }
    case frameTypes.PING:
      return { type: 'PING', token: read.u64() }
    case frameTypes.PONG:
      return { type: 'PONG', token: read.u64() }
    case frameTypes.GOODBYE:
      return { type: 'GOODBYE', code: read.u16(), reason: read.text8(), addresses: repeat(frame.count, () => read.text8()) }
    case frameTypes.ERROR:
      return { type: 'ERROR', code: read.u16(), message: read.text16() }
    default:
      throw new UsherError('frame_unexpected', `there is no frame of type ${frame.type}`)
  }
}

const isCounted = new Set<number>([frameTypes.JOBS, frameTypes.ACK, frameTypes.REFUSED, frameTypes.GOODBYE])

/** Throws UsherError: `frame_unexpected` for an unknown type, `frame_malformed` for a payload of another shape. */
export const decodeMessage = (frame: Frame): Message => {
  const read = new PayloadReader(frame.payload)
  const message = decodePayload(frame, read)
  read.end()
  if (frame.count !== 0 && !isCounted.has(frame.type)) {
    throw new UsherError('frame_malformed', `a count of ${frame.count} in a frame of type ${frame.type}, which has none`)
  }
  return message
}

/**
 * The ranges of an ACK without an object for each. A first sequence beyond 2^53 comes out rounded: whoever mints
 * larger ones takes decodeMessage.
 */
export const visitAck = (frame: Frame, visit: (first: number, jobs: number) => void): void => {
  const { payload, count } = frame
  if (payload.length !== count * ackBytes) throw new UsherError('frame_malformed', `${payload.length} bytes for ${count} ranges`)
  for (let at = 0; at < payload.length; at += ackBytes) {
    visit(payload.readUInt32LE(at) + payload.readUInt32LE(at + 4) * 0x1_0000_0000, payload.readUInt32LE(at + 8))
  }
}
