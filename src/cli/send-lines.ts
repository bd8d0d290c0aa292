// Lines of a stream, plain or gzipped, however large it is: in batches, one for each piece that was read, with
// constant memory. A line's number is its place in the file, from 1.
import { Buffer } from 'node:buffer'
import { pipeline, Readable } from 'node:stream'
import { createGunzip } from 'node:zlib'
import { messageOf, UsherError } from '../base/errors.ts'

export interface Line {
  readonly number: number
  /** Without its end; undefined where the line is no UTF-8 or too long. */
  readonly text: string | undefined
  readonly problem?: string
}

/** A line longer than this is no job: no frame could take it. */
export const lineBytesMax = 16 * 1024 * 1024

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const newline = 0x0a

/** The bytes, unpacked where the first two say that they are gzip's. */
const unpacked = async function* (input: Readable, onBytes: (bytes: number) => void): AsyncGenerator<Buffer> {
  const source = input[Symbol.asyncIterator]() as AsyncIterator<Buffer>
  const next = async (): Promise<Buffer | undefined> => {
    const { value, done } = await source.next()
    if (done === true) return undefined
    onBytes(value.length)
    return value
  }
  let head = Buffer.alloc(0)
  while (head.length < 2) {
    const chunk = await next()
    if (chunk === undefined) break
    head = Buffer.concat([head, chunk])
  }
  const rest = async function* (): AsyncGenerator<Buffer> {
    for (let chunk: Buffer | undefined = head; chunk !== undefined; chunk = await next()) yield chunk
  }
  if (head[0] !== 0x1f || head[1] !== 0x8b) return yield* rest()
  // An error of either end destroys both, and comes out of the loop.
  const gunzip = pipeline(Readable.from(rest(), { objectMode: false }), createGunzip(), () => undefined)
  try {
    for await (const chunk of gunzip) yield chunk as Buffer
  } catch (error) {
    if (!String((error as { code?: unknown }).code).startsWith('Z_')) throw error
    throw new UsherError('input_invalid', `the gzip data is damaged: ${messageOf(error)}`, { cause: error })
  }
}

const decode = (bytes: Buffer, number: number): Line => {
  const end = bytes.at(-1) === 0x0d ? bytes.length - 1 : bytes.length
  const bom = number === 1 && bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? 3 : 0
  try {
    return { number, text: utf8.decode(bytes.subarray(bom, end)) }
  } catch {
    // A wrong byte is the one thing that this decoder throws for.
    return { number, text: undefined, problem: 'the line is not UTF-8' }
  }
}

export const readLines = async function* (input: Readable, onBytes: (bytes: number) => void = () => {}): AsyncGenerator<Line[]> {
  let partial: Buffer[] = []
  let partialBytes = 0
  let number = 0
  const finish = (last: Buffer): Line => {
    number++
    const bytes = partial.length === 0 ? last : Buffer.concat([...partial, last])
    const tooLong = partialBytes + last.length > lineBytesMax
    partial = []
    partialBytes = 0
    return tooLong ? { number, text: undefined, problem: `the line has more than ${lineBytesMax} bytes` } : decode(bytes, number)
  }
  for await (const chunk of unpacked(input, onBytes)) {
    const lines: Line[] = []
    let start = 0
    for (let end = chunk.indexOf(newline); end >= 0; end = chunk.indexOf(newline, start)) {
      lines.push(finish(chunk.subarray(start, end)))
      start = end + 1
    }
    if (start < chunk.length) {
      partialBytes += chunk.length - start
      // What is too long isn't kept, only counted.
      if (partialBytes <= lineBytesMax) partial.push(chunk.subarray(start))
    }
    if (lines.length > 0) yield lines
  }
  if (partialBytes > 0) yield [finish(Buffer.alloc(0))]
}
