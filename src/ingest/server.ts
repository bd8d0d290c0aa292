// The listener: accepts connections, hands what they send to the addon in large reads, writes what it answers.
// Every limit on connections and time is enforced here; everything about bytes and jobs in the addon.
//
// JavaScript sees reads and answers here, never jobs.

import { createServer } from 'node:net'
import type { AddressInfo, Server, Socket } from 'node:net'
import { UsherError, errnoOf, messageOf, wireOfCode } from '../base/errors.ts'
import type { Code } from '../base/errors.ts'
import { codes } from '../base/errors.ts'
import type { FeedResult, Ingest, IngestEvents } from '../base/native.ts'

export interface ServerOptions {
  readonly listen: { readonly host: string; readonly port: number }
  readonly connectionsMax: number
  readonly helloTimeoutMs: number
  readonly frameTimeoutMs: number
  readonly idleTimeoutMs: number
  /** Answers that a producer may leave unread. */
  readonly outputBytesMax: number
  readonly log: (level: 'debug' | 'info' | 'warn', message: string, details?: Record<string, unknown>) => void
}

interface Connection {
  readonly id: number
  readonly socket: Socket
  readonly openedMs: number
  /** When bytes last arrived. */
  heardMs: number
  /** When the frame that is incomplete now began; 0: between frames. */
  frameMs: number
  greeted: boolean
  /** Something was written to it: the preamble came first then. */
  answered: boolean
  closing: boolean
}

export interface ServerStats {
  readonly connections: number
  readonly refusedConnections: number
}

/** usher's preamble where none was agreed on: whatever it sends begins with one (docs/protocol.md). */
const noVersion = Buffer.from([0x55, 0x53, 0x48, 0x52, 0, 0, 1, 0])
const sweepEveryMs = 250
/** How long a connection that was told to go may take to read that. */
const lingerMs = 2000

export class IngestServer {
  readonly #options: ServerOptions
  readonly #ingest: Ingest
  readonly #server: Server
  readonly #connections = new Map<number, Connection>()
  readonly #goodbye = new Map<number, NodeJS.Timeout>()
  #sweeper: NodeJS.Timeout | null = null
  #paused = false
  #refused = 0
  #going: { readonly code: Code; readonly reason: string; readonly addresses: readonly string[] } | null = null

  constructor(ingest: Ingest, options: ServerOptions) {
    this.#ingest = ingest
    this.#options = options
    // Connections beyond the limit are accepted to be told so, and closed.
    this.#server = createServer({ noDelay: true, keepAlive: true, highWaterMark: 256 * 1024 }, (socket) => this.#open(socket))
  }

