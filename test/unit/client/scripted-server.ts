// A server for the client's tests: speaks the protocol by src/protocol, keeps what it is sent, and answers as the
// test says. Without a script it accepts everything at once.
import { once } from 'node:events'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { type Code, UsherError, wireOfCode } from '../../../src/base/errors.ts'
import { encodePreamble, FrameDecoder, headerBytes } from '../../../src/protocol/frame.ts'
import { decodeMessage, encodeMessage, type Message, type Welcome } from '../../../src/protocol/messages.ts'
import { splitJobs } from '../../vectors/reference.ts'

export interface ReceivedFrame {
  readonly sequences: number[]
  readonly jobs: { readonly sequence: number; readonly bytes: string }[]
  readonly size: number
}

export interface Script {
  readonly welcome?: Partial<Welcome>
  /** Answers with this ERROR instead of WELCOME. */
  readonly error?: Code
  readonly onGreeted?: (peer: Peer) => void
  readonly onJobs?: (peer: Peer, frame: ReceivedFrame) => void
  readonly onPing?: (peer: Peer, token: bigint) => void
}

/** One connection, from the server's side. */
export class Peer {
  readonly socket: Socket
  readonly frames: ReceivedFrame[] = []
  producer = 0n
  name = ''
  saidGoodbye = false
  pings = 0

  constructor(socket: Socket) {
    this.socket = socket
  }

  write(message: Message): void {
    this.socket.write(encodeMessage(message))
  }

  ack(...sequences: number[]): void {
    this.write({ type: 'ACK', ranges: sequences.map((sequence) => ({ first: BigInt(sequence), jobs: 1 })) })
  }

  refuse(code: Code, sequences: readonly number[], field = 0, detail = ''): void {
    this.write({ type: 'REFUSED', jobs: sequences.map((sequence) => ({ sequence: BigInt(sequence), code: wireOfCode(code), field, detail })) })
  }

  credit(bytes: number): void {
    this.write({ type: 'CREDIT', bytes: BigInt(bytes) })
  }

  acceptAll(frame: ReceivedFrame): void {
    const ranges: { first: bigint; jobs: number }[] = []
    for (const sequence of frame.sequences) {
      const last = ranges.at(-1)
      if (last !== undefined && last.first + BigInt(last.jobs) === BigInt(sequence)) last.jobs++
      else ranges.push({ first: BigInt(sequence), jobs: 1 })
    }
    this.write({ type: 'ACK', ranges })
    this.credit(frame.size)
  }
}

export class ScriptedServer {
  readonly peers: Peer[] = []
  /** Violations of the protocol by the client: every test ends with none. */
  readonly violations: string[] = []
  script: Script
  #server: Server

  constructor(script: Script = {}) {
    this.script = script
    this.#server = createServer((socket) => this.#serve(socket))
  }

  async listen(port = 0): Promise<this> {
    this.#server.listen(port, '127.0.0.1')
    await once(this.#server, 'listening')
    return this
  }

  get address(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  get frames(): ReceivedFrame[] {
    return this.peers.flatMap((peer) => peer.frames)
  }

  get sequences(): number[] {
    return this.frames.flatMap((frame) => frame.sequences)
  }

  async close(): Promise<void> {
    for (const peer of this.peers) peer.socket.destroy()
    if (!this.#server.listening) return
    this.#server.close()
    await once(this.#server, 'close')
  }

  #serve(socket: Socket): void {
    const peer = new Peer(socket)
    this.peers.push(peer)
    let credit = 0
    const welcome: Welcome = {
      type: 'WELCOME', features: 0, frameBytesMax: 65_536, jobBytesMax: 65_536, frameJobsMax: 1000, credit: 131_072n, idleMs: 60_000,
      store: '1b4e28ba-2fa1-11d2-883f-0016d3cca427', instance: 'i-1', host: 'test', version: '0', ...this.script.welcome,
    }
    const write = peer.write.bind(peer)
    peer.write = (message) => {
      if (message.type === 'CREDIT') credit += Number(message.bytes)
      write(message)
    }
    const decoder = new FrameDecoder({
      payloadBytesMax: welcome.frameBytesMax,
      onPreamble: () => socket.write(encodePreamble(1, 1)),
      onFrame: (frame) => {
        const message = decodeMessage(frame)
        if (message.type === 'HELLO') {
          peer.producer = message.producer
          peer.name = message.name
          if (this.script.error !== undefined) {
            peer.write({ type: 'ERROR', code: wireOfCode(this.script.error), message: 'as the test says' })
            socket.end()
            return
          }
          credit = Number(welcome.credit)
          peer.write(welcome)
          this.script.onGreeted?.(peer)
        } else if (message.type === 'JOBS') {
          const jobs = splitJobs(message.payload, message.count)
          const size = headerBytes + message.payload.length
          credit -= size
          if (jobs === undefined) throw new UsherError('frame_malformed', 'jobs')
          if (credit < 0) throw new UsherError('credit_exceeded', `by ${-credit}`)
          if (message.count > welcome.frameJobsMax) throw new UsherError('frame_malformed', 'too many jobs')
          if (peer.saidGoodbye) throw new UsherError('frame_unexpected', 'JOBS after GOODBYE')
          const received = jobs.map(({ sequence, fields }) => ({ sequence: Number(sequence), bytes: fields.toString('hex') }))
          const seen: ReceivedFrame = { sequences: received.map(({ sequence }) => sequence), jobs: received, size }
          peer.frames.push(seen)
          if (this.script.onJobs === undefined) peer.acceptAll(seen)
          else this.script.onJobs(peer, seen)
        } else if (message.type === 'PING') {
          peer.pings++
          if (this.script.onPing === undefined) peer.write({ type: 'PONG', token: message.token })
          else this.script.onPing(peer, message.token)
        } else if (message.type === 'GOODBYE') {
          peer.saidGoodbye = true
          peer.write({ type: 'GOODBYE', code: 0, reason: '', addresses: [] })
          socket.end()
        }
      },
    })
    socket.on('data', (bytes) => {
      try {
        decoder.push(bytes)
      } catch (error) {
        this.violations.push(String(error))
        socket.destroy()
      }
    })
    // A client that leaves by a reset is one of the things that are tested.
    socket.on('error', () => socket.destroy())
  }
}
