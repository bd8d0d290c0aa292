// Sends and receives nudges (src/protocol/nudge.ts) on the UDP port of the same number as the listener's. What can't be
// sent, received or understood is let be: a nudge only saves the time until somebody would have looked anyway.
// However many arrive, at most one look each lookEveryMs follows from them.

import { createSocket } from 'node:dgram'
import type { Socket } from 'node:dgram'
import { lookup } from 'node:dns/promises'
import { isIP } from 'node:net'
import type { Clock } from '../base/clock.ts'
import { messageOf } from '../base/errors.ts'
import type { Nudge } from '../protocol/nudge.ts'
import { decodeNudge, encodeNudge } from '../protocol/nudge.ts'

export interface NudgesOptions {
  readonly storeUuid: string
  readonly clock: Clock
  readonly onNudge: (nudge: Nudge) => void
  readonly log: (level: 'info', message: string) => void
}

export const lookEveryMs = 50
/** How long an address that was looked up for a name, or the failure to, is remembered. */
const lookupMs = 60_000
/** What is still being sent at the end may take this long. */
const lingerMs = 200

interface Target {
  readonly address: string
  readonly family: number
}

const splitAddress = (address: string): { host: string; port: number } => {
  const colon = address.lastIndexOf(':')
  return { host: address.slice(0, colon).replace(/^\[(.*)\]$/, '$1'), port: Number(address.slice(colon + 1)) }
}

export class Nudges {
  readonly #options: NudgesOptions
  #receiver: Socket | null = null
  /** For each address family, made when first needed. */
  readonly #senders = new Map<number, Socket>()
  readonly #looked = new Map<Nudge, { atMs: number; cancel: (() => void) | null }>()
  readonly #targets = new Map<string, { readonly found: Promise<Target | null>; readonly untilMs: number }>()
  readonly #sending = new Set<Promise<void>>()
  #leader: string | null = null
  #published = 0
  #closed = false

  constructor(options: NudgesOptions) {
    this.#options = options
  }

  /** Receives nudges on the UDP port of this address from now on. Where that can't be, it says so and goes on without. */
  async open(address: string): Promise<void> {
    const { host, port } = splitAddress(address)
    const socket = createSocket(isIP(host) === 6 ? 'udp6' : 'udp4')
    try {
      await new Promise<void>((resolve, reject) => {
        socket.once('error', reject)
        socket.bind({ address: host, port, exclusive: true }, resolve)
      })
    } catch (error) {
      socket.close()
      this.#options.log('info', `no nudges can be received on UDP ${address}: ${messageOf(error)}; the next poll finds what they would say`)
      return
    }
    socket.removeAllListeners('error')
    // An answer of the network to something sent, or the like: there is nothing to do about it.
    socket.on('error', () => undefined)
    socket.on('message', (bytes) => this.#receive(bytes))
    if (this.#closed) socket.close()
    else this.#receiver = socket
  }

  /** Where the leader listens; null: there is none, or it is this instance. */
  leader(address: string | null): void {
    this.#leader = address
  }

  /** Presence says so now: the leader may look. */
  published(number: number): void {
    if (number <= this.#published) return
    this.#published = number
    if (this.#leader !== null) this.send('published', [this.#leader])
  }

  send(nudge: Nudge, addresses: readonly string[]): void {
    if (this.#closed) return
    const bytes = encodeNudge(nudge, this.#options.storeUuid)
    for (const address of addresses) {
      const sent = this.#sendOne(bytes, address)
        // Not reachable, a name nobody knows: the next poll finds it.
        .catch(() => undefined)
        .finally(() => this.#sending.delete(sent))
      this.#sending.add(sent)
    }
  }

  /** What was given to send before is sent first. */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    for (const { cancel } of this.#looked.values()) cancel?.()
    let cancel = (): void => undefined
    const lingered = new Promise<void>((resolve) => (cancel = this.#options.clock.after(lingerMs, resolve)))
    await Promise.race([Promise.all(this.#sending), lingered])
    cancel()
    this.#receiver?.close()
    for (const socket of this.#senders.values()) socket.close()
    this.#senders.clear()
  }

  #receive(bytes: Buffer): void {
    const nudge = decodeNudge(bytes, this.#options.storeUuid)
    if (nudge === null || this.#closed) return
    const { clock, onNudge } = this.#options
    const looked = this.#looked.get(nudge)
    // One more look is on its way, and will see what this one is about.
    if (looked?.cancel != null) return
    const look = (): void => {
      this.#looked.set(nudge, { atMs: clock.nowMs(), cancel: null })
      onNudge(nudge)
    }
    const waitMs = looked === undefined ? 0 : looked.atMs + lookEveryMs - clock.nowMs()
    if (looked === undefined || waitMs <= 0) look()
    else looked.cancel = clock.after(waitMs, look)
  }

  async #sendOne(bytes: Buffer, to: string): Promise<void> {
    const { host, port } = splitAddress(to)
    const target = await this.#find(host)
    if (target === null) return
    const socket = this.#sender(target.family)
    await new Promise<void>((resolve, reject) => {
      socket.send(bytes, port, target.address, (error) => (error === null ? resolve() : reject(error)))
    })
  }

  #find(host: string): Promise<Target | null> {
    const family = isIP(host)
    if (family !== 0) return Promise.resolve({ address: host, family })
    const { clock } = this.#options
    const known = this.#targets.get(host)
    if (known !== undefined && clock.nowMs() < known.untilMs) return known.found
    const found = lookup(host).catch(() => null)
    this.#targets.set(host, { found, untilMs: clock.nowMs() + lookupMs })
    return found
  }

  #sender(family: number): Socket {
    let socket = this.#senders.get(family)
    if (socket === undefined) {
      socket = createSocket(family === 6 ? 'udp6' : 'udp4')
      socket.on('error', () => undefined)
      socket.unref()
      this.#senders.set(family, socket)
    }
    return socket
  }
}
