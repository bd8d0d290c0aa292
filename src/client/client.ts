// The producers' library, `usher/client`: jobs in, one answer for each out. It keeps every job until a host has said
// that it is on stable storage, or until the caller's time for it is over, and sends it again with the same id
// whenever that isn't known. It must never mint a second id for a job, nor call one accepted that wasn't
// acknowledged. Imports base and protocol only, and works without the addon.
import { Buffer } from 'node:buffer'
import { EventEmitter, once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { codeOfWire, UsherError } from '../base/errors.ts'
import { ByteWriter } from '../protocol/byte-writer.ts'
import { crc32c } from '../protocol/crc32c.ts'
import { countMaxPerFrame } from '../protocol/frame.ts'
import { encodeJob } from '../protocol/job-encoder.ts'
import { formatProducer, producerOfName, randomProducer } from '../protocol/job-id.ts'
import type { JobInput } from '../protocol/job-spec.ts'
import type { RefusedJob } from '../protocol/messages.ts'
import { parseJobSpec } from '../protocol/parse-job-spec.ts'
import { BatchOwner, type BatchResult, SingleOwner, type Accepted } from './answers.ts'
import { fullJitterMs } from './backoff.ts'
import { Connection, type Goodbye } from './connection.ts'
import { Deadlines } from './deadlines.ts'
import { Dialer } from './dialer.ts'
import { type Address, type ClientOptions, formatAddress, parseAddresses, type Settings, settingsOf } from './options.ts'
import { Outbox } from './outbox.ts'
import { Unit } from './unit.ts'
import { type GivenUp, inDoubtError, problemError, refusalError, tooLargeError, unsentError, withId } from './verdicts.ts'

export type { Accepted, BatchResult } from './answers.ts'
export type { Address, ClientOptions } from './options.ts'
export { UsherError } from '../base/errors.ts'
export { ByteWriter } from '../protocol/byte-writer.ts'
export { encodeJob } from '../protocol/job-encoder.ts'
export { formatJobId, parseJobId, producerOfName, type JobId } from '../protocol/job-id.ts'
export type { Job, JobInput, JobSpec, JobSpecInput } from '../protocol/job-spec.ts'
export { parseJobSpec, type JobProblem, type ParsedJob } from '../protocol/parse-job-spec.ts'

export interface SendOptions {
  readonly signal?: AbortSignal
  /** Instead of the client's. */
  readonly timeoutMs?: number
}

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

export interface BatchOptions extends SendOptions {
  /** Called for each run of accepted jobs. */
  readonly onAccepted?: (first: number, jobs: number) => void
  /** Called for each job that wasn't; the result then lists none, so that memory stays constant. */
  readonly onFailed?: (error: UsherError) => void
}

export interface ClientStats {
  /** Jobs put into frames, resends included. */
  sentJobs: number
  sentBytes: number
  acceptedJobs: number
  refusedJobs: number
  /** Refusals after which the job was sent again. */
  retriedJobs: number
  inDoubtJobs: number
  /** Jobs that were flying when a connection was lost. */
  resentJobs: number
  connections: number
}

interface ClientEvents {
  connected: [{ readonly address: string; readonly host: string; readonly instance: string }]
  disconnected: [{ readonly address: string; readonly error: UsherError }]
  /** An address that couldn't be connected. */
  unreachable: [{ readonly address: string; readonly error: UsherError }]
  goodbye: [Goodbye & { readonly address: string }]
}

/** Memory for encoded jobs is taken in pieces of this size. */
const slabBytes = 256 * 1024
/** How long close() waits for a host to answer GOODBYE. */
const goodbyeMs = 1_000
const timerMostMs = 2 ** 31 - 1

export class Client extends EventEmitter<ClientEvents> {
  readonly producer: bigint
  readonly #prefix: string
  readonly #name: string
  readonly #options: ClientOptions
  readonly #settings: Settings
  readonly #dialer: Dialer
  readonly #deadlines = new Deadlines((nowMs) => this.#giveUpLate(nowMs))
  readonly #outbox: Outbox
  readonly #ending = new AbortController()
  readonly #stats: ClientStats = {
    sentJobs: 0, sentBytes: 0, acceptedJobs: 0, refusedJobs: 0, retriedJobs: 0, inDoubtJobs: 0, resentJobs: 0, connections: 0,
  }
  #slab = new ByteWriter(slabBytes)
  #sequence: number | undefined
  #connection: Connection | undefined
  #refusals = 0
  #lastError: UsherError | undefined
  #linger: NodeJS.Timeout | undefined
  #immediate: NodeJS.Immediate | undefined
  /** What is queued goes without lingering. */
  #due = false
  #draining = 0
  #pause: NodeJS.Timeout | undefined
  #room: (() => void)[] = []
  #empty: (() => void)[] = []
  #closing: Promise<void> | undefined
  #closed = false

  /** Begins to connect at once, and goes on until close(). */
  constructor(options: ClientOptions) {
    super()
    if (options.clientId !== undefined && options.producer !== undefined) {
      throw new UsherError('usage', 'give clientId or producer, not both')
    }
    this.#options = options
    this.#settings = settingsOf(options)
    this.#dialer = new Dialer(
      parseAddresses(options.addresses),
      this.#settings,
      (address) => this.#openConnection(address),
      (address, error) => {
        this.#lastError = error
        this.emit('unreachable', { address, error })
      },
    )
    this.#outbox = new Outbox(options.crc32c ?? crc32c, (unit, frameBytesMax) => this.#tooLarge(unit, frameBytesMax))
    this.producer = options.producer ?? (options.clientId === undefined ? randomProducer() : producerOfName(options.clientId))
    this.#prefix = `${formatProducer(this.producer)}-`
    this.#name = options.name ?? options.clientId ?? ''
    if (Buffer.byteLength(this.#name) > 255) throw new UsherError('usage', 'the name has more than 255 bytes')
    const known = options.clientId !== undefined || options.producer !== undefined
    this.#sequence = options.firstSequence ?? (known ? undefined : 1)
    void this.#dialer.dial(this.#ending.signal)
  }

  get stats(): Readonly<ClientStats> & { readonly heldJobs: number; readonly heldBytes: number; readonly credit: number } {
    const { heldJobs, heldBytes } = this.#outbox
    return { ...this.#stats, heldJobs, heldBytes, credit: this.#connection?.credit ?? 0 }
  }

  /** The host that jobs go to now. */
  get connectedTo(): { readonly address: string; readonly host: string; readonly instance: string } | undefined {
    const connection = this.#connection
    if (connection === undefined) return undefined
    return { address: formatAddress(connection.address), host: connection.welcome.host, instance: connection.welcome.instance }
  }

  /** Why there is no connection, or why the last one ended. */
  get lastError(): UsherError | undefined {
    return this.#lastError
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
    if (this.#full) {
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
          if (this.#full) await this.#whenRoom(Infinity, options.signal)
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
    if (this.#full) await this.#whenRoom(this.#deadline(options), options.signal)
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
    if (this.#full) await this.#whenRoom(this.#deadline(options), options.signal)
  }

  /** Sends what lingers, and resolves when nothing is held any more: each job has had its answer or its time. */
  async drain(): Promise<void> {
    if (this.#outbox.heldJobs === 0) return
    this.#draining++
    this.#flush()
    await new Promise<void>((resolve) => this.#empty.push(resolve))
    this.#draining--
  }

  /** Takes no more jobs, waits for the answers of those it has, says GOODBYE. */
  close(): Promise<void> {
    this.#closing ??= (async () => {
      await this.drain()
      const connection = this.#connection
      if (connection !== undefined && !this.#closed) {
        connection.goodbye()
        const gone = once(this, 'disconnected')
        await Promise.race([gone, sleep(goodbyeMs, undefined, { signal: this.#ending.signal }).catch(() => undefined)])
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
    this.#ending.abort()
    clearTimeout(this.#linger)
    clearTimeout(this.#pause)
    clearImmediate(this.#immediate)
    this.#connection?.destroy(new UsherError('closed', 'the client was closed'))
    for (const unit of this.#outbox.units()) this.#giveUp(unit, 'closed')
    this.#deadlines.stop()
    this.#wake()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  // Jobs in.

  get #full(): boolean {
    const { heldJobs, heldBytes } = this.#outbox
    return this.#closing === undefined && (heldJobs >= this.#settings.heldJobsMax || heldBytes >= this.#settings.heldBytesMax)
  }

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
    if (problem !== undefined) throw problemError(problem)
    this.#checkSequences(sequence, 1)
    if (given === undefined) this.#sequence = sequence + 1
    if (this.#slab.length > 0 && this.#slab.length > this.#slab.capacity - 4096) this.#slab = new ByteWriter(slabBytes)
    const start = this.#slab.length
    encodeJob(this.#slab, sequence, job)
    const unit = new Unit(owner, sequence, 1, this.#slab.view(start), deadlineMs)
    owner.expect(1)
    this.#hold(unit)
    return unit
  }

  #hold(unit: Unit): void {
    this.#outbox.add(unit)
    this.#deadlines.add(unit.deadlineMs)
    const { batchBytes, batchJobs, lingerMs } = this.#settings
    if (this.#outbox.queuedBytes >= batchBytes || this.#outbox.queuedJobs >= batchJobs || this.#draining > 0) return this.#flush()
    if (this.#linger !== undefined || this.#immediate !== undefined) return
    const lingered = (): void => {
      this.#linger = undefined
      this.#immediate = undefined
      this.#due = true
      this.#flush()
    }
    if (lingerMs === 0) this.#immediate = setImmediate(lingered)
    else this.#linger = setTimeout(lingered, lingerMs)
  }

  async #whenRoom(deadlineMs: number, signal: AbortSignal | undefined): Promise<void> {
    const unlessAborted = (): void => {
      if (signal?.aborted === true) throw new UsherError('aborted', 'given up while waiting for room; the job was not sent')
    }
    while (this.#full) {
      unlessAborted()
      const leftMs = deadlineMs - performance.now()
      if (leftMs <= 0) throw new UsherError('timed_out', 'no room in time; the job was not sent', { cause: this.#lastError })
      await new Promise<void>((resolve) => {
        const woken = (): void => {
          clearTimeout(timer)
          signal?.removeEventListener('abort', woken)
          resolve()
        }
        const timer = leftMs === Infinity ? undefined : setTimeout(woken, Math.min(leftMs, timerMostMs))
        signal?.addEventListener('abort', woken)
        this.#room.push(woken)
      })
    }
    unlessAborted()
    this.#open()
  }

  // Frames out.

  #flush(): void {
    const connection = this.#connection
    if (connection === undefined || connection.leaving || this.#pause !== undefined) return
    const { batchBytes, batchJobs } = this.#settings
    const { frameBytesMax } = connection.welcome
    const frameJobsMax = Math.min(connection.welcome.frameJobsMax, countMaxPerFrame)
    for (;;) {
      const all = this.#due || this.#draining > 0
      if (!all && this.#outbox.queuedBytes < batchBytes && this.#outbox.queuedJobs < batchJobs) break
      const { credit } = connection
      const frame = this.#outbox.takeFrame({ batchBytes, batchJobs, frameBytesMax, frameJobsMax, credit })
      if (frame === undefined) break
      this.#stats.sentJobs += frame.readUInt16LE(10)
      this.#stats.sentBytes += frame.length
      connection.sendJobs(frame)
    }
    if (this.#outbox.queuedJobs === 0) this.#due = false
    this.#settled()
  }

  #tooLarge(unit: Unit, frameBytesMax: number): void {
    this.#stats.refusedJobs++
    this.#outbox.fail(unit, unit.first, tooLargeError(this.idOf(unit.first), unit.bytes.length, frameBytesMax))
  }

  // Answers in.

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
        this.#dialer.productive()
        this.#stats.refusedJobs++
        const doubt = unit.doubt && error.retryable
        this.#outbox.fail(unit, sequence, doubt ? inDoubtError(this.idOf(sequence), 'refused', error) : error)
      }
    }
    this.#pauseDelayed(connection)
    this.#settled()
    this.#leaveWhenAnswered(connection)
  }

  /** Refusals that pass with time hold back everything: whatever made a store refuse one job makes it refuse the next. */
  #pauseDelayed(connection: Connection): void {
    if (this.#pause !== undefined || this.#outbox.delayedUnits === 0) return
    const { backoffBaseMs, backoffMostMs, random } = this.#settings
    const waitMs = connection.leaving ? 0 : fullJitterMs(this.#refusals++, backoffBaseMs, backoffMostMs, random)
    this.#pause = setTimeout(() => {
      this.#pause = undefined
      this.#outbox.resume()
      this.#due = true
      this.#flush()
    }, waitMs)
  }

  #onAck(connection: Connection, first: number, jobs: number): void {
    const accepted = this.#outbox.acknowledge(first, jobs)
    this.#stats.acceptedJobs += accepted
    this.#dialer.productive()
    this.#refusals = 0
    this.#settled()
    this.#leaveWhenAnswered(connection)
  }

  #settled(): void {
    if (this.#room.length > 0 && !this.#full) this.#wake()
    if (this.#outbox.heldJobs === 0) for (const resolve of this.#empty.splice(0)) resolve()
  }

  #wake(): void {
    for (const woken of this.#room.splice(0)) woken()
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
        this.#outbox.fail(unit, sequence, inDoubtError(id, why, unit.refusal ?? this.#lastError))
      } else {
        const refusal = why === 'timed_out' ? unit.refusal : undefined
        this.#outbox.fail(unit, sequence, refusal ?? unsentError(id, why, this.#lastError))
      }
    }
    this.#settled()
  }

  // Connections: one at a time, over all addresses.

  async #openConnection(address: Address): Promise<void> {
    const { connectTimeoutMs, silenceMs } = this.#settings
    const settings = { producer: this.producer, name: this.#name, connectTimeoutMs, silenceMs, crc32c: this.#options.crc32c }
    await Connection.open(address, settings, this.#ending.signal, (connection) => this.#adopt(connection))
  }

  #adopt(connection: Connection): void {
    this.#connection = connection
    this.#stats.connections++
    connection.attach(
      {
        onAck: (first, jobs) => this.#onAck(connection, first, jobs),
        onRefused: (jobs) => this.#onRefused(connection, jobs),
        onCredit: () => this.#flush(),
        onGoodbye: (goodbye) => this.#onGoodbye(connection, goodbye),
        onEnd: (error) => this.#onEnd(connection, error),
      },
      () => this.#outbox.flyingUnits > 0,
    )
    if (this.#connection !== connection) return
    this.emit('connected', this.connectedTo!)
    this.#due = true
    this.#flush()
  }

  #onGoodbye(connection: Connection, goodbye: Goodbye): void {
    this.#dialer.left(connection.address, goodbye.addresses)
    this.emit('goodbye', { ...goodbye, address: formatAddress(connection.address) })
    this.#leaveWhenAnswered(connection)
  }

  /** A host that takes no more jobs is left as soon as it has answered those it has. */
  #leaveWhenAnswered(connection: Connection): void {
    if (!connection.leaving || this.#connection !== connection || this.#outbox.flyingUnits > 0) return
    if (this.#closing !== undefined && this.#outbox.heldJobs === 0) return
    connection.destroy(new UsherError('draining', `${formatAddress(connection.address)} takes no more jobs`))
  }

  #onEnd(connection: Connection, error: UsherError): void {
    if (this.#connection !== connection) return
    this.#connection = undefined
    this.#lastError = error
    this.#stats.resentJobs += this.#outbox.ground()
    this.#due = true
    this.emit('disconnected', { address: formatAddress(connection.address), error })
    this.#dialer.lost(connection.address)
    const finished = this.#closing !== undefined && this.#outbox.heldJobs === 0
    if (!this.#closed && !finished) void this.#dialer.dial(this.#ending.signal)
  }
}

export interface ConnectOptions extends ClientOptions {
  /** For the first connection; afterwards the client connects again by itself for as long as it lives. */
  readonly connectWithinMs?: number
  readonly signal?: AbortSignal
}

/**
 * A client that is connected. Rejects when no host could be reached in time, or at once when every host
 * refuses for good (another protocol, no common version).
 */
export const connect = async (options: ConnectOptions): Promise<Client> => {
  const client = new Client(options)
  const hopeless = new Set<string>()
  const addresses = parseAddresses(options.addresses)
  const withinMs = options.connectWithinMs ?? 10_000
  try {
    await new Promise<void>((resolve, reject) => {
      const fail = (error: UsherError): void => {
        clearTimeout(timer)
        reject(error)
      }
      const abort = (): void => fail(new UsherError('aborted', 'given up while connecting'))
      const timer = setTimeout(() => {
        const last = client.lastError
        const why = last === undefined ? '' : `: ${last.message}`
        fail(new UsherError('disconnected', `no host could be reached within ${withinMs} ms${why}`, { cause: last }))
      }, withinMs)
      client.once('connected', () => {
        clearTimeout(timer)
        resolve()
      })
      client.on('unreachable', ({ address, error }) => {
        if (error.retryable) hopeless.delete(address)
        else hopeless.add(address)
        if (hopeless.size >= addresses.length) fail(error)
      })
      if (options.signal?.aborted === true) abort()
      options.signal?.addEventListener('abort', abort, { once: true })
    })
  } catch (error) {
    client.destroy()
    throw error
  }
  return client
}

