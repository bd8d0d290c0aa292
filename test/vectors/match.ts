// Whether what a server answered is what a vector expects. Use it to replay the vectors against any server:
// write `bytes`, collect what comes back, and call mismatches() until it returns nothing or patience ends.
//
// How `expect` is read: PREAMBLE, WELCOME, PONG, GOODBYE and ERROR are compared one by one, in their order. ACK,
// REFUSED and CREDIT may come in any order and grouping, so that of these the jobs and the sum of bytes are
// compared. "*" stands for anything. A frame with `maybe` may be missing. An ACK with `again` is one for
// jobs that were acknowledged before; it may or may not stand apart from the first. A detail may be cut: any prefix will do.
import { codeOfWire } from '../../src/base/errors.ts'
import { fieldNameOfTag } from '../../src/protocol/fields.ts'
import { FrameDecoder } from '../../src/protocol/frame.ts'
import { decodeMessage, type Message } from '../../src/protocol/messages.ts'

export type ExpectedFrame = { readonly type: string; readonly maybe?: true } & Readonly<Record<string, unknown>>

export interface Expectation {
  readonly frames: readonly ExpectedFrame[]
  readonly closes: boolean
}

type Plain = Record<string, unknown> & { type: string }

const refusedAs = (job: { sequence: bigint; code: number; field: number; detail: string }): Plain => ({
  type: 'job', sequence: String(job.sequence), code: codeOfWire(job.code) ?? String(job.code), field: fieldNameOfTag(job.field), detail: job.detail,
})

/** A message as vectors show it: integers of 64 bits as decimal text, codes and fields by name. */
export const describeMessage = (message: Message): Plain => {
  switch (message.type) {
    case 'HELLO':
      return { ...message, producer: message.producer.toString(16).padStart(16, '0') }
    case 'WELCOME':
      return { ...message, credit: String(message.credit) }
    case 'JOBS':
      return { type: 'JOBS', count: message.count, payload: Buffer.from(message.payload).toString('hex') }
    case 'ACK':
      return { type: 'ACK', ranges: message.ranges.map(({ first, jobs }) => ({ first: String(first), jobs })) }
    case 'REFUSED':
      return { type: 'REFUSED', jobs: message.jobs.map((job) => ({ ...refusedAs(job), type: undefined })) }
    case 'CREDIT':
      return { type: 'CREDIT', bytes: String(message.bytes) }
    case 'PING':
    case 'PONG':
      return { type: message.type, token: String(message.token) }
    case 'GOODBYE':
    case 'ERROR':
      return { ...message, code: message.code === 0 ? 'none' : (codeOfWire(message.code) ?? String(message.code)) }
  }
}

interface Answers {
  readonly inOrder: Plain[]
  readonly accepted: string[]
  readonly refused: Map<string, Plain>
  credit: bigint
}

const read = (bytes: Uint8Array): Answers => {
  const answers: Answers = { inOrder: [], accepted: [], refused: new Map(), credit: 0n }
  const decoder = new FrameDecoder({
    payloadBytesMax: 2 ** 24,
    onPreamble: ({ first, highest }) => answers.inOrder.push({ type: 'PREAMBLE', version: first, highest }),
    onFrame: (frame) => {
      const message = decodeMessage(frame)
      if (message.type === 'ACK') {
        for (const range of message.ranges) for (let i = 0; i < range.jobs; i++) answers.accepted.push(String(range.first + BigInt(i)))
      } else if (message.type === 'REFUSED') {
        for (const job of message.jobs) answers.refused.set(String(job.sequence), refusedAs(job))
      } else if (message.type === 'CREDIT') {
        answers.credit += message.bytes
      } else {
        answers.inOrder.push(describeMessage(message))
      }
    },
  })
  decoder.push(bytes)
  return answers
}

const differs = (expected: unknown, actual: unknown, key: string): boolean => {
  if (expected === '*') return false
  if (key === 'detail') return !(typeof actual === 'string' && String(expected).startsWith(actual))
  return JSON.stringify(expected) !== JSON.stringify(actual)
}

const compare = (expected: ExpectedFrame, actual: Plain | undefined): string[] => {
  if (actual === undefined) return [`${expected.type} is missing`]
  const keys = Object.keys(expected).filter((key) => key !== 'maybe' && differs(expected[key], actual[key], key))
  return keys.map((key) => `${expected.type}.${key} is ${JSON.stringify(actual[key])}, not ${JSON.stringify(expected[key])}`)
}

/** What is not as expected, in words; empty when everything is. */
export const mismatches = (expect: Expectation, bytes: Uint8Array, closed: boolean): string[] => {
  const answers = read(bytes)
  const problems: string[] = []
  const inOrder = [...answers.inOrder]
  const accepted = new Set(answers.accepted)
  const twice = expect.frames.some((frame) => frame.type === 'ACK' && frame['again'] === true)
  if (accepted.size !== answers.accepted.length && !twice) problems.push('a job was acknowledged twice')
  let credit = answers.credit
  for (const frame of expect.frames) {
    if (frame.type === 'ACK') {
      if (frame['again'] === true) continue
      for (const { first, jobs } of frame['ranges'] as { first: string; jobs: number }[]) {
        for (let i = 0; i < jobs; i++) {
          const sequence = String(BigInt(first) + BigInt(i))
          if (!accepted.delete(sequence) && frame.maybe !== true) problems.push(`job ${sequence} was not acknowledged`)
        }
      }
    } else if (frame.type === 'REFUSED') {
      for (const job of frame['jobs'] as ExpectedFrame[]) {
        const sequence = String(job['sequence'])
        const actual = answers.refused.get(sequence)
        answers.refused.delete(sequence)
        if (actual === undefined && frame.maybe === true) continue
        problems.push(...compare({ ...job, type: 'job' }, actual).map((problem) => `${sequence}: ${problem}`))
      }
    } else if (frame.type === 'CREDIT') {
      const granted = BigInt(String(frame['bytes']))
      if (credit >= granted) credit -= granted
      else if (frame.maybe !== true) problems.push(`credit of ${credit} bytes, not ${granted}`)
    } else if (frame.maybe !== true || inOrder[0]?.type === frame.type) {
      problems.push(...compare(frame, inOrder.shift()))
    }
  }
  for (const frame of inOrder) problems.push(`${frame.type} was not expected`)
  for (const sequence of accepted) problems.push(`job ${sequence} was acknowledged unexpectedly`)
  for (const job of answers.refused.values()) problems.push(`job ${job['sequence']} was refused unexpectedly: ${job['code']}`)
  if (credit > 0n) problems.push(`credit of ${credit} bytes was not expected`)
  if (closed !== expect.closes) problems.push(closed ? 'the connection was closed' : 'the connection was not closed')
  return problems
}
