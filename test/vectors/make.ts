// The test vectors, from which test/vectors/*.json are generated (UPDATE_VECTORS=1 with
// test/unit/protocol/vectors.test.ts; without it the test checks that they are up to date).
import { Buffer } from 'node:buffer'
import { codes, wireOfCode, type Code } from '../../src/base/errors.ts'
import { crc32c } from '../../src/protocol/crc32c.ts'
import { encodeFrame, encodePreamble, FrameDecoder, frameTypes } from '../../src/protocol/frame.ts'
import { decodeMessage, encodeMessage, type Message } from '../../src/protocol/messages.ts'
import { bytes, executable, field, greeting, hello, job, jobsFrame, pair, preamble, producer, rawJob } from './build.ts'
import { describeMessage, type Expectation, type ExpectedFrame } from './match.ts'
import type { ServerLimits } from './reference.ts'

/** What a server must be configured with for the vectors to be true, unless a vector says otherwise. */
export const limits: ServerLimits = { clusters: ['main'], frameBytesMax: 4096, jobBytesMax: 2048, frameJobsMax: 16, creditBytes: 4108 }

export interface Vector {
  readonly name: string
  readonly meaning: string
  /** Everything the producer sends on its connection, hex. */
  readonly bytes: string
  readonly expect: Expectation
  /** The answer comes only after this limit of the server has run out. */
  readonly slow?: string
  /** Other limits than the file's. */
  readonly server?: Readonly<Record<string, unknown>>
  /** What must be the case at the server besides these bytes; such a vector can't be replayed by bytes alone. */
  readonly needs?: string
}

/** A frame that usher sends, for those who write a decoder. */
export interface AnswerVector {
  readonly name: string
  readonly meaning: string
  readonly bytes: string
  readonly frame: Readonly<Record<string, unknown>>
}

export interface VectorFile {
  readonly about: string
  readonly server?: ServerLimits
  readonly vectors: readonly Vector[]
  readonly answers?: readonly AnswerVector[]
}

const welcomed: readonly ExpectedFrame[] = [
  { type: 'PREAMBLE', version: 1, highest: 1 },
  {
    type: 'WELCOME', features: 0, frameBytesMax: '*', jobBytesMax: '*', frameJobsMax: '*', credit: '*', idleMs: '*',
    store: '*', instance: '*', host: '*', version: '*',
  },
]
const error = (code: Code): ExpectedFrame => ({ type: 'ERROR', code, message: '*' })
const goodbye: ExpectedFrame = { type: 'GOODBYE', code: 'none', reason: '*', addresses: '*' }
const ack = (first: bigint | number, jobs = 1): ExpectedFrame => ({ type: 'ACK', ranges: [{ first: String(first), jobs }] })
const credit = (...frames: Buffer[]): ExpectedFrame => ({ type: 'CREDIT', bytes: String(frames.reduce((sum, frame) => sum + frame.length, 0)) })
const maybe = (frame: ExpectedFrame): ExpectedFrame => ({ ...frame, maybe: true })
const refused = (sequence: bigint | number, code: Code, name = '', detail = '*'): ExpectedFrame => ({
  type: 'REFUSED', jobs: [{ sequence: String(sequence), code, field: name, detail }] as unknown as ExpectedFrame[],
})
const said = (...parts: Buffer[]): string => Buffer.concat(parts).toString('hex')

const bye = encodeMessage({ type: 'GOODBYE', code: 0, reason: '', addresses: [] })

/** A good connection up to what it is about; closed by the producer. */
const open = (name: string, meaning: string, sent: Buffer[], frames: ExpectedFrame[]): Vector => ({
  name, meaning, bytes: said(greeting, ...sent), expect: { frames: [...welcomed, ...frames], closes: false },
})

const broken = (name: string, meaning: string, sent: Buffer[], code: Code, before: ExpectedFrame[] = []): Vector => ({
  name, meaning, bytes: said(greeting, ...sent), expect: { frames: [...welcomed, ...before, error(code)], closes: true },
})

const one = job(1, { executable: '/bin/true' })
const oneFrame = jobsFrame(1, one)

