// The instances of the store as the leader sees them: who lives, how far each has published, who is gone.
//
// An instance is gone when it said so itself, when its process is proven dead (it ran under this very kernel), or
// when its presence hasn't changed for longer than any accept lease it could hold, on this host's clock.
// One that only seems dead acks nothing any more by then (design: the accept lease).

import type { Clock } from '../base/clock.ts'
import { parsePresence } from '../observe/instance.ts'
import type { InstancePresence, ProcessIdentity } from '../observe/instance.ts'
import { hostsDirectory, parseInstance, presenceName } from '../store/layout.ts'
import type { Store } from '../store/store.ts'

/** The longest accept lease that the configuration allows. */
const acceptLeaseMsMax = 300_000

export interface Seen {
  readonly presence: InstancePresence | null
  readonly beat: number
  /** When this beat was first seen here. */
  readonly sinceMs: number
  readonly gone: string | null
}

export interface InstancesOptions {
  readonly store: Store
  readonly clock: Clock
  /** This instance, whose presence isn't read: its process tells directly. */
  readonly own: string
  /** Of this host; an instance's own counts where it is longer. */
  readonly acceptLeaseMs: number
  readonly leaseMs: number
  /** Between listings of hosts/. */
  readonly listEveryMs: number
  /** Instances whose work is wholly done are not looked at again. */
  readonly finished: (instance: string) => boolean
  /** Whether that process is certainly no more; false: unknown. */
  readonly provenDead: (process: ProcessIdentity) => boolean
}

export class Instances {
  readonly #options: InstancesOptions
  readonly #seen = new Map<string, Seen>()
  #names: string[] = []
  #listedAtMs = Number.NEGATIVE_INFINITY

  constructor(options: InstancesOptions) {
    this.#options = options
  }

  /** As of the last look. */
  get seen(): ReadonlyMap<string, Seen> {
    return this.#seen
  }

  /** Reads the presence of every other instance that isn't finished. */
  async look(): Promise<ReadonlyMap<string, Seen>> {
    const { store, clock, own, finished, listEveryMs } = this.#options
    if (clock.nowMs() - this.#listedAtMs >= listEveryMs) {
      this.#names = (await store.list(hostsDirectory)).filter((name) => parseInstance(name) !== null)
      this.#listedAtMs = clock.nowMs()
    }
    for (const instance of this.#names) {
      if (instance === own || finished(instance)) {
        this.#seen.delete(instance)
        continue
      }
      const before = this.#seen.get(instance)
      if (before?.gone != null) continue
      try {
        const presence = parsePresence(await store.readPresence(presenceName(instance)))
        this.#seen.set(instance, this.#judge(before, presence ?? before?.presence ?? null))
      } catch {
        // One that can't be read now is judged by what was seen of it before: its silence, not our trouble to hear, counts.
        if (before === undefined) this.#seen.set(instance, this.#judge(undefined, null))
      }
    }
    return this.#seen
  }

  #judge(before: Seen | undefined, presence: InstancePresence | null): Seen {
    const { clock, acceptLeaseMs, leaseMs, provenDead } = this.#options
    // One that never said how long its lease is may have the longest there is.
    const lease = Math.max(acceptLeaseMs, presence === null ? acceptLeaseMsMax : presence.acceptLeaseMs)
    const goneAfterMs = lease * 1.1 + leaseMs
    const now = clock.nowMs()
    const beat = presence?.beat ?? -1
    const sinceMs = before !== undefined && before.beat === beat ? before.sinceMs : now
    let gone: string | null = null
    if (presence?.role === 'ended') gone = 'it ended'
    else if (presence !== null && provenDead(presence)) gone = `its process ${presence.pid} is no more`
    else if (now - sinceMs > goneAfterMs) gone = `no sign of life for ${Math.round(now - sinceMs)} ms`
    return { presence, beat, sinceMs, gone }
  }
}
