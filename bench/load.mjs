// The load generator: a process of its own that opens many connections, keeps each connection's credit used up with frames
// prepared beforehand, and counts acknowledgements. Only sequences and the CRC change from frame to frame, so that the
// generator costs far less than the server that it measures.
//
// node bench/load.mjs '{"address":"127.0.0.1:7433","connections":50,"jobsPerFrame":400,"seconds":10,"jobBytes":250}'
// prints a line of JSON: {"accepted":…,"refused":…,"seconds":…,"perSecond":[…]}
import { connect } from 'node:net'
import { native } from '../dist/base/native.js'
import { encodeJob } from '../dist/protocol/job-encoder.js'
import { ByteWriter } from '../dist/protocol/byte-writer.js'
import { encodeMessage } from '../dist/protocol/messages.js'
import { encodePreamble } from '../dist/protocol/frame.js'

const options = { connections: 50, jobsPerFrame: 400, seconds: 10, jobs: Infinity, jobBytes: 250, windowBytes: 1 << 20, ...JSON.parse(process.argv[2] ?? '{}') }
const [host, port] = options.address.split(':')

/** A job of that size on the wire, as real ones look. */
export const benchJob = (bytes) => {
  const spec = {
    name: 'simulate-detector',
    executable: '/opt/lab/bin/simulate',
    arguments: ['--events', '25000', '--geometry', 'run3/barrel.xml', '--seed', '4711'],
    directory: '/home/jane/runs/0815',
    environment: { OMP_NUM_THREADS: '8' },
    resources: { __version: 1, node_count: 1, process_count: 8, memory: 17179869184 },
    attributes: { duration: '7200 s', queue_name: 'long', account: 'hep' },
  }
  const sizeOf = () => {
    const out = new ByteWriter(1024)
    encodeJob(out, 1, { spec })
    return out.length
  }
  const missing = bytes - sizeOf()
  if (missing > 0) spec.arguments.push('x'.repeat(Math.max(0, missing - 2)))
  return { spec, bytes: sizeOf() }
}

const frameOf = (count) => {
  const { spec } = benchJob(options.jobBytes)
  const out = new ByteWriter(count * 512)
  for (let index = 0; index < count; index += 1) encodeJob(out, index, { spec })
  const payload = out.take()
  const frame = Buffer.alloc(12 + payload.length)
  frame.writeUInt32LE(payload.length, 4)
  frame[8] = 3
  frame.writeUInt16LE(count, 10)
  payload.copy(frame, 12)
  return { frame, jobBytes: payload.length / count }
}

const main = () => {
  const { frame, jobBytes } = frameOf(options.jobsPerFrame)
  let accepted = 0
  let refused = 0
  let sent = 0
  let finished = 0
  const perSecond = []
  const startedAt = performance.now()
  const state = { stopping: false }
  const report = () => {
    const seconds = (performance.now() - startedAt) / 1000
    process.stdout.write(`${JSON.stringify({ sent, accepted, refused, seconds, perSecond, jobBytes })}\n`, () => process.exit(0))
  }
  const sockets = []
  const latencies = []

  for (let index = 0; index < options.connections; index += 1) {
    const socket = connect({ host, port: Number(port), noDelay: true })
    sockets.push(socket)
    let credit = 0
    let next = 1n
    let outstanding = 0
    let partial = Buffer.alloc(0)
    let greeted = false
    const inFlight = []
    socket.on('connect', () => {
      const producer = BigInt(index + 1) * 0x100000001n + BigInt(process.pid) * 0x1000000000000n
      socket.write(Buffer.concat([encodePreamble(1, 1), encodeMessage({ type: 'HELLO', producer: BigInt.asUintN(64, producer), features: 0, name: 'bench' })]))
    })
    const pump = () => {
      // Frames are sent as long as credit lasts and not too many bytes wait in this process.
      while (!state.stopping && sent < options.jobs && credit >= frame.length && outstanding < options.windowBytes) {
        const bytes = Buffer.allocUnsafe(frame.length)
        frame.copy(bytes)
        let at = 12
        for (let job = 0; job < options.jobsPerFrame; job += 1) {
          bytes.writeBigUInt64LE(next, at + 4)
          next += 1n
          at += jobBytes
        }
        bytes.writeUInt32LE(native.crc32c(bytes.subarray(4)), 0)
        credit -= frame.length
        outstanding += frame.length
        sent += options.jobsPerFrame
        if (options.latency) inFlight.push(performance.now())
        socket.write(bytes)
      }
    }
    socket.on('data', (read) => {
      let bytes = partial.length > 0 ? Buffer.concat([partial, read]) : read
      if (!greeted) {
        if (bytes.length < 8) {
          partial = bytes
          return
        }
        bytes = bytes.subarray(8)
        greeted = true
      }
      for (;;) {
        if (bytes.length < 12) break
        const length = bytes.readUInt32LE(4)
        if (bytes.length < 12 + length) break
        const type = bytes[8]
        const count = bytes.readUInt16LE(10)
        if (type === 4) {
          for (let range = 0; range < count; range += 1) accepted += bytes.readUInt32LE(12 + range * 12 + 8)
        } else if (type === 5) refused += count
        else if (type === 6) {
          const granted = Number(bytes.readBigUInt64LE(12))
          credit += granted
          outstanding -= granted
          if (options.latency) for (let answered = granted; answered > 0; answered -= frame.length) latencies.push(performance.now() - inFlight.shift())
        } else if (type === 2) credit += Number(bytes.readBigUInt64LE(12 + 16))
        else if (type === 10) {
          process.stderr.write(`ERROR ${bytes.readUInt16LE(12)} ${bytes.toString('utf8', 16, 12 + length)}\n`)
          process.exit(1)
        }
        bytes = bytes.subarray(12 + length)
      }
      partial = Buffer.from(bytes)
      if ((state.stopping || sent >= options.jobs) && outstanding === 0 && greeted) {
        finished += 1
        socket.destroy()
        if (finished === options.connections) report()
      } else pump()
    })
    socket.on('error', (error) => {
      process.stderr.write(`${error.message}\n`)
      process.exit(1)
    })
  }
  let before = 0
  setInterval(() => {
    perSecond.push(accepted - before)
    before = accepted
  }, 1000).unref()
  setTimeout(() => {
    state.stopping = true
  }, options.seconds * 1000)
}

if (process.argv[1] === new URL(import.meta.url).pathname) main()
