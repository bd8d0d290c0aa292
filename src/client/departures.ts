// When queued jobs leave: at once where they fill a frame, else when they have lingered; never without a connection
// or credit, nor during the pause after refusals that pass with time.
import { countMaxPerFrame } from '../protocol/frame.ts'
import { fullJitterMs } from './backoff.ts'
import type { Connection } from './connection.ts'
import type { Settings } from './options.ts'
import type { Outbox } from './outbox.ts'
import type { ClientStats } from './watching.ts'

export interface DeparturesContext {
  readonly outbox: Outbox
  readonly settings: Settings
  readonly stats: ClientStats
  /** Where frames go now. */
  connection(): Connection | undefined
  /** After frames have gone; jobs that no frame can take have had their answer. */
  onFlushed(): void
}

export class Departures {
  readonly #context: DeparturesContext
  #linger: NodeJS.Timeout | undefined
  #immediate: NodeJS.Immediate | undefined
  #pause: NodeJS.Timeout | undefined
  /** Pauses since a host last accepted something. */
  #pauses = 0
  /** What is queued goes without lingering. */
  #due = false
  /** Who waits for everything to be answered: nothing lingers meanwhile. */
  #draining = 0

  constructor(context: DeparturesContext) {
    this.#context = context
  }

  /** A job was queued. */
  added(): void {
    const { outbox, settings } = this.#context
    const { batchBytes, batchJobs, lingerMs } = settings
    if (outbox.queuedBytes >= batchBytes || outbox.queuedJobs >= batchJobs || this.#draining > 0) return this.flush()
    if (this.#linger !== undefined || this.#immediate !== undefined) return
    const lingered = (): void => {
      this.#linger = undefined
      this.#immediate = undefined
      this.#due = true
      this.flush()
    }
    if (lingerMs === 0) this.#immediate = setImmediate(lingered)
    else this.#linger = setTimeout(lingered, lingerMs)
  }

  /** What is queued goes without lingering, as soon as it can. */
  hasten(): void {
    this.#due = true
  }

  /** Nothing lingers while `work` runs. */
  async draining(work: () => Promise<void>): Promise<void> {
    this.#draining++
    this.flush()
    await work()
    this.#draining--
  }

  flush(): void {
    const { outbox, settings, stats } = this.#context
    const connection = this.#context.connection()
    if (connection === undefined || connection.leaving || this.#pause !== undefined) return
    const { batchBytes, batchJobs } = settings
    const { frameBytesMax } = connection.welcome
    const frameJobsMax = Math.min(connection.welcome.frameJobsMax, countMaxPerFrame)
    for (;;) {
      const all = this.#due || this.#draining > 0
      if (!all && outbox.queuedBytes < batchBytes && outbox.queuedJobs < batchJobs) break
      const { credit } = connection
      const frame = outbox.takeFrame({ batchBytes, batchJobs, frameBytesMax, frameJobsMax, credit })
      if (frame === undefined) break
      stats.sentJobs += frame.readUInt16LE(10)
      stats.sentBytes += frame.length
      connection.sendJobs(frame)
    }
    if (outbox.queuedJobs === 0) this.#due = false
    this.#context.onFlushed()
  }

  /** Refusals that pass with time hold back everything: whatever made a store refuse one job makes it refuse the next. */
  pauseForDelayed(connection: Connection): void {
    const { outbox, settings } = this.#context
    if (this.#pause !== undefined || outbox.delayedUnits === 0) return
    const { backoffBaseMs, backoffMostMs, random } = settings
    const waitMs = connection.leaving ? 0 : fullJitterMs(this.#pauses++, backoffBaseMs, backoffMostMs, random)
    this.#pause = setTimeout(() => {
      this.#pause = undefined
      outbox.resume()
      this.#due = true
      this.flush()
    }, waitMs)
  }

  /** A host accepts: the next pause is a short one again. */
  productive(): void {
    this.#pauses = 0
  }

  stop(): void {
    clearTimeout(this.#linger)
    clearTimeout(this.#pause)
    clearImmediate(this.#immediate)
  }
}
