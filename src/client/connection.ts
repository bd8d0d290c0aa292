// One TCP connection to one host: greeting, frames in both directions, credit, pings. It never sends a job by
// itself, and it is used once: after it ended, another is made.
import type { Buffer } from 'node:buffer'
import { type Socket, connect } from 'node:net'
import { codeOfWire, messageOf, UsherError } from '../base/errors.ts'
import { crc32c, type Crc32c } from '../protocol/crc32c.ts'
import { encodePreamble, type Frame, FrameDecoder, frameTypes, protocolVersion } from '../protocol/frame.ts'
import { decodeMessage, encodeMessage, type Message, type RefusedJob, visitAck, type Welcome } from '../protocol/messages.ts'
import { type Address, formatAddress } from './options.ts'

export interface Goodbye {
  readonly code: number
  readonly reason: string
  readonly addresses: readonly string[]
}

export interface ConnectionEvents {
  onAck(first: number, jobs: number): void
  onRefused(jobs: readonly RefusedJob[]): void
  /** Credit was granted. */
  onCredit(): void
  onGoodbye(goodbye: Goodbye): void
  /** Called once, last, and only for a connection that had been opened. */
  onEnd(error: UsherError): void
}

export interface ConnectionSettings {
  readonly producer: bigint
  readonly name: string
  readonly connectTimeoutMs: number
  readonly silenceMs: number
  readonly crc32c?: Crc32c | undefined
}

/** The largest answer that is taken from a host, before and after WELCOME: 65,535 refusals with full details. */
const answerBytesMax = 0xffff * (12 + 0xff)

export class Connection {
  readonly address: Address
  readonly welcome: Welcome
  credit: number
  bytesSent = 0
  /** GOODBYE was sent or received, or a refusal said that it is near: no more jobs here. */
  leaving = false
  readonly #socket: Socket
  readonly #crc: Crc32c
  readonly #silenceMs: number
  readonly #timer: NodeJS.Timeout
  #events: ConnectionEvents | undefined
  #lastSentMs = performance.now()
  #lastHeardMs = performance.now()
  #pingSentMs: number | undefined
  #token = 0n
  /** Whether answers are owed: asked before each ping. */
  #expecting: () => boolean = () => false
  #end: UsherError | undefined

  /**
   * Resolves at WELCOME, after `onOpen`, which must attach(): frames may follow in the same bytes. Rejects with `disconnected` or
   * with the code of the host's ERROR.
   */
  static open(
    address: Address,
    settings: ConnectionSettings,
    signal: AbortSignal,
    onOpen: (connection: Connection) => void,
  ): Promise<void> {
    return new Promise((resolve, reject) => {
      const where = formatAddress(address)
      const crc = settings.crc32c ?? crc32c
      const socket = connect({ host: address.host, port: address.port, noDelay: true })
      let connection: Connection | undefined
      const fail = (error: UsherError): void => {
        if (connection !== undefined) return connection.#ended(error)
        clearTimeout(timer)
        signal.removeEventListener('abort', abort)
        decoder.stop()
        socket.destroy()
        reject(error)
      }
      const lost = (why: string, cause?: unknown): UsherError =>
        new UsherError('disconnected', `${where}: ${why}`, { details: { address: where }, cause })
      const abort = (): void => fail(lost('given up'))
      const timer = setTimeout(() => fail(lost(`no greeting within ${settings.connectTimeoutMs} ms`)), settings.connectTimeoutMs)
      const frame = (received: Frame): void => {
        if (connection !== undefined) return connection.#received(received)
        const message = decodeMessage(received)
        if (message.type === 'ERROR') return fail(remoteError(where, message))
        if (message.type !== 'WELCOME') throw new UsherError('frame_unexpected', `${message.type} came before WELCOME`)
        clearTimeout(timer)
        signal.removeEventListener('abort', abort)
        connection = new Connection(address, message, socket, crc, settings.silenceMs)
        onOpen(connection)
        resolve()
      }
      const decoder = new FrameDecoder({
        payloadBytesMax: answerBytesMax,
        crc32c: crc,
        // Version 0 is followed by an ERROR that says why; a version that wasn't offered must not be used.
        onPreamble: ({ first }) => {
          if (first > protocolVersion) throw new UsherError('version_unsupported', `the host chose version ${first}`)
        },
        onFrame: frame,
      })
      socket.on('data', (bytes: Buffer) => {
        try {
          decoder.push(bytes)
        } catch (error) {
          // The stream can't be trusted any more; what is known of the jobs on it stays as it is.
          decoder.stop()
          const code = error instanceof UsherError ? error.code : 'internal'
          fail(new UsherError(code, `${where}: ${messageOf(error)}`, { details: { address: where }, cause: error }))
        }
      })
      socket.on('error', (error) => fail(lost(error.message, error)))
      socket.on('close', () => fail(lost('the connection was closed')))
      if (signal.aborted) abort()
      else signal.addEventListener('abort', abort)
      socket.write(encodePreamble(protocolVersion, protocolVersion))
      socket.write(encodeMessage({ type: 'HELLO', producer: settings.producer, features: 0, name: settings.name }, crc))
    })
  }

