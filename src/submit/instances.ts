// The instances of the store as the leader sees them: who lives, how far each has published, who is gone.
//
// An instance is gone when it said so itself, when its process is proven dead (it ran under this very kernel), or
// when its presence hasn't changed for longer than any accept lease it could hold, on this host's clock.
// One that only seems dead acks nothing any more by then (design: the accept lease).

import type { Clock } from '../base/clock.ts'
import { parsePresence, provenDead } from '../observe/instance.ts'
import type { InstancePresence } from '../observe/instance.ts'
import { hostsDirectory, parseInstance, presenceName } from '../store/layout.ts'
import type { Store } from '../store/store.ts'

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
  /** Silence after which an instance is taken for gone. */
  readonly goneAfterMs: number
  /** Between listings of hosts/. */
  readonly listEveryMs: number
  /** Instances whose work is wholly done are not looked at again. */
  readonly finished: (instance: string) => boolean
}

export class Instances {
  readonly #options: InstancesOptions
  readonly #seen = new Map<string, Seen>()
  #names: string[] = []
  #listedAtMs = Number.NEGATIVE_INFINITY

  constructor(options: InstancesOptions) {
    this.#options = options
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
      const presence = parsePresence(await store.readPresence(presenceName(instance)))
      this.#seen.set(instance, this.#judge(before, presence))
    }
    return this.#seen
  }

  #judge(before: Seen | undefined, presence: InstancePresence | null): Seen {
    const { clock, goneAfterMs } = this.#options
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
