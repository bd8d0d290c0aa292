// What everything in a simulated world shares: time, chance, the file server, the faults in force, what was counted, and
// the first invariant that was found broken.
import type { Chance } from './chance.ts'
import { FileServer } from './file-server.ts'
import { Time } from './time.ts'

/** Probabilities, for each operation, unless it says otherwise; all zero once the world is healed. */
export interface FileFaults {
  /** Not done, and reported as failed. */
  error: number
  /** Done, and reported as failed. */
  doneButError: number
  /** Reported as failed, and done some time later. */
  late: number
  /** Done and reported as done, and once more some time later: an old copy of the request. */
  again: number
  /** The reply is lost: done again later, and the second reply counts. */
  resent: number
  /** A link that finds the name taken is reported as a success. */
  falseLink: number
  /** A write or sync that fails for want of space. */
  noSpace: number
  /** A handle goes stale. */
  stale: number
  /** A listing or attributes come from the client's cache. */
  cached: number
  /** A name that was looked up in vain is remembered as absent. */
  negative: number
  /** A reply that takes long. */
  slow: number
  /** What a dead host had sent still arrives. */
  afterDeath: number
}

export interface ClusterFaults {
  /** The request never arrives. */
  lost: number
  /** Taken, and the answer never arrives. */
  unanswered: number
  /** Taken, and shown late. */
  shownLate: number
  busy: number
  refused: number
  /** Bytes stay in the sender's kernel for a while. */
  stalled: number
  /** Questions that can't be answered. */
  unknown: number
}

export const noFileFaults = (): FileFaults => ({
  error: 0, doneButError: 0, late: 0, again: 0, resent: 0, falseLink: 0, noSpace: 0, stale: 0, cached: 0, negative: 0, slow: 0, afterDeath: 0,
})

export const noClusterFaults = (): ClusterFaults => ({ lost: 0, unanswered: 0, shownLate: 0, busy: 0, refused: 0, stalled: 0, unknown: 0 })

/** What must hold whatever happens. */
export type Invariant =
  | 'accepted: exactly one outcome'
  | 'an ineligible host never submits'
  | 'at most one cluster job per id'
  | 'drained in bounded time'
  | 'every record follows on its job’s state'
  | 'every trace is complete'
  | 'never two submitters at once'
  | 'no promise is rejected unheard'
  | 'no submission from a superseded term'
  | 'nothing is removed before its time'
  | 'nothing unexpected'
  | 'nothing unfinished is removed'
  | 'replay of the ledger gives the leader’s books'
  | 'same id, other content: refused'
  | 'segments can be read'
  | 'terms are unique'
  | 'the audit balances'
  | 'the ledger can be read'
  | 'the store is the store'
  | 'what is finished is removed in bounded time'
  | 'what is removed from the ledger changes nothing'

/** A broken invariant. */
export interface Violation {
  readonly invariant: Invariant
  readonly detail: string
  readonly atMs: number
}

const lastEvents = 400

export class World {
  readonly time = new Time()
  readonly server = new FileServer()
  readonly chance: Chance
  readonly seed: number
  files: FileFaults = noFileFaults()
  clusterFaults: ClusterFaults = noClusterFaults()
  readonly counts = new Map<string, number>()
  violation: Violation | null = null
  healed = false
  readonly #events: string[] = []
  readonly #verbose: boolean

  constructor(seed: number, chance: Chance, verbose: boolean) {
    this.seed = seed
    this.chance = chance
    this.#verbose = verbose
  }

  count(what: string, times = 1): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + times)
  }

  get verbose(): boolean {
    return this.#verbose
  }

  log(who: string, text: string): void {
    if (!this.#verbose) return
    this.#events.push(`${this.time.now.toFixed(1).padStart(9)}  ${who.padEnd(14)} ${text}`)
    if (this.#events.length > lastEvents * 50) this.#events.splice(0, lastEvents * 25)
  }

  get events(): readonly string[] {
    return this.#events
  }

  /** The first one counts: what follows may be its consequence. */
  violate(invariant: Invariant, detail: string): void {
    this.log('JUDGE', `BROKEN: ${invariant}: ${detail}`)
    this.violation ??= { invariant, detail, atMs: this.time.now }
  }
}
