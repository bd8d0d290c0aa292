// The way to the store: one connection at a time, over all addresses, opened again whenever it is lost, until end().
// What flew on a lost connection is queued again; a host that takes no more jobs is left when it has answered.
import type { EventEmitter } from 'node:events'
import { UsherError } from '../base/errors.ts'
import type { Crc32c } from '../protocol/crc32c.ts'
import type { RefusedJob } from '../protocol/messages.ts'
import { Connection, type Goodbye } from './connection.ts'
import { Dialer } from './dialer.ts'
import { type Address, formatAddress, parseAddresses, type Settings } from './options.ts'
import type { Outbox } from './outbox.ts'
import type { ClientEvents, ClientStats, ConnectedTo } from './watching.ts'

export interface LinkContext {
  readonly addresses: string | readonly string[]
  readonly settings: Settings
  readonly producer: bigint
  readonly name: string
  readonly crc32c: Crc32c | undefined
  readonly outbox: Outbox
  readonly stats: ClientStats
  readonly events: EventEmitter<ClientEvents>
  /** No job will come any more: with nothing held, no connection is needed. */
  closing(): boolean
  onAck(first: number, jobs: number): void
  onRefused(connection: Connection, jobs: readonly RefusedJob[]): void
  onCredit(): void
  /** A connection is open, and what is queued may go. */
  onOpen(): void
  /** What flew is queued again. */
  onLost(): void
}

export class Link {
  readonly #context: LinkContext
  readonly #dialer: Dialer
  readonly #ending = new AbortController()
  #connection: Connection | undefined
  #lastError: UsherError | undefined

  constructor(context: LinkContext) {
    this.#context = context
    this.#dialer = new Dialer(
      parseAddresses(context.addresses),
      context.settings,
      (address) => this.#open(address),
      (address, error) => {
        this.#lastError = error
        context.events.emit('unreachable', { address, error })
      },
    )
  }

  get connection(): Connection | undefined {
    return this.#connection
  }

  get connectedTo(): ConnectedTo | undefined {
    const connection = this.#connection
    if (connection === undefined) return undefined
    return { address: formatAddress(connection.address), host: connection.welcome.host, instance: connection.welcome.instance }
  }

  /** Why there is no connection, or why the last one ended. */
  get lastError(): UsherError | undefined {
    return this.#lastError
  }

  /** Aborted by end(). */
  get signal(): AbortSignal {
    return this.#ending.signal
  }

  dial(): void {
    void this.#dialer.dial(this.#ending.signal)
  }

  /** A host does what it is there for: the next loss is answered at once. */
  productive(): void {
    this.#dialer.productive()
  }

  /** For good. */
  end(): void {
    this.#ending.abort()
    this.#connection?.destroy(new UsherError('closed', 'the client was closed'))
  }

  async #open(address: Address): Promise<void> {
    const { producer, name, crc32c } = this.#context
    const { connectTimeoutMs, silenceMs } = this.#context.settings
    const settings = { producer, name, connectTimeoutMs, silenceMs, crc32c }
    await Connection.open(address, settings, this.#ending.signal, (connection) => this.#adopt(connection))
  }

  #adopt(connection: Connection): void {
    const { outbox, stats, events } = this.#context
    this.#connection = connection
    stats.connections++
    connection.attach(
      {
        onAck: (first, jobs) => {
          this.#context.onAck(first, jobs)
          this.#leaveWhenAnswered(connection)
        },
        onRefused: (jobs) => {
          this.#context.onRefused(connection, jobs)
          this.#leaveWhenAnswered(connection)
        },
        onCredit: () => this.#context.onCredit(),
        onGoodbye: (goodbye) => this.#onGoodbye(connection, goodbye),
        onEnd: (error) => this.#onEnd(connection, error),
      },
      () => outbox.flyingUnits > 0,
    )
    if (this.#connection !== connection) return
    events.emit('connected', this.connectedTo!)
    this.#context.onOpen()
  }

  #onGoodbye(connection: Connection, goodbye: Goodbye): void {
    this.#dialer.left(connection.address, goodbye.addresses)
    this.#context.events.emit('goodbye', { ...goodbye, address: formatAddress(connection.address) })
    this.#leaveWhenAnswered(connection)
  }

  /** A host that takes no more jobs is left as soon as it has answered those it has. */
  #leaveWhenAnswered(connection: Connection): void {
    const { outbox } = this.#context
    if (!connection.leaving || this.#connection !== connection || outbox.flyingUnits > 0) return
    if (this.#context.closing() && outbox.heldJobs === 0) return
    connection.destroy(new UsherError('draining', `${formatAddress(connection.address)} takes no more jobs`))
  }

  #onEnd(connection: Connection, error: UsherError): void {
    if (this.#connection !== connection) return
    const { outbox, stats, events } = this.#context
    this.#connection = undefined
    this.#lastError = error
    stats.resentJobs += outbox.ground()
    this.#context.onLost()
    events.emit('disconnected', { address: formatAddress(connection.address), error })
    this.#dialer.lost(connection.address)
    const finished = this.#context.closing() && outbox.heldJobs === 0
    if (!this.#ending.signal.aborted && !finished) this.dial()
  }
}