  private constructor(address: Address, welcome: Welcome, socket: Socket, crc: Crc32c, silenceMs: number) {
    this.address = address
    this.welcome = welcome
    this.credit = Number(welcome.credit)
    this.#socket = socket
    this.#crc = crc
    this.#silenceMs = silenceMs
    // Three pings fit into the shorter of the two times, so that one late timer costs nothing.
    const everyMs = Math.max(10, Math.min(welcome.idleMs === 0 ? Infinity : welcome.idleMs, silenceMs) / 3)
    this.#timer = setInterval(() => this.#check(everyMs), everyMs).unref()
  }

  get host(): string {
    return this.welcome.host
  }

  /** Events begin. */
  attach(events: ConnectionEvents, expecting: () => boolean): void {
    this.#events = events
    this.#expecting = expecting
    if (this.#end !== undefined) events.onEnd(this.#end)
  }

  /** A whole JOBS frame, for which the caller has seen that there is credit. */
  sendJobs(frame: Buffer): void {
    this.credit -= frame.length
    this.#write(frame)
  }

  /** No more jobs will come; the host answers what it has and closes. */
  goodbye(): void {
    if (this.#end !== undefined) return
    this.leaving = true
    this.#write(encodeMessage({ type: 'GOODBYE', code: 0, reason: '', addresses: [] }, this.#crc))
  }

  destroy(error: UsherError): void {
    this.#ended(error)
  }

  #write(bytes: Buffer): void {
    this.#lastSentMs = performance.now()
    this.bytesSent += bytes.length
    this.#socket.write(bytes)
  }

  #check(everyMs: number): void {
    const now = performance.now()
    if (this.#pingSentMs !== undefined && now - Math.max(this.#lastHeardMs, this.#pingSentMs) > this.#silenceMs) {
      const where = formatAddress(this.address)
      const message = `${where}: nothing was heard for ${this.#silenceMs} ms`
      this.#ended(new UsherError('disconnected', message, { details: { address: where } }))
      return
    }
    const quiet = now - this.#lastSentMs >= everyMs * 0.9
    const deaf = this.#expecting() && now - this.#lastHeardMs >= everyMs * 0.9
    if ((quiet || deaf) && this.#pingSentMs === undefined) {
      this.#pingSentMs = now
      this.#write(encodeMessage({ type: 'PING', token: ++this.#token }, this.#crc))
    }
  }

  #received(frame: Frame): void {
    if (this.#end !== undefined) return
    this.#lastHeardMs = performance.now()
    if (frame.type === frameTypes.ACK) {
      visitAck(frame, (first, jobs) => this.#events?.onAck(first, jobs))
      return
    }
    const message = decodeMessage(frame)
    switch (message.type) {
      case 'REFUSED':
        this.#events?.onRefused(message.jobs)
        return
      case 'CREDIT':
        this.credit += Number(message.bytes)
        this.#events?.onCredit()
        return
      case 'PING':
        this.#write(encodeMessage({ type: 'PONG', token: message.token }, this.#crc))
        return
      case 'PONG':
        if (message.token === this.#token) this.#pingSentMs = undefined
        return
      case 'GOODBYE':
        this.leaving = true
        this.#events?.onGoodbye(message)
        return
      case 'ERROR':
        this.#ended(remoteError(formatAddress(this.address), message))
        return
      default:
        throw new UsherError('frame_unexpected', `${message.type} is not for a producer`)
    }
  }

  #ended(error: UsherError): void {
    if (this.#end !== undefined) return
    this.#end = error
    this.leaving = true
    clearInterval(this.#timer)
    this.#socket.destroy()
    this.#events?.onEnd(error)
  }
}

const remoteError = (where: string, message: Extract<Message, { type: 'ERROR' }>): UsherError =>
  new UsherError(codeOfWire(message.code) ?? 'disconnected', `${where}: ${message.message}`, {
    details: { address: where, wire: message.code },
  })
