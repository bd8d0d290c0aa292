// Bytes for vectors, right and wrong ones: unlike src/protocol, nothing here checks what it is told to build.
import { Buffer } from 'node:buffer'
import { ByteWriter } from '../../src/protocol/byte-writer.ts'
import { encodeFrame, encodePreamble, frameTypes } from '../../src/protocol/frame.ts'
import { encodeJob } from '../../src/protocol/job-encoder.ts'
import type { JobSpec } from '../../src/protocol/job-spec.ts'
import { encodeMessage } from '../../src/protocol/messages.ts'

export const producer = 0x9f8c2e71a4b0d3e5n
export const preamble = encodePreamble(1, 1)
export const hello = encodeMessage({ type: 'HELLO', producer, features: 0, name: 'vectors' })
export const greeting = Buffer.concat([preamble, hello])

export const bytes = (...values: number[]): Buffer => Buffer.from(values)

export const leb = (value: number): Buffer => {
  const out = new ByteWriter(8)
  out.leb(value)
  return out.take()
}

/** A field as it stands in a job. */
export const field = (tag: number, value: Buffer | string): Buffer => {
  const raw = typeof value === 'string' ? Buffer.from(value, 'utf8') : value
  return Buffer.concat([bytes(tag), leb(raw.length), raw])
}

export const pair = (tag: number, key: Buffer | string, value: Buffer | string): Buffer => {
  const [rawKey, rawValue] = [Buffer.from(key), Buffer.from(value)]
  return field(tag, Buffer.concat([leb(rawKey.length), rawKey, rawValue]))
}

/** A job made of fields. */
export const rawJob = (sequence: bigint | number, ...fields: Buffer[]): Buffer => {
  const out = new ByteWriter(64)
  const content = Buffer.concat(fields)
  out.u32(8 + content.length)
  out.u64(sequence)
  out.raw(content)
  return out.take()
}

export const job = (sequence: bigint | number, spec: JobSpec, beside: { cluster?: string; traceparent?: string } = {}): Buffer => {
  const out = new ByteWriter(64)
  encodeJob(out, sequence, { ...beside, spec })
  return out.take()
}

export const executable = field(4, '/bin/true')

export const jobsFrame = (count: number, ...jobs: Buffer[]): Buffer => encodeFrame(frameTypes.JOBS, count, Buffer.concat(jobs))
