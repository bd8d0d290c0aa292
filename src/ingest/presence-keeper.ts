// Keeps the presence of an instance fresh, and with it the accept lease: the addon acknowledges jobs only within
// acceptLeaseMs of the start of the last write that succeeded. Also notices when the directory is no longer the store
// it was, and stops the instance then.

import { wallTime } from '../base/clock.ts'
import type { Clock } from '../base/clock.ts'
import { messageOf, UsherError } from '../base/errors.ts'
import type { InstancePresence } from '../observe/instance.ts'
import { verifyIdentity } from '../store/identity.ts'
import { presenceBytes } from '../store/store.ts'
import type { Presence, Store } from '../store/store.ts'

export interface PresenceKeeperOptions {
  readonly store: Store
  readonly uuid: string
  readonly presence: Presence
  readonly clock: Clock
  readonly everyMs: number
  readonly initial: Omit<InstancePresence, 'beat' | 'at'>
  /** A write that began at that time of the clock has succeeded. */
  readonly onWritten: (beganMs: number, value: Omit<InstancePresence, 'beat' | 'at'>) => void
  /** Two writes were further apart than this: others may have taken the instance for gone. It must retire. */
  readonly acceptLeaseMs: number
  readonly onLapsed: (apartMs: number) => void
  /** The directory is not our store any more. */
  readonly onWrongStore: (error: UsherError) => void
  readonly log: (level: 'info' | 'warn', message: string) => void
}

/** What others may say at length must fit the file. */
const reasonBytesMax = 240

/** What the file holds beside the JSON: its CRC, a line feed. */
const roomForCrc = 32

const fitting = (reason: string): string => {
  let text = reason.replace(/["\\\u0000-\u001f]/g, "'")
  while (Buffer.byteLength(text) > reasonBytesMax) text = `${text.slice(0, Math.max(0, text.length - 8))}…`
  return text
}

export class PresenceKeeper {
  readonly #options: PresenceKeeperOptions
  #value: Omit<InstancePresence, 'beat' | 'at'>
  #beat = 0
  #writing: Promise<void> | null = null
  #again = false
  #timer: (() => void) | null = null
  #stopped = false
  #failing = false
  #writtenMs = 0
  /** When the directory was last found to be our store. */
  #verifiedMs = Number.NEGATIVE_INFINITY

  constructor(options: PresenceKeeperOptions) {
    this.#options = options
    this.#value = { ...options.initial, reason: fitting(options.initial.reason) }
  }

  /**
   * Resolves when the first write has succeeded; rejects when it fails, or when it came so long after `bornMs`, before
   * which nothing of the instance was in the store, that others may have taken the instance for gone already.
   */
  async start(bornMs: number): Promise<void> {
    const { presence, clock, acceptLeaseMs, onWritten } = this.#options
    const beganMs = clock.nowMs()
    const value = this.#value
    await presence.write(this.#next())
    if (clock.nowMs() - bornMs >= acceptLeaseMs) {
      throw new UsherError('retired', `the first presence took ${Math.round(clock.nowMs() - bornMs)} ms, longer than the accept lease`)
    }
    this.#writtenMs = beganMs
    onWritten(beganMs, value)
    this.#schedule()
  }

  /** Changes what is said; written at once, changes in quick succession together. */
  update(changes: Partial<Omit<InstancePresence, 'beat' | 'at'>>): void {
    this.#value = { ...this.#value, ...changes, reason: fitting(changes.reason ?? this.#value.reason) }
    this.#write()
  }

  get value(): Omit<InstancePresence, 'beat' | 'at'> {
    return this.#value
  }

  /** Writes a last time and closes. Never rejects: an instance that can't say so is taken for gone later. */
  async stop(changes: Partial<Omit<InstancePresence, 'beat' | 'at'>>): Promise<void> {
    this.#stopped = true
    this.#timer?.()
    while (this.#writing !== null) await this.#writing
    try {
      this.#value = { ...this.#value, ...changes }
      await this.#options.presence.write(this.#next())
      await this.#options.presence.close()
    } catch (error) {
      this.#options.log('warn', `the last presence can't be written: ${messageOf(error)}`)
    }
  }

  /** Writes nothing more: the instance is to be taken for gone, and what it left adopted. */
  async halt(): Promise<void> {
    this.#stopped = true
    this.#timer?.()
    while (this.#writing !== null) await this.#writing
    await this.#options.presence.close()
  }

  #next(): Readonly<Record<string, unknown>> {
    this.#beat += 1
    const value = { ...this.#value, beat: this.#beat, at: wallTime(this.#options.clock) }
    // The names of many clusters may not fit beside the rest, which matters more.
    return Buffer.byteLength(JSON.stringify(value)) > presenceBytes - roomForCrc ? { ...value, clusters: [] } : value
  }

  #schedule(): void {
    this.#timer?.()
    if (!this.#stopped) this.#timer = this.#options.clock.after(this.#options.everyMs, () => this.#write())
  }

  #write(): void {
    if (this.#stopped) return
    this.#again = true
    this.#writing ??= this.#writeAll().finally(() => {
      this.#writing = null
      this.#schedule()
    })
  }

  async #writeAll(): Promise<void> {
    const { presence, clock, onWritten, onWrongStore, onLapsed, acceptLeaseMs, everyMs, store, uuid, log } = this.#options
    while (this.#again && !this.#stopped) {
      this.#again = false
      const beganMs = clock.nowMs()
      try {
        // Once in a beat: news between two beats, such as a segment that is published, don't wait for it.
        if (beganMs - this.#verifiedMs >= everyMs) {
          await verifyIdentity(store, uuid)
          this.#verifiedMs = beganMs
        }
        const value = this.#value
        await presence.write(this.#next())
        onWritten(beganMs, value)
        const apartMs = clock.nowMs() - this.#writtenMs
        this.#writtenMs = beganMs
        if (apartMs >= acceptLeaseMs) onLapsed(apartMs)
        if (this.#failing) log('info', 'presence is written again')
        this.#failing = false
      } catch (error) {
        this.#verifiedMs = Number.NEGATIVE_INFINITY
        if (error instanceof UsherError && error.code === 'store_wrong') onWrongStore(error)
        if (!this.#failing) log('warn', `presence can't be written: ${messageOf(error)}`)
        this.#failing = true
      }
    }
  }
}
