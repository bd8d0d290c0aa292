// Which address is tried next, and when: over all addresses in a random order, those that a leaving host named
// first, the one that was lost last, with full jitter between rounds that led to nothing.
import { setTimeout as sleep } from 'node:timers/promises'
import { messageOf, UsherError } from '../base/errors.ts'
import { fullJitterMs, shuffled } from './backoff.ts'
import { type Address, formatAddress, parseAddress, type Settings } from './options.ts'

export class Dialer {
  readonly #addresses: readonly Address[]
  readonly #settings: Settings
  readonly #open: (address: Address) => Promise<void>
  readonly #onUnreachable: (address: string, error: UsherError) => void
  /** What a host named in its GOODBYE, for the next round. */
  #named: Address[] = []
  /** The address that was lost or left. */
  #lost: string | undefined
  /** Rounds since a host last accepted something. */
  #rounds = 0

  constructor(
    addresses: readonly Address[],
    settings: Settings,
    open: (address: Address) => Promise<void>,
    onUnreachable: (address: string, error: UsherError) => void,
  ) {
    this.#addresses = addresses
    this.#settings = settings
    this.#open = open
    this.#onUnreachable = onUnreachable
  }

  /** A host does what it is there for: the next loss is answered at once. */
  productive(): void {
    this.#rounds = 0
  }

  /** A host takes no more jobs. Where it is the only one, it needs a moment. */
  left(address: Address, named: readonly string[]): void {
    this.#named = named.flatMap((text) => {
      try {
        return [parseAddress(text)]
      } catch {
        // An address that can't be read is of no use; the configured ones remain.
        return []
      }
    })
    this.lost(address)
    if (this.#named.length === 0 && this.#addresses.length === 1) this.#rounds = Math.max(1, this.#rounds)
  }

  lost(address: Address): void {
    this.#lost = formatAddress(address)
  }

  /** Resolves when a connection is open, or the signal says that none is wanted any more. */
  async dial(signal: AbortSignal): Promise<void> {
    const { backoffBaseMs, backoffMostMs, random } = this.#settings
    while (!signal.aborted) {
      if (this.#rounds > 0) {
        const waitMs = fullJitterMs(this.#rounds - 1, backoffBaseMs, backoffMostMs, random)
        // An abort ends the wait, and then the loop.
        await sleep(waitMs, undefined, { signal }).catch(() => undefined)
      }
      this.#rounds++
      for (const address of this.#candidates()) {
        if (signal.aborted) return
        try {
          await this.#open(address)
          return
        } catch (error) {
          const failure = error instanceof UsherError ? error : new UsherError('internal', messageOf(error), { cause: error })
          if (!signal.aborted) this.#onUnreachable(formatAddress(address), failure)
        }
      }
    }
  }

  #candidates(): Address[] {
    const candidates = new Map<string, Address>()
    for (const address of [...this.#named, ...shuffled(this.#addresses, this.#settings.random)]) {
      const text = formatAddress(address)
      if (!candidates.has(text)) candidates.set(text, address)
    }
    const last = this.#lost === undefined ? undefined : candidates.get(this.#lost)
    if (this.#lost !== undefined && last !== undefined) {
      candidates.delete(this.#lost)
      candidates.set(this.#lost, last)
    }
    this.#named = []
    this.#lost = undefined
    return [...candidates.values()]
  }
}
