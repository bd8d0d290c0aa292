// docs/protocol.md against the addon: its example in bytes, the order in which mistakes are found, and what the detail
// of a refusal says.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { codeOfWire } from '../../../src/base/errors.ts'
import { native } from '../../../src/base/native.ts'
import type { Ingest } from '../../../src/base/native.ts'
import { ByteWriter } from '../../../src/protocol/byte-writer.ts'
import { encodeFrame, encodePreamble, FrameDecoder, frameTypes } from '../../../src/protocol/frame.ts'
import { encodeJob } from '../../../src/protocol/job-encoder.ts'
import { decodeMessage, encodeMessage, type Message } from '../../../src/protocol/messages.ts'
import { bytes, field, greeting, pair, rawJob } from '../../vectors/build.ts'
import { RawConnection } from '../../support/raw-connection.ts'
import { rowsUnder } from './pages.ts'

const jobBytesMax = 1024
const frameJobsMax = 4

/** The addon's accepting path over a folder of its own, as an instance has it. */
class Acceptor {
  readonly folder = mkdtempSync(join(tmpdir(), 'usher-docs-'))
  readonly #ingest: Ingest
  readonly #address: string

  constructor(clusters: readonly string[]) {
    this.#ingest = new native.Ingest(
      {
        directory: this.folder,
        store: '00000000-0000-4000-8000-000000000000',
        host: 'docs',
        instance: 'docs-20261123T040000-3fa9c1',
        pid: process.pid,
        version: '0.1.0',
        config: '00000000',
        clusters,
        defaultCluster: clusters.length === 1 ? (clusters[0] ?? null) : null,
        frameBytesMax: 4096,
        frameJobsMax,
        jobBytesMax,
        creditBytes: 4108,
        idleMs: 60_000,
        threads: 1,
        connectionsMax: 1000,
        helloTimeoutMs: 60_000,
        frameTimeoutMs: 60_000,
        outputBytesMax: 1 << 20,
        uncommittedBytesMax: 1 << 20,
        partialBytesMax: 1 << 20,
        segmentBytesMax: 1 << 20,
        segmentAgeMs: 50,
        sealIntervalMs: 10,
        directIo: true,
        reserveBytes: 0,
        acceptLeaseMs: 60_000,
        retryMs: 100,
      },
      () => undefined,
    )
    this.#ingest.presenceWritten(native.bootMs())
    this.#address = `127.0.0.1:${this.#ingest.listen('127.0.0.1', 0)}`
  }

  /** All that is answered to these bytes on a new connection: at once, or until `until` is satisfied. */
  async answers(sent: Uint8Array, until?: (bytes: Buffer) => boolean): Promise<{ bytes: Buffer; messages: Message[]; closed: boolean }> {
    const connection = new RawConnection(this.#address)
    const heard = async (enough: () => boolean): Promise<void> => {
      while (!connection.closed && !enough()) await new Promise((resolve) => setImmediate(resolve))
    }
    connection.write(sent)
    // What is answered at once is there when something that is sent behind it is answered.
    const marker = encodeMessage({ type: 'PONG', token: 0x6d61726b6572n })
    const last = (): number => connection.received.indexOf(marker)
    await heard(() => (until === undefined ? connection.received.length > 0 : until(connection.received)))
    if (until === undefined) {
      connection.write(encodeMessage({ type: 'PING', token: 0x6d61726b6572n }))
      await heard(() => last() >= 0)
    }
    connection.destroy()
    const { received, closed } = connection
    const all = last() < 0 ? received : Buffer.concat([received.subarray(0, last()), received.subarray(last() + marker.length)])
    const messages: Message[] = []
    new FrameDecoder({ payloadBytesMax: 4096, onPreamble: () => undefined, onFrame: (frame) => messages.push(decodeMessage(frame)) }).push(all)
    return { bytes: all, messages, closed }
  }

  async close(): Promise<void> {
    await new Promise<void>((resolve) => this.#ingest.stop(resolve))
    rmSync(this.folder, { recursive: true })
  }
}

let acceptor: Acceptor
let several: Acceptor
beforeAll(() => {
  acceptor = new Acceptor(['main'])
  several = new Acceptor(['a', 'b'])
})
afterAll(async () => {
  await acceptor.close()
  await several.close()
})

const jobs = (count: number, payload: Uint8Array): Buffer => encodeFrame(frameTypes.JOBS, count, payload)

const refusalOf = async (of: Acceptor, job: Buffer): Promise<string> => {
  const { messages } = await of.answers(Buffer.concat([greeting, jobs(1, job)]))
  const refused = messages.find((message) => message.type === 'REFUSED')
  const first = refused?.type === 'REFUSED' ? refused.jobs[0] : undefined
  return first === undefined ? 'accepted' : `${codeOfWire(first.code) ?? first.code} ${first.field} ${first.detail}`.trim()
}

describe('the example in bytes', () => {
  const rows = new Map(rowsUnder('docs/protocol.md', '### An example in bytes').map(([who, what, text]) => [`${who} ${what}`, (text ?? '').replace(/[` ]/g, '')]))
  const hex = (name: string): Buffer => Buffer.from(rows.get(name) ?? '', 'hex')

  it('is what the library sends', () => {
    const out = new ByteWriter(256)
    encodeJob(out, 17, { spec: { executable: '/bin/echo', arguments: ['hello'], environment: { A: '1' } } })
    expect(hex('producer preamble')).toEqual(encodePreamble(1, 1))
    expect(hex('producer HELLO')).toEqual(encodeMessage({ type: 'HELLO', producer: 0x9f8c2e71a4b0d3e5n, features: 0, name: 'docs' }))
    expect(hex('producer JOBS')).toEqual(jobs(1, out.take()))
  })

  it('is answered by the addon as it says', async () => {
    const sent = Buffer.concat(['producer preamble', 'producer HELLO', 'producer JOBS'].map(hex))
    const end = Buffer.concat([hex('usher ACK'), hex('usher CREDIT')])
    const { bytes: all, messages } = await acceptor.answers(sent, (so) => so.includes(hex('usher CREDIT')))
    expect(all.subarray(0, 8)).toEqual(hex('usher preamble'))
    expect(messages.map(({ type }) => type)).toEqual(['WELCOME', 'ACK', 'CREDIT'])
    expect(all.subarray(-end.length)).toEqual(end)
  })
})

const executable = field(4, '/bin/true')

describe('the detail of a refusal', () => {
  // 11 bytes: the next field's tag is at 11, its value at 13.
  it.each([
    ['field_unknown: the offset of the tag', rawJob(1, executable, field(60, 'x')), 'field_unknown 60 11'],
    ['field_order: the offset of the tag', rawJob(1, executable, field(3, 'x')), 'field_order 3 11'],
    ['job_malformed: the offset of the tag', rawJob(1, executable, bytes(5, 9, 65)), 'job_malformed 5 11'],
    ['a length longer than needed is job_malformed', rawJob(1, executable, bytes(5, 0x80, 0)), 'job_malformed 5 11'],
    ['a length of five bytes is job_malformed', rawJob(1, executable, bytes(5, 0x81, 0x80, 0x80, 0x80, 0)), 'job_malformed 5 11'],
    ['job_malformed of a pair: the offset of the value', rawJob(1, executable, field(8, bytes(9, 65))), 'job_malformed 8 13'],
    ['a key out of order: the key', rawJob(1, executable, pair(8, 'B', ''), pair(8, 'A', '')), 'field_order 8 A'],
    ['`=` in the name of a variable: the key', rawJob(1, executable, pair(8, 'A=B', '')), 'field_invalid 8 A=B'],
    ['an empty key: where it would stand', rawJob(1, executable, pair(8, '', 'x')), 'field_invalid 8 14'],
    ['text in the value of a pair: the key', rawJob(1, executable, field(8, bytes(1, 65, 0xff))), 'text_not_utf8 8 A'],
    ['text in a key: the offset of the character', rawJob(1, executable, field(8, bytes(2, 65, 1, 66))), 'text_not_xml 8 15'],
    ['text in an argument: its index, from 0', rawJob(1, executable, field(5, 'a'), field(5, bytes(1))), 'text_not_xml 5 1'],
    ['text elsewhere: the offset of the character', rawJob(1, executable, field(6, bytes(65, 66, 0xff))), 'text_not_utf8 6 15'],
    ['a value that is not allowed: its offset', rawJob(1, executable, field(7, bytes(2))), 'field_invalid 7 13'],
    ['an unknown cluster: the offset of the value', rawJob(1, field(1, 'other'), executable), 'cluster_unknown 1 2'],
    ['a missing executable: nothing', rawJob(1, field(3, 'x')), 'field_missing 4'],
    ['a contradiction: nothing', rawJob(1, executable, field(16, bytes(2)), field(17, bytes(3)), field(18, bytes(2))), 'resources_contradict 17'],
    ['a job that is too large: nothing', rawJob(1, field(4, 'x'.repeat(jobBytesMax))), 'job_too_large 0'],
  ])('names, for %s', async (_what, job, expected) => {
    expect(await refusalOf(acceptor, job)).toBe(expected)
  })

  it.each([
    ['a job of exactly the job bytes max is taken: sequence and fields count', rawJob(1, field(4, 'x'.repeat(jobBytesMax - 8 - 3))), 'accepted'],
    ['one byte more is not', rawJob(1, field(4, 'x'.repeat(jobBytesMax - 8 - 3 + 1))), 'job_too_large 0'],
    ['a default that is written out is taken', rawJob(1, executable, field(7, bytes(1))), 'accepted'],
  ])('%s', async (_what, job, expected) => {
    expect(await refusalOf(acceptor, job)).toBe(expected)
  })
})

describe('of several mistakes the one is reported', () => {
  it.each([
    ['unknown tag before cluster_required', () => several, () => rawJob(1, field(60, 'x')), 'field_unknown 60 0'],
    ['order before the length', () => acceptor, () => rawJob(1, executable, bytes(3, 0x80, 0)), 'field_order 3 11'],
    ['cluster_required before field_missing', () => several, () => rawJob(1, field(5, 'x')), 'cluster_required 1'],
    ['field_missing before the length', () => acceptor, () => rawJob(1, bytes(5, 0x80, 0)), 'field_missing 4'],
    ['at the end cluster_required before field_missing', () => several, () => rawJob(1), 'cluster_required 1'],
    ['a value before a contradiction', () => acceptor, () => rawJob(1, executable, field(16, bytes(2)), field(17, bytes(3)), field(18, bytes(2)), field(32, bytes(0))), 'field_invalid 32 22'],
  ])('%s', async (_what, which, job, expected) => {
    expect(await refusalOf(which(), job())).toBe(expected)
  })
})

describe('of frames', () => {
  const errorOf = async (...frames: Buffer[]): Promise<string> => {
    const { messages, closed } = await acceptor.answers(Buffer.concat([greeting, ...frames]))
    const last = messages.at(-1)
    return last?.type === 'ERROR' && closed ? String(codeOfWire(last.code)) : `${last?.type}`
  }
  const job = rawJob(1, executable)
  const goodbye = encodeMessage({ type: 'GOODBYE', code: 0, reason: '', addresses: [] })
  const changed = (frame: Buffer, at: number, value: number): Buffer => {
    const copy = Buffer.from(frame)
    copy[at] = value
    return copy
  }

  it.each([
    ['the CRC is checked before type and flags', [changed(changed(jobs(1, job), 8, 99), 9, 1)], 'frame_corrupt'],
    ['the length is checked before the CRC', [changed(jobs(1, job), 6, 1)], 'frame_too_large'],
    ['more jobs than WELCOME allows are frame_too_large', [jobs(frameJobsMax + 1, Buffer.concat(Array.from({ length: frameJobsMax + 1 }, () => job)))], 'frame_too_large'],
    ['a count that does not match is malformed', [jobs(2, job)], 'frame_malformed'],
    ['JOBS after GOODBYE are unexpected', [goodbye, jobs(1, job)], 'frame_unexpected'],
    ['a second GOODBYE is unexpected', [goodbye, goodbye], 'frame_unexpected'],
    ['an unasked PONG is ignored', [encodeMessage({ type: 'PONG', token: 7n })], 'WELCOME'],
  ])('%s', async (_what, frames, expected) => {
    expect(await errorOf(...frames)).toBe(expected)
  })

  it('features of HELLO that are not known are ignored', async () => {
    const hello = encodeMessage({ type: 'HELLO', producer: 1n, features: 0xffff_ffff, name: '' })
    const { messages } = await acceptor.answers(Buffer.concat([encodePreamble(1, 1), hello]))
    expect(messages).toMatchObject([{ type: 'WELCOME', features: 0 }])
  })

  it('a JOBS frame without jobs gets its credit back at once', async () => {
    const { messages } = await acceptor.answers(Buffer.concat([greeting, jobs(0, Buffer.alloc(0))]))
    expect(messages.at(-1)).toEqual({ type: 'CREDIT', bytes: 12n })
  })
})

describe('a traceparent', () => {
  const ids = '-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
  it.each([
    ['00', 'accepted'],
    ['cc', 'accepted'],
    ['fe', 'accepted'],
    ['ff', 'field_invalid 2 2'],
    ['FE', 'field_invalid 2 2'],
  ])('of version %s is answered with: %s', async (version, expected) => {
    expect(await refusalOf(acceptor, rawJob(1, field(2, `${version}${ids}`), executable))).toBe(expected)
  })

  it('longer than 55 characters is refused', async () => {
    expect(await refusalOf(acceptor, rawJob(1, field(2, `cc${ids}-more`), executable))).toBe('field_invalid 2 2')
  })
})