  /** Resolves with the address when it listens. */
  listen(): Promise<string> {
    const { host, port } = this.#options.listen
    return new Promise((resolve, reject) => {
      this.#server.once('error', (error) => reject(listenError(error, host, port)))
      this.#server.listen({ host, port, backlog: 4096 }, () => {
        this.#server.removeAllListeners('error')
        this.#server.on('error', (error) => this.#options.log('warn', `the listener failed: ${messageOf(error)}`))
        this.#sweeper = setInterval(() => this.#sweep(), sweepEveryMs)
        const address = this.#server.address() as AddressInfo
        resolve(address.family === 'IPv6' ? `[${address.address}]:${address.port}` : `${address.address}:${address.port}`)
      })
    })
  }

  get stats(): ServerStats {
    return { connections: this.#connections.size, refusedConnections: this.#refused }
  }

  /** What the addon reports: answers to write, connections to close, reading to go on. */
  deliver(events: IngestEvents): void {
    for (const { connection, bytes } of events.outputs) {
      const found = this.#connections.get(connection)
      if (found !== undefined) this.#write(found, bytes)
    }
    for (const id of events.closes) {
      const found = this.#connections.get(id)
      if (found !== undefined) this.#end(found)
    }
    if (events.resume && this.#paused) {
      this.#paused = false
      for (const { socket } of this.#connections.values()) socket.resume()
    }
  }

  /**
   * Says goodbye to every producer and takes no more jobs. Resolves when all have gone or `withinMs` is over; what they
   * had sent is answered if its commit comes in that time.
   */
  async goodbye(code: Code, reason: string, addresses: readonly string[], withinMs: number): Promise<void> {
    this.#going = { code, reason, addresses }
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    for (const connection of [...this.#connections.values()]) this.#sayGoodbye(connection)
    const timer = setTimeout(() => {
      for (const { socket } of this.#connections.values()) socket.destroy()
    }, withinMs)
    await closed
    clearTimeout(timer)
    if (this.#sweeper !== null) clearInterval(this.#sweeper)
  }

  #open(socket: Socket): void {
    if (this.#connections.size >= this.#options.connectionsMax) {
      this.#refused += 1
      socket.on('error', () => {
        // It is being turned away: what it does about that is its own affair.
      })
      socket.end(Buffer.concat([noVersion, this.#ingest.errorFrame(wireOfCode('connections_exhausted'), `${codes.connections_exhausted.summary}: at most ${this.#options.connectionsMax}`)]))
      setTimeout(() => socket.destroy(), lingerMs).unref()
      return
    }
    const now = performance.now()
    const id = this.#ingest.open()
    const connection: Connection = { id, socket, openedMs: now, heardMs: now, frameMs: 0, greeted: false, answered: false, closing: false }
    this.#connections.set(id, connection)
    socket.on('data', (bytes: Buffer) => this.#feed(connection, bytes))
    socket.on('error', (error) => this.#options.log('debug', `connection ${id}: ${messageOf(error)}`))
    socket.on('close', () => this.#closed(connection))
    if (this.#paused) socket.pause()
    if (this.#going !== null) this.#sayGoodbye(connection)
  }

  #closed(connection: Connection): void {
    this.#connections.delete(connection.id)
    const timer = this.#goodbye.get(connection.id)
    if (timer !== undefined) clearTimeout(timer)
    this.#goodbye.delete(connection.id)
    this.#ingest.close(connection.id)
  }

  #feed(connection: Connection, bytes: Buffer): void {
    if (connection.closing) return
    const now = performance.now()
    connection.heardMs = now
    const result: FeedResult = this.#ingest.feed(connection.id, bytes)
    connection.greeted = result.greeted
    // A frame that ended and another that began in one read: the clock starts anew.
    if (result.partialBytes === 0) connection.frameMs = 0
    else if (connection.frameMs === 0 || result.partialBytes <= bytes.length) connection.frameMs = now
    if (result.output !== null) this.#write(connection, result.output)
    if (result.close) this.#end(connection)
    if (result.pause && !this.#paused) {
      this.#paused = true
      for (const { socket } of this.#connections.values()) socket.pause()
    }
  }

  #write(connection: Connection, bytes: Buffer): void {
    if (connection.closing && connection.socket.writableEnded) return
    connection.answered = true
    connection.socket.write(bytes)
    if (connection.socket.writableLength > this.#options.outputBytesMax) this.#fail(connection, 'output_overrun')
  }

  /** Tells why, and closes. */
  #fail(connection: Connection, code: Code): void {
    if (connection.closing) return
    this.#options.log('debug', `connection ${connection.id} is closed: ${code}`)
    const error = this.#ingest.errorFrame(wireOfCode(code), codes[code].summary)
    connection.socket.write(connection.answered ? error : Buffer.concat([noVersion, error]))
    this.#end(connection)
  }

  #end(connection: Connection): void {
    if (connection.closing) return
    connection.closing = true
    connection.socket.end()
    // The peer may never read or close; and what it still sends must not keep it open.
    connection.socket.resume()
    const timer = setTimeout(() => connection.socket.destroy(), lingerMs)
    timer.unref()
    this.#goodbye.set(connection.id, timer)
  }

  #sayGoodbye(connection: Connection): void {
    if (this.#going === null || connection.closing) return
    const { code, reason, addresses } = this.#going
    const goodbye = this.#ingest.goodbye(connection.id, wireOfCode(code), reason, addresses)
    connection.socket.write(connection.answered ? goodbye : Buffer.concat([noVersion, goodbye]))
    if (!connection.greeted) this.#end(connection)
  }

  #sweep(): void {
    const { helloTimeoutMs, frameTimeoutMs, idleTimeoutMs } = this.#options
    const now = performance.now()
    for (const connection of [...this.#connections.values()]) {
      if (connection.closing) continue
      // While reading is paused silence is ours, not the producer's.
      if (this.#paused) {
        connection.heardMs = now
        if (connection.frameMs !== 0) connection.frameMs = now
      } else if (!connection.greeted && now - connection.openedMs > helloTimeoutMs) this.#fail(connection, 'hello_timeout')
      else if (connection.greeted && connection.frameMs !== 0 && now - connection.frameMs > frameTimeoutMs) this.#fail(connection, 'frame_timeout')
      else if (now - connection.heardMs > idleTimeoutMs) this.#fail(connection, 'idle_timeout')
    }
  }
}

/** Why listening there failed, in words. */
export const listenError = (error: unknown, host: string, port: number): UsherError => {
  const errno = errnoOf(error)
  if (errno === 'EADDRINUSE') {
    return new UsherError('address_in_use', `${host}:${port} is already taken: another usher on this machine? Choose another with --listen`, { cause: error })
  }
  const code: Code = errno === 'EACCES' ? 'permission' : 'unavailable'
  return new UsherError(code, `can't listen on ${host}:${port}: ${messageOf(error)}`, { cause: error })
}