const full = job(
  2,
  {
    name: 'full', executable: '/usr/bin/env', arguments: ['a', '', 'ß → 😀', 'tab\tline\nreturn\r'], directory: '/tmp',
    inherit_environment: false, environment: { B: '2', A: '1', '\ufffd': 'before', '😀': 'after' }, stdin_path: '/dev/null', stdout_path: 'out', stderr_path: 'err',
    resources: {
      __version: 1, node_count: 2, process_count: 8, processes_per_node: 4, cpu_cores_per_process: 256, gpu_cores_per_process: 0,
      exclusive_node_use: true, memory: 2 ** 53 - 1,
    },
    attributes: { duration: '7205 s', queue_name: 'long', account: 'physics', reservation_id: 'r1', custom_attributes: { 'slurm.qos': 'high', 'a=b': '' } },
    pre_launch: 'pre.sh', post_launch: 'post.sh', launcher: 'mpirun',
  },
  { cluster: 'main', traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' },
)
const fullFrame = jobsFrame(1, full)

const connection: VectorFile = {
  about: 'Greeting, ping and goodbye; one connection each. How expect is read: test/vectors/match.ts.',
  server: limits,
  vectors: [
    { name: 'greeting', meaning: 'a producer that speaks version 1', bytes: said(greeting), expect: { frames: welcomed, closes: false } },
    {
      name: 'greeting with a range', meaning: 'versions 1 to 7: the highest that both speak is chosen',
      bytes: said(encodePreamble(1, 7), hello), expect: { frames: welcomed, closes: false },
    },
    {
      name: 'greeting without a name', meaning: 'the name may be empty',
      bytes: said(preamble, encodeMessage({ type: 'HELLO', producer: 0n, features: 0, name: '' })), expect: { frames: welcomed, closes: false },
    },
    {
      name: 'not_usher', meaning: 'another protocol', bytes: Buffer.from('GET / HTTP/1.1\r\n\r\n').toString('hex'),
      expect: { frames: [{ type: 'PREAMBLE', version: 0, highest: 1 }, error('not_usher')], closes: true },
    },
    {
      name: 'version_unsupported', meaning: 'a producer that speaks versions 2 and 3 only', bytes: said(encodePreamble(2, 3), hello),
      expect: { frames: [{ type: 'PREAMBLE', version: 0, highest: 1 }, error('version_unsupported')], closes: true },
    },
    {
      name: 'version zero', meaning: 'version 0 means none, and is none', bytes: said(encodePreamble(0, 0), hello),
      expect: { frames: [{ type: 'PREAMBLE', version: 0, highest: 1 }, error('version_unsupported')], closes: true },
    },
    open('ping', 'is answered with the same token', [encodeMessage({ type: 'PING', token: 0x0123456789abcdefn })], [{ type: 'PONG', token: String(0x0123456789abcdefn) }]),
    open('pong', 'one that answers nothing is taken in silence', [encodeMessage({ type: 'PONG', token: 1n })], []),
    {
      name: 'goodbye', meaning: 'nothing is outstanding: answered at once', bytes: said(greeting, bye),
      expect: { frames: [...welcomed, goodbye], closes: true },
    },
    {
      name: 'goodbye after jobs', meaning: 'what is outstanding is answered first', bytes: said(greeting, oneFrame, bye),
      expect: { frames: [...welcomed, ack(1), maybe(credit(oneFrame)), goodbye], closes: true },
    },
    {
      name: 'hello_timeout before the preamble', meaning: 'nothing is sent by either side until the time is over', bytes: '',
      expect: { frames: [maybe({ type: 'PREAMBLE', version: '*', highest: 1 }), error('hello_timeout')], closes: true }, slow: 'the greeting: 10 s',
    },
    {
      name: 'hello_timeout after the preamble', meaning: 'a preamble, and no HELLO', bytes: said(preamble),
      expect: { frames: [{ type: 'PREAMBLE', version: 1, highest: 1 }, error('hello_timeout')], closes: true }, slow: 'the greeting: 10 s',
    },
    {
      name: 'frame_timeout', meaning: 'a frame that is begun and not completed', bytes: said(greeting, oneFrame.subarray(0, 20)),
      expect: { frames: [...welcomed, error('frame_timeout')], closes: true }, slow: 'a frame: 30 s',
    },
    {
      name: 'idle_timeout', meaning: 'nothing arrives for longer than WELCOME allows', bytes: said(greeting),
      expect: { frames: [...welcomed, error('idle_timeout')], closes: true }, slow: "idle: WELCOME's idleMs",
    },
  ],
}

const badCrc = Buffer.from(oneFrame)
badCrc[badCrc.length - 1]! ^= 1
const lie = Buffer.alloc(12)
lie.writeUInt32LE(limits.frameBytesMax + 1, 4)
lie[8] = frameTypes.JOBS

/** The frame with flags set and a true CRC: only the flags are wrong. */
const flagged = (): Buffer => {
  const payload = encodeFrame(frameTypes.PING, 0, Buffer.alloc(8))
  payload[9] = 1
  payload.writeUInt32LE(crc32c(payload.subarray(4)), 0)
  return payload
}

const frames = (): VectorFile => {
  const filler = (sequence: number): Buffer => job(sequence, { executable: '/bin/true', arguments: ['x'.repeat(1900)] })
  const large = jobsFrame(2, filler(1), filler(2))
  const large2 = jobsFrame(2, filler(3), filler(4))
  return {
    about: 'Frames that cost their sender the connection, and what was answered before. How expect is read: test/vectors/match.ts.',
    server: limits,
    vectors: [
      broken('frame_corrupt', 'the last bit of the payload is turned over', [badCrc], 'frame_corrupt'),
      broken('frame_too_large', 'refused by its header, before the payload is read', [lie], 'frame_too_large'),
      broken('frame_unexpected: unknown type', 'there is no type 11', [encodeFrame(11, 0, Buffer.alloc(0))], 'frame_unexpected'),
      broken('frame_unexpected: type 0', 'there is no type 0', [encodeFrame(0, 0, Buffer.alloc(0))], 'frame_unexpected'),
      broken('frame_unexpected: flags', 'flags are 0 in version 1', [flagged()], 'frame_unexpected'),
      broken('frame_unexpected: second HELLO', 'a connection has one producer', [hello], 'frame_unexpected'),
      broken(
        'frame_unexpected: an answer', "ACK is usher's to send", [encodeMessage({ type: 'ACK', ranges: [{ first: 1n, jobs: 1 }] })], 'frame_unexpected',
      ),
      {
        name: 'frame_unexpected: JOBS before HELLO', meaning: 'nobody knows whose jobs these are', bytes: said(preamble, oneFrame),
        expect: { frames: [welcomed[0]!, error('frame_unexpected')], closes: true },
      },
      {
        name: 'frame_malformed: HELLO cut short', meaning: 'the name is longer than the payload',
        bytes: said(preamble, encodeFrame(frameTypes.HELLO, 0, Buffer.concat([Buffer.alloc(12), bytes(5), Buffer.from('abc')]))),
        expect: { frames: [welcomed[0]!, error('frame_malformed')], closes: true },
      },
      broken('frame_malformed: PING with 9 bytes', 'bytes are left over', [encodeFrame(frameTypes.PING, 0, Buffer.alloc(9))], 'frame_malformed'),
      broken('frame_malformed: PING with 7 bytes', 'the token is not whole', [encodeFrame(frameTypes.PING, 0, Buffer.alloc(7))], 'frame_malformed'),
      broken('frame_malformed: a job beyond the payload', 'its length says 100 bytes more', [
        jobsFrame(1, Buffer.concat([bytes(108, 0, 0, 0), Buffer.alloc(8), executable])),
      ], 'frame_malformed'),
      broken('frame_malformed: a job without its sequence', 'a length under 8', [jobsFrame(1, bytes(7, 0, 0, 0), Buffer.alloc(7))], 'frame_malformed'),
      broken('frame_malformed: more jobs than counted', 'two jobs, a count of one', [jobsFrame(1, one, job(2, { executable: '/bin/true' }))], 'frame_malformed'),
      broken('frame_malformed: fewer jobs than counted', 'one job, a count of two', [jobsFrame(2, one)], 'frame_malformed'),
      broken(
        'what was acknowledged stays accepted', 'a good frame, then a corrupt one: the first may be answered before the connection ends',
        [jobsFrame(1, job(9, { executable: '/bin/true' })), badCrc], 'frame_corrupt',
        [maybe(ack(9)), maybe(credit(jobsFrame(1, job(9, { executable: '/bin/true' }))))],
      ),
      broken(
        'credit_exceeded', 'two frames at once, with credit for one of them', [large, large2], 'credit_exceeded',
        [maybe(ack(1, 2)), maybe(credit(large))],
      ),
      {
        name: 'connections_exhausted', meaning: 'one connection more than the host takes', bytes: said(greeting), server: { connectionsMax: 1 },
        needs: 'another connection is open', expect: { frames: [maybe({ type: 'PREAMBLE', version: '*', highest: 1 }), error('connections_exhausted')], closes: true },
      },
      {
        name: 'memory_exhausted', meaning: 'half a frame, where no memory is left for it', bytes: said(greeting, large.subarray(0, 2000)), server: { partialBytesMax: 1024 },
        needs: 'incomplete frames of all connections may hold less than this one has', expect: { frames: [...welcomed, error('memory_exhausted')], closes: true },
      },
      {
        name: 'output_overrun', meaning: 'pings whose answers are not read', bytes: said(greeting, encodeMessage({ type: 'PING', token: 1n })),
        needs: 'the producer reads nothing and goes on sending PING', expect: { frames: [...welcomed, error('output_overrun')], closes: true },
      },
    ],
  }
}

const jobs: VectorFile = {
  about: 'Jobs that are accepted. How expect is read: test/vectors/match.ts.',
  server: limits,
  vectors: [
    open('the smallest job', 'an executable and nothing else', [oneFrame], [ack(1), credit(oneFrame)]),
    open('every field', 'each field of the table, keys in byte order, characters of one to four bytes', [fullFrame], [ack(2), credit(fullFrame)]),
    (() => {
      const frame = jobsFrame(3, ...[17, 18, 19].map((sequence) => job(sequence, { executable: '/bin/echo', arguments: [String(sequence)] })))
      return open('several jobs', 'are acknowledged as runs of sequences', [frame], [ack(17, 3), credit(frame)])
    })(),
    (() => {
      const frame = jobsFrame(2, job(0n, { executable: '/bin/true' }), job(0xffff_ffff_ffff_ffffn, { executable: '/bin/true' }))
      return open('the ends of the range', 'sequences 0 and 2^64-1', [frame], [ack(0), ack(0xffff_ffff_ffff_ffffn), credit(frame)])
    })(),
    (() => {
      const frame = jobsFrame(1, rawJob(3, executable, field(7, bytes(1)), field(21, bytes(0))))
      return open('defaults spelt out', 'inherit_environment true and exclusive_node_use false may be sent', [frame], [ack(3), credit(frame)])
    })(),
    open('a resend', 'the same job again is accepted again, and will be submitted once', [oneFrame, oneFrame], [
      ack(1), { ...ack(1), again: true }, credit(oneFrame, oneFrame),
    ]),
  ],
}

const bad = (name: string, meaning: string, fields: Buffer[], code: Code, fieldName: string, detail = '*', sequence = 5): Vector => {
  const frame = jobsFrame(1, rawJob(sequence, ...fields))
  return open(name, meaning, [frame], [refused(sequence, code, fieldName, detail), credit(frame)])
}

const refusals: VectorFile = {
  about: 'Jobs that are refused, each alone but for the last. How expect is read: test/vectors/match.ts.',
  server: limits,
  vectors: [
    bad('job_malformed: a field beyond the job', 'its length says 200 bytes', [executable, bytes(6, 200, 1, 65)], 'job_malformed', '*'),
    bad('job_malformed: a length of five bytes', 'LEB128 has at most four here', [executable, bytes(6, 0x81, 0x80, 0x80, 0x80, 0x00, 65)], 'job_malformed', '*'),
    bad('job_malformed: a length longer than needed', 'every job has one encoding', [executable, bytes(6, 0x81, 0x00, 65)], 'job_malformed', '*'),
    bad('job_malformed: a tag without a length', 'the job ends after the tag', [executable, bytes(6)], 'job_malformed', '*'),
    bad('job_malformed: a key beyond its field', 'the key has 9 bytes, the field 3', [executable, field(8, bytes(9, 65, 66))], 'job_malformed', '*'),
    bad('job_too_large', 'more bytes than WELCOME allows a job', [executable, field(5, 'x'.repeat(3000))], 'job_too_large', '*'),
    bad('field_missing', 'a job without an executable', [field(3, 'name')], 'field_missing', 'executable'),
    bad('field_missing: nothing at all', 'a job without any field', [], 'field_missing', 'executable'),
    bad('field_invalid: empty text', 'only arguments and values may be empty', [executable, field(6, '')], 'field_invalid', 'directory'),
    bad('field_invalid: empty executable', 'is like none', [field(4, '')], 'field_invalid', 'executable'),
    bad('field_invalid: boolean 2', 'a boolean is 0 or 1', [executable, field(7, bytes(2))], 'field_invalid', 'inherit_environment'),
    bad('field_invalid: boolean of two bytes', 'a boolean is one byte', [executable, field(21, bytes(1, 0))], 'field_invalid', 'resources.exclusive_node_use'),
    bad('field_invalid: integer without bytes', 'an integer has 1 to 8', [executable, field(16, bytes())], 'field_invalid', 'resources.node_count'),
    bad('field_invalid: integer of nine bytes', 'an integer has 1 to 8', [executable, field(22, bytes(1, 1, 1, 1, 1, 1, 1, 1, 1))], 'field_invalid', 'resources.memory'),
    bad('field_invalid: integer with a zero at the end', 'every job has one encoding', [executable, field(16, bytes(1, 0))], 'field_invalid', 'resources.node_count'),
    bad('field_invalid: node_count 0', 'under the least', [executable, field(16, bytes(0))], 'field_invalid', 'resources.node_count'),
    bad('field_invalid: node_count 2^31', 'over the most', [executable, field(16, bytes(0, 0, 0, 0x80))], 'field_invalid', 'resources.node_count'),
    bad('field_invalid: memory 2^53', 'over the most', [executable, field(22, bytes(0, 0, 0, 0, 0, 0, 0x20))], 'field_invalid', 'resources.memory'),
    bad('field_invalid: duration 0', 'under the least', [executable, field(32, bytes(0))], 'field_invalid', 'attributes.duration'),
    bad('field_invalid: traceparent', 'not W3C Trace Context', [field(2, 'x'.repeat(55)), executable], 'field_invalid', 'traceparent'),
    bad('field_invalid: empty key', 'a variable without a name', [executable, pair(8, '', 'v')], 'field_invalid', 'environment'),
    bad('field_invalid: key with =', 'no variable can have this name', [executable, pair(8, 'A=B', 'v')], 'field_invalid', 'environment', 'A=B'),
    bad('field_order: tags', 'name after executable', [executable, field(3, 'name')], 'field_order', 'name'),
    bad('field_order: twice', 'two directories', [executable, field(6, '/a'), field(6, '/b')], 'field_order', 'directory'),
    bad('field_order: keys', 'B before A', [executable, pair(8, 'B', '1'), pair(8, 'A', '2')], 'field_order', 'environment', 'A'),
    bad('field_order: the same key twice', 'A and A', [executable, pair(36, 'A', '1'), pair(36, 'A', '1')], 'field_order', 'attributes.custom_attributes', 'A'),
    bad('field_unknown', 'no field has tag 99', [executable, field(99, 'x')], 'field_unknown', 'field 99'),
    bad('text_not_utf8: a byte that never occurs', 'ff', [executable, field(6, bytes(0x2f, 0xff))], 'text_not_utf8', 'directory'),
    bad('text_not_utf8: half of a surrogate pair', 'ed a0 80', [executable, field(6, bytes(0xed, 0xa0, 0x80))], 'text_not_utf8', 'directory'),
    bad('text_not_utf8: longer than needed', 'c0 af is "/"', [executable, field(6, bytes(0xc0, 0xaf))], 'text_not_utf8', 'directory'),
    bad('text_not_utf8: cut', 'the first byte of two', [executable, field(5, 'ok'), field(5, bytes(0xc3))], 'text_not_utf8', 'arguments', '1'),
    bad('text_not_utf8: above U+10FFFF', 'f4 90 80 80', [executable, field(6, bytes(0xf4, 0x90, 0x80, 0x80))], 'text_not_utf8', 'directory'),
    bad('text_not_xml: NUL', 'U+0000', [executable, field(5, 'a\0b')], 'text_not_xml', 'arguments', '0'),
    bad('text_not_xml: escape', 'U+001B in a value', [executable, pair(8, 'PS1', '\u001b[1m')], 'text_not_xml', 'environment', 'PS1'),
    bad('text_not_xml: U+FFFE', 'is no character', [executable, field(6, '\ufffe')], 'text_not_xml', 'directory'),
    bad('cluster_unknown', 'no cluster of this name', [field(1, 'elsewhere'), executable], 'cluster_unknown', 'cluster'),
    bad('resources_contradict', '3 processes on 2 nodes with 2 each', [executable, field(16, bytes(2)), field(17, bytes(3)), field(18, bytes(2))], 'resources_contradict', '*'),
    bad('the first mistake', 'in the order of the bytes is the one reported', [executable, field(5, bytes(0xff)), field(6, 'a\0')], 'text_not_utf8', 'arguments', '0'),
    {
      ...bad('cluster_required', 'several clusters, and the job names none', [executable], 'cluster_required', '*'),
      server: { clusters: ['main', 'second'] },
    },
    ...(['store_full', 'store_failing', 'draining', 'retired'] as const).map((code) => ({
      ...open(code, codes[code].summary, [oneFrame], [
        ...(code === 'draining' || code === 'retired' ? [maybe({ type: 'GOODBYE', code, reason: '*', addresses: '*' })] : []),
        refused(1, code, ''), maybe(credit(oneFrame)),
      ]),
      needs: {
        store_full: 'less free space at the store than the reserve',
        store_failing: 'a write or sync at the store that fails',
        draining: 'usher is shutting down and has said GOODBYE, which these jobs cross',
        retired: 'the instance has lost its accept lease',
      }[code],
    })),
    (() => {
      const frame = jobsFrame(3, job(6, { executable: '/bin/true' }), rawJob(7, field(3, 'a\0'), executable), job(8, { executable: '/bin/true' }))
      return open('one bad among good', 'costs nobody else anything', [frame], [ack(6), refused(7, 'text_not_xml', 'name'), ack(8), credit(frame)])
    })(),
  ],
}

const answerOf = (name: string, meaning: string, message: Message): AnswerVector => {
  const raw = encodeMessage(message)
  let frame: Readonly<Record<string, unknown>> = {}
  // What is shown is what the bytes say, not what they were made from.
  new FrameDecoder({ payloadBytesMax: 4096, onFrame: (decoded) => (frame = describeMessage(decodeMessage(decoded))) }).push(raw)
  return { name, meaning, bytes: raw.toString('hex'), frame }
}

const answers: VectorFile = {
  about: 'Every frame as it stands on the wire, for those who write a decoder.',
  vectors: [],
  answers: [
    answerOf('HELLO', 'whose jobs these are', { type: 'HELLO', producer, features: 0, name: 'vectors' }),
    answerOf('WELCOME', 'the limits of this host', {
      type: 'WELCOME', features: 0, frameBytesMax: 1_048_576, jobBytesMax: 262_144, frameJobsMax: 10_000, credit: 4_194_304n, idleMs: 60_000,
      store: '1b4e28ba-2fa1-11d2-883f-0016d3cca427', instance: 'node7-20261123t040000-3fa9c1', host: 'node7', version: '0.1.0',
    }),
    answerOf('JOBS', 'one job', { type: 'JOBS', count: 1, payload: one }),
    answerOf('ACK', 'two runs of sequences', { type: 'ACK', ranges: [{ first: 17n, jobs: 1 }, { first: 0xffff_ffff_ffff_fff0n, jobs: 16 }] }),
    answerOf('REFUSED', 'a job, and a label of a job', {
      type: 'REFUSED',
      jobs: [
        { sequence: 18n, code: wireOfCode('store_full'), field: 0, detail: '' },
        { sequence: 19n, code: wireOfCode('text_not_xml'), field: 36, detail: 'übel' },
      ],
    }),
    answerOf('CREDIT', 'bytes granted', { type: 'CREDIT', bytes: 65_548n }),
    answerOf('PING', 'either side may ask', { type: 'PING', token: 42n }),
    answerOf('PONG', 'and the other answers', { type: 'PONG', token: 42n }),
    answerOf('GOODBYE', 'a host that drains, and where else to go', {
      type: 'GOODBYE', code: wireOfCode('draining'), reason: 'upgrade', addresses: ['node8:7433', '[2001:db8::8]:7433'],
    }),
    ...(Object.entries(codes) as [Code, { wire?: number }][])
      .filter(([, info]) => info.wire !== undefined && info.wire < 32)
      .map(([code, info]) => answerOf(`ERROR ${code}`, 'closes the connection', { type: 'ERROR', code: info.wire!, message: codes[code].summary })),
  ],
}

/** Each file's name and content. */
export const vectorFiles: Readonly<Record<string, VectorFile>> = { connection, frames: frames(), jobs, refusals, answers }
