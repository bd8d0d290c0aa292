// What docs/protocol.md says a server does with bytes, written down a second time and as plainly as possible: the
// vectors are checked against it. It keeps nothing and commits nothing: what it doesn't refuse it accepts at once.
import { Buffer } from 'node:buffer'
import { type Code, UsherError, wireOfCode } from '../../src/base/errors.ts'
import { fieldOfTag } from '../../src/protocol/fields.ts'
import { encodePreamble, type Frame, FrameDecoder, frameTypes, headerBytes } from '../../src/protocol/frame.ts'
import { decodeMessage, encodeMessage, type Message } from '../../src/protocol/messages.ts'

export interface ServerLimits {
  readonly clusters: readonly string[]
  readonly frameBytesMax: number
  readonly jobBytesMax: number
  readonly frameJobsMax: number
  readonly creditBytes: number
}

interface Mistake {
  readonly code: Code
  readonly field: number
  readonly detail: string
}

const notXml = /[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/u
const fatal = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

class JobJudge {
  readonly #bytes: Buffer
  readonly #limits: ServerLimits
  #at = 0

  constructor(bytes: Buffer, limits: ServerLimits) {
    this.#bytes = bytes
    this.#limits = limits
  }

  /** The first mistake in the order of the bytes. */
  judge(): Mistake | undefined {
    const integers = new Map<number, number>()
    const seen = new Set<number>()
    let last = 0
    let lastKey: Buffer | undefined
    while (this.#at < this.#bytes.length) {
      const tag = this.#bytes[this.#at++]!
      const length = this.#leb(this.#bytes.length)
      if (length === undefined || length > this.#bytes.length - this.#at) return { code: 'job_malformed', field: tag, detail: '' }
      const value = this.#bytes.subarray(this.#at, (this.#at += length))
      const info = fieldOfTag(tag)
      if (info === undefined) return { code: 'field_unknown', field: tag, detail: '' }
      const repeats = info.kind === 'argument' || info.kind === 'pair'
      if (tag < last || (tag === last && !repeats)) return { code: 'field_order', field: tag, detail: '' }
      if (tag > 4 && !seen.has(4)) return { code: 'field_missing', field: 4, detail: '' }
      if (tag !== last) lastKey = undefined
      const index = tag === last ? this.#index + 1 : 0
      this.#index = index
      last = tag
      seen.add(tag)
      const mistake = (code: Code, detail = ''): Mistake => ({ code, field: tag, detail })
      switch (info.kind) {
        case 'text':
        case 'argument': {
          if (info.kind === 'text' && value.length === 0) return mistake('field_invalid')
          const text = textMistake(value)
          if (text !== undefined) return mistake(text, info.kind === 'argument' ? String(index) : '')
          if (tag === 1 && !this.#limits.clusters.includes(value.toString())) return mistake('cluster_unknown')
          if (tag === 2 && !/^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/.test(value.toString())) return mistake('field_invalid')
          break
        }
        case 'boolean':
          if (value.length !== 1 || value[0]! > 1) return mistake('field_invalid')
          break
        case 'integer': {
          const top = value.at(-1)
          if (value.length < 1 || value.length > 8 || (value.length > 1 && top === 0)) return mistake('field_invalid')
          const number = value.reduceRight((sum, byte) => sum * 256n + BigInt(byte), 0n)
          if (number < BigInt(info.min) || number > BigInt(info.max)) return mistake('field_invalid')
          integers.set(tag, Number(number))
          break
        }
        case 'pair': {
          const inner = new JobJudge(value, this.#limits)
          const keyLength = inner.#leb(value.length)
          if (keyLength === undefined || keyLength > value.length - inner.#at) return mistake('job_malformed')
          const key = value.subarray(inner.#at, inner.#at + keyLength)
          if (key.length === 0 || (tag === 8 && key.includes('='))) return mistake('field_invalid', key.toString())
          const text = textMistake(key) ?? textMistake(value.subarray(inner.#at + keyLength))
          if (text !== undefined) return mistake(text, key.toString())
          if (lastKey !== undefined && Buffer.compare(key, lastKey) <= 0) return mistake('field_order', key.toString())
          lastKey = key
        }
      }
    }
    if (!seen.has(4)) return { code: 'field_missing', field: 4, detail: '' }
    if (!seen.has(1) && this.#limits.clusters.length !== 1) return { code: 'cluster_required', field: 1, detail: '' }
    const [nodes, processes, perNode] = [integers.get(16), integers.get(17), integers.get(18)]
    if (nodes !== undefined && processes !== undefined && perNode !== undefined && nodes * perNode !== processes) {
      return { code: 'resources_contradict', field: 17, detail: '' }
    }
    return undefined
  }

  #index = 0

  /** In its only form: at most 4 bytes, none of them superfluous. */
  #leb(end: number): number | undefined {
    let value = 0
    for (let i = 0; i < 4; i++) {
      if (this.#at >= end) return undefined
      const byte = this.#bytes[this.#at++]!
      value += (byte & 0x7f) * 128 ** i
      if (byte < 0x80) return i > 0 && byte === 0 ? undefined : value
    }
    return undefined
  }
}

const textMistake = (bytes: Uint8Array): 'text_not_utf8' | 'text_not_xml' | undefined => {
  try {
    return notXml.test(fatal.decode(bytes)) ? 'text_not_xml' : undefined
  } catch {
    return 'text_not_utf8'
  }
}

/** The jobs of a JOBS payload; undefined where it is malformed. */
export const splitJobs = (payload: Uint8Array, count: number): { sequence: bigint; fields: Buffer }[] | undefined => {
  const bytes = Buffer.from(payload.buffer, payload.byteOffset, payload.length)
  const jobs: { sequence: bigint; fields: Buffer }[] = []
  let at = 0
  while (at < bytes.length) {
    if (bytes.length - at < 4) return undefined
    const length = bytes.readUInt32LE(at)
    if (length < 8 || length > bytes.length - at - 4) return undefined
    jobs.push({ sequence: bytes.readBigUInt64LE(at + 4), fields: bytes.subarray(at + 12, at + 4 + length) })
    at += 4 + length
  }
  return jobs.length === count && count > 0 ? jobs : undefined
}

export const judgeJob = (fields: Buffer, limits: ServerLimits): Mistake | undefined =>
  fields.length + 8 > limits.jobBytesMax ? { code: 'job_too_large', field: 0, detail: '' } : new JobJudge(fields, limits).judge()

/** Everything a server answers to the bytes of one connection, and whether it closes. */
export const answer = (bytes: Uint8Array, limits: ServerLimits): { answer: Buffer; closes: boolean } => {
  const out: Buffer[] = []
  const write = (message: Message): void => void out.push(encodeMessage(message))
  let credit = limits.creditBytes
  let greeted = false
  let closes = false
  const stop = (): void => {
    closes = true
    decoder.stop()
  }
  const onFrame = (frame: Frame): void => {
    const message = decodeMessage(frame)
    if (message.type === 'HELLO' && !greeted) {
      greeted = true
      write({
        type: 'WELCOME', features: 0, frameBytesMax: limits.frameBytesMax, jobBytesMax: limits.jobBytesMax, frameJobsMax: limits.frameJobsMax,
        credit: BigInt(limits.creditBytes), idleMs: 60_000, store: '00000000-0000-0000-0000-000000000000', instance: 'i', host: 'h', version: '0',
      })
    } else if (!greeted || !['JOBS', 'PING', 'PONG', 'GOODBYE'].includes(message.type)) {
      throw new UsherError('frame_unexpected', `${message.type} at this point`)
    } else if (message.type === 'PING') {
      write({ type: 'PONG', token: message.token })
    } else if (message.type === 'GOODBYE') {
      write({ type: 'GOODBYE', code: 0, reason: '', addresses: [] })
      stop()
    } else if (message.type === 'JOBS') {
      const size = headerBytes + message.payload.length
      if (size > credit) throw new UsherError('credit_exceeded', `${size} bytes with a credit of ${credit}`)
      const jobs = splitJobs(message.payload, message.count)
      if (jobs === undefined || message.count > limits.frameJobsMax) throw new UsherError('frame_malformed', 'jobs and count')
      credit -= size
      for (const { sequence, fields } of jobs) {
        const mistake = judgeJob(fields, limits)
        if (mistake === undefined) write({ type: 'ACK', ranges: [{ first: sequence, jobs: 1 }] })
        else write({ type: 'REFUSED', jobs: [{ sequence, code: wireOfCode(mistake.code), field: mistake.field, detail: mistake.detail }] })
      }
      // As if a slow store had none of them yet; the last moment at which credit is due is the end of the bytes.
      owed += size
    }
  }
  let owed = 0
  const decoder = new FrameDecoder({
    payloadBytesMax: limits.frameBytesMax,
    onPreamble: ({ first, highest }) => {
      const fits = first <= 1 && highest >= 1
      out.push(encodePreamble(fits ? 1 : 0, 1))
      if (!fits) throw new UsherError('version_unsupported', 'only version 1 is spoken here')
    },
    onFrame,
  })
  try {
    decoder.push(bytes)
  } catch (error) {
    if (!(error instanceof UsherError)) throw error
    if (error.code === 'not_usher') out.push(encodePreamble(0, 1))
    write({ type: 'ERROR', code: wireOfCode(error.code), message: error.message })
    closes = true
  }
  if (owed > 0) {
    const last = out.at(-1)!
    const ends = last[8] === frameTypes.ERROR || last[8] === frameTypes.GOODBYE
    out.splice(ends ? -1 : out.length, 0, encodeMessage({ type: 'CREDIT', bytes: BigInt(owed) }))
  }
  return { answer: Buffer.concat(out), closes }
}
