// The producers' library, `usher/client`: jobs in, one answer for each out. It keeps every job until a host has said
// that it is on stable storage, or until the caller's time for it is over, and sends it again with the same id
// whenever that isn't known. It must never mint a second id for a job, nor call one accepted that wasn't
// acknowledged. Imports base and protocol only, and works without the addon.
import { Buffer } from 'node:buffer'
import { EventEmitter, once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { codeOfWire, UsherError } from '../base/errors.ts'
import { crc32c } from '../protocol/crc32c.ts'
import { formatProducer, producerOfName, randomProducer } from '../protocol/job-id.ts'
import type { JobInput } from '../protocol/job-spec.ts'
import type { RefusedJob } from '../protocol/messages.ts'
import { parseJobSpec } from '../protocol/parse-job-spec.ts'
import { type Accepted, BatchOwner, type BatchResult, SingleOwner } from './answers.ts'
import type { Connection } from './connection.ts'
import { Deadlines } from './deadlines.ts'
import { Departures } from './departures.ts'
import { connectWithinMs, firstConnection } from './first-connection.ts'
import { Link } from './link.ts'
import {
  type BatchOptions, type ClientOptions, type ConnectOptions, parseAddresses, type SendOptions, type Settings, settingsOf,
} from './options.ts'
import { Outbox } from './outbox.ts'
import { Room } from './room.ts'
import { Slab } from './slab.ts'
import { Unit } from './unit.ts'
import { type GivenUp, inDoubtError, mayBeKept, problemError, refusalError, tooLargeError, unsentError, withId } from './verdicts.ts'
import { type ClientEvents, type ClientStats, type ConnectedTo, newStats } from './watching.ts'

export type { Accepted, BatchResult } from './answers.ts'
export type { Address, BatchOptions, ClientOptions, ConnectOptions, SendOptions } from './options.ts'
export type { ClientStats } from './watching.ts'
export { UsherError } from '../base/errors.ts'
export { ByteWriter } from '../protocol/byte-writer.ts'
export { encodeJob } from '../protocol/job-encoder.ts'
export { formatJobId, parseJobId, producerOfName, type JobId } from '../protocol/job-id.ts'
export type { Job, JobInput, JobSpec, JobSpecInput } from '../protocol/job-spec.ts'
export { parseJobSpec, type JobProblem, type ParsedJob } from '../protocol/parse-job-spec.ts'

/** A job with the sequence that the caller gave it: below 2^53, and never given to another. */
export interface NumberedJob {
  readonly job: JobInput
  readonly sequence: number
}

/** Consecutive jobs as they stand in a JOBS payload (encodeJob). The bytes belong to the client until they are answered. */
export interface EncodedJobs {
  readonly bytes: Uint8Array
  readonly first: number
  readonly count: number
}

/** How long close() waits for a host to answer GOODBYE. */
const goodbyeMs = 1_000

export class Client extends EventEmitter<ClientEvents> {
  readonly producer: bigint
  readonly #prefix: string
  readonly #settings: Settings
  readonly #slab = new Slab()
  readonly #stats = newStats()
  readonly #outbox: Outbox
  readonly #room: Room
  readonly #deadlines = new Deadlines((nowMs) => this.#giveUpLate(nowMs))
  readonly #departures: Departures
  readonly #link: Link
  /** Of the next job that comes without one. */
  #sequence: number | undefined
  #closing: Promise<void> | undefined
  #closed = false

  /** Begins to connect at once, and goes on until close(). */
  constructor(options: ClientOptions) {
    super()
    if (options.clientId !== undefined && options.producer !== undefined) {
      throw new UsherError('usage', 'give clientId or producer, not both')
    }
    this.producer = options.producer ?? (options.clientId === undefined ? randomProducer() : producerOfName(options.clientId))
    this.#prefix = `${formatProducer(this.producer)}-`
    const name = options.name ?? options.clientId ?? ''
    if (Buffer.byteLength(name) > 255) throw new UsherError('usage', 'the name has more than 255 bytes')
    const known = options.clientId !== undefined || options.producer !== undefined
    this.#sequence = options.firstSequence ?? (known ? undefined : 1)
    const settings = settingsOf(options)
    const stats = this.#stats
    const outbox = new Outbox(options.crc32c ?? crc32c, (unit, frameBytesMax) => this.#tooLarge(unit, frameBytesMax))
    this.#settings = settings
    this.#outbox = outbox
    this.#room = new Room(outbox, settings)
    this.#departures = new Departures({
      outbox, settings, stats,
      connection: () => this.#link.connection,
      onFlushed: () => this.#room.settled(),
    })
    this.#link = new Link({
      addresses: options.addresses, settings, producer: this.producer, name, crc32c: options.crc32c, outbox, stats, events: this,
      closing: () => this.#closing !== undefined,
      onAck: (first, jobs) => this.#onAck(first, jobs),
      onRefused: (connection, jobs) => this.#onRefused(connection, jobs),
      onCredit: () => this.#departures.flush(),
      onOpen: () => {
        this.#departures.hasten()
        this.#departures.flush()
      },
      onLost: () => this.#departures.hasten(),
    })
    this.#link.dial()
  }

  get stats(): Readonly<ClientStats> & { readonly heldJobs: number; readonly heldBytes: number; readonly credit: number } {
    const { heldJobs, heldBytes } = this.#outbox
    return { ...this.#stats, heldJobs, heldBytes, credit: this.#link.connection?.credit ?? 0 }
  }

  /** The host that jobs go to now. */
  get connectedTo(): ConnectedTo | undefined {
    return this.#link.connectedTo
  }

  /** Why there is no connection, or why the last one ended. */
  get lastError(): UsherError | undefined {
    return this.#link.lastError
  }

  idOf(sequence: number): string {
    return this.#prefix + sequence
  }

  /**
   * One job. Resolves when it is on stable storage. Rejects with an UsherError whose code says what is known: a refusal's
   * code (not accepted), `timed_out`, `aborted`, `closed` or `queue_full` (never sent), `in_doubt` (sent, no answer).
   */
  async send(job: JobInput, options: SendOptions & { readonly sequence?: number } = {}): Promise<Accepted> {
    const deadlineMs = this.#deadline(options)
    if (this.#room.full) {
      if (this.#settings.whenFull === 'reject') {
        const { heldJobs, heldBytes } = this.#outbox
        const message = `${heldJobs} jobs (${heldBytes} bytes) are held already`
        throw new UsherError('queue_full', message, { details: { heldJobs, heldBytes } })
      }
      await this.#whenRoom(deadlineMs, options.signal)
    }
    return new Promise((resolve, reject) => {
      const owner = new SingleOwner(this, options.signal, resolve, reject)
      const unit = this.#encode(owner, job, options.sequence, deadlineMs)
      if (options.signal === undefined) return
      if (options.signal.aborted) return this.#giveUp(unit, 'aborted')
      owner.onAbort(() => this.#giveUp(unit, 'aborted'))
    })
  }

  /**
   * Many jobs, taken from the iterable only as fast as there is room. Resolves when each has its answer; rejects only if
   * the iterable does, and then too only when what was taken from it has its answer.
   */
  async sendAll(
    jobs: Iterable<JobInput | NumberedJob> | AsyncIterable<JobInput | NumberedJob>,
    options: BatchOptions = {},
  ): Promise<BatchResult> {
    const owner = new BatchOwner(options)
    const abort = (): void => this.#giveUpAll(owner, 'aborted')
    options.signal?.addEventListener('abort', abort)
    try {
      for await (const item of jobs) {
        if (options.signal?.aborted === true) break
        const numbered = 'job' in item ? (item as NumberedJob) : { job: item as JobInput, sequence: undefined }
        try {
          // The time of a job begins when there is room for it: the iterable is as long as it likes.
          if (this.#room.full) await this.#whenRoom(Infinity, options.signal)
          this.#encode(owner, numbered.job, numbered.sequence, this.#deadline(options))
        } catch (error) {
          owner.rejected(withId(error, numbered.sequence === undefined ? undefined : this.idOf(numbered.sequence)))
        }
      }
    } finally {
      owner.close()
      await owner.done.finally(() => options.signal?.removeEventListener('abort', abort))
    }
    return owner.done
  }

  /** A run of jobs that is encoded already: the way for load generators. */
  async sendEncoded(jobs: EncodedJobs, options: BatchOptions = {}): Promise<BatchResult> {
    if (this.#room.full) await this.#whenRoom(this.#deadline(options), options.signal)
    this.#open()
    this.#checkSequences(jobs.first, jobs.count)
    const owner = new BatchOwner(options)
    owner.expect(jobs.count)
    owner.close()
    const unit = new Unit(owner, jobs.first, jobs.count, jobs.bytes, this.#deadline(options))
    this.#hold(unit)
    const abort = (): void => this.#giveUpAll(owner, 'aborted')
    if (options.signal?.aborted === true) abort()
    options.signal?.addEventListener('abort', abort)
    return owner.done.finally(() => options.signal?.removeEventListener('abort', abort))
  }

  /** Resolves when there is room for another job; for callers of send() that don't wait for its answers. */
  async whenRoom(options: SendOptions = {}): Promise<void> {
    if (this.#room.full) await this.#whenRoom(this.#deadline(options), options.signal)
  }

  /** Sends what lingers, and resolves when nothing is held any more: each job has had its answer or its time. */
  async drain(): Promise<void> {
    if (this.#outbox.heldJobs === 0) return
    await this.#departures.draining(() => this.#room.whenEmpty())
  }

  /** Takes no more jobs, waits for the answers of those it has, says GOODBYE. */
  close(): Promise<void> {
    this.#room.close()
    this.#closing ??= (async () => {
      await this.drain()
      const { connection, signal } = this.#link
      if (connection !== undefined && !this.#closed) {
        connection.goodbye()
        const gone = once(this, 'disconnected')
        await Promise.race([gone, sleep(goodbyeMs, undefined, { signal }).catch(() => undefined)])
      }
      this.destroy()
    })()
    return this.#closing
  }

  /** At once: what was sent and not answered rejects with `in_doubt`, the rest with `closed`. */
  destroy(): void {
    if (this.#closed) return
    this.#closed = true
    this.#closing ??= Promise.resolve()
    this.#room.close()
    this.#departures.stop()
    this.#link.end()
    for (const unit of this.#outbox.units()) this.#giveUp(unit, 'closed')
    this.#deadlines.stop()
    this.#room.wake()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  // Jobs in.

  #open(): void {
    if (this.#closing !== undefined) throw new UsherError('closed', 'the client was closed')
  }

  #deadline(options: SendOptions): number {
    return performance.now() + (options.timeoutMs ?? this.#settings.timeoutMs)
  }

  #checkSequences(first: number, count: number): void {
    if (!Number.isSafeInteger(first) || first < 0 || !Number.isSafeInteger(first + count) || count < 1) {
      throw new UsherError('usage', `sequences are integers from 0 to 2^53, not ${first}`)
    }
    if (!this.#outbox.holds(first, count)) return
    const id = this.idOf(first)
    throw new UsherError('usage', `job ${id} is being sent already`, { details: { id } })
  }

  #encode(owner: SingleOwner | BatchOwner, input: JobInput, given: number | undefined, deadlineMs: number): Unit {
    this.#open()
    const sequence = given ?? this.#sequence
    if (sequence === undefined) {
      throw new UsherError('usage', 'a producer with a name gives each job its sequence, or sets firstSequence')
    }
    const { job, problem } = parseJobSpec(input)
    if (problem !== undefined) throw withId(problemError(problem), given === undefined ? undefined : this.idOf(given))
    this.#checkSequences(sequence, 1)
    if (given === undefined) this.#sequence = sequence + 1
    const unit = new Unit(owner, sequence, 1, this.#slab.encode(sequence, job), deadlineMs)
    owner.expect(1)
    this.#hold(unit)
    return unit
  }

  #hold(unit: Unit): void {
    this.#outbox.add(unit)
    this.#deadlines.add(unit.deadlineMs)
    this.#departures.added()
  }

  async #whenRoom(deadlineMs: number, signal: AbortSignal | undefined): Promise<void> {
    await this.#room.whenRoom(deadlineMs, signal, () => this.lastError)
    this.#open()
  }

  // Answers in.

  #tooLarge(unit: Unit, frameBytesMax: number): void {
    this.#stats.refusedJobs++
    this.#outbox.fail(unit, unit.first, tooLargeError(this.idOf(unit.first), unit.bytes.length, frameBytesMax))
  }

  #onRefused(connection: Connection, jobs: readonly RefusedJob[]): void {
    for (const job of jobs) {
      const sequence = Number(job.sequence)
      const unit = this.#outbox.flyingWith(sequence)
      if (unit === undefined) continue
      const code = codeOfWire(job.code)
      const error = refusalError(this.idOf(sequence), connection.welcome.host, job)
      if (this.#settings.retry && error.retryable) {
        this.#stats.retriedJobs++
        if (code === 'draining' || code === 'retired') connection.leaving = true
        this.#outbox.delay(unit, sequence, error)
      } else {
        this.#link.productive()
        this.#stats.refusedJobs++
        const doubt = mayBeKept(error.code) || (unit.doubt && error.retryable)
        this.#outbox.fail(unit, sequence, doubt ? inDoubtError(this.idOf(sequence), 'refused', error) : error)
      }
    }
    this.#departures.pauseForDelayed(connection)
    this.#room.settled()
  }

  #onAck(first: number, jobs: number): void {
    this.#stats.acceptedJobs += this.#outbox.acknowledge(first, jobs)
    this.#link.productive()
    this.#departures.productive()
    this.#room.settled()
  }

  // Time.

  #giveUpLate(nowMs: number): number {
    let next = Infinity
    for (const unit of this.#outbox.units()) {
      if (unit.deadlineMs <= nowMs) this.#giveUp(unit, 'timed_out')
      else next = Math.min(next, unit.deadlineMs)
    }
    return next
  }

  #giveUpAll(owner: BatchOwner, why: 'aborted'): void {
    for (const unit of this.#outbox.units()) if (unit.owner === owner) this.#giveUp(unit, why)
  }

  /** Says of each job of the unit what is known when its time is over. */
  #giveUp(unit: Unit, why: GivenUp): void {
    const sent = unit.doubt || unit.state === 'flying'
    for (const sequence of [...unit.unanswered()]) {
      const id = this.idOf(sequence)
      if (sent) {
        this.#stats.inDoubtJobs++
        this.#outbox.fail(unit, sequence, inDoubtError(id, why, unit.refusal ?? this.lastError))
      } else {
        const refusal = why === 'timed_out' ? unit.refusal : undefined
        this.#outbox.fail(unit, sequence, refusal ?? unsentError(id, why, this.lastError))
      }
    }
    this.#room.settled()
  }
}

/**
 * A client that is connected. Rejects when no host could be reached in time, or at once when every host
 * refuses for good (another protocol, no common version).
 */
export const connect = async (options: ConnectOptions): Promise<Client> => {
  const client = new Client(options)
  try {
    await firstConnection(client, {
      addresses: parseAddresses(options.addresses).length,
      withinMs: options.connectWithinMs ?? connectWithinMs,
      signal: options.signal,
    })
  } catch (error) {
    client.destroy()
    throw error
  }
  return client
}
