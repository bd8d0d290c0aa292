// Several hosts and one file server in simulated time, everything that happens drawn from one seed: delays,
// lost replies, errors, stale listings, pauses, crashes, clocks at different rates. Each host runs the real
// ClaimChain. What is judged is what a submitter would do: look at its validity, then, some time later, act.
import type { ChainCommand, ChainEvent } from '../../../src/election/claim-chain.ts'
import { chainDefaults, ClaimChain } from '../../../src/election/claim-chain.ts'
import type { Claim } from '../../../src/election/claim.ts'

/** mulberry32: small, and the same everywhere. */
export const generator = (seed: number): (() => number) => {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}

export interface Faults {
  /** Probability that an operation fails without, or after, having been done. */
  readonly errors: number
  readonly doneButError: number
  /** Probability that a listing shows the past, and how far back it may go. */
  readonly stale: number
  readonly staleMs: number
  /** Each way. */
  readonly delayMs: number
  /** Probability of a delay of up to longDelayMs instead. */
  readonly longDelay: number
  readonly longDelayMs: number
  /** Mean time between pauses of a process, their greatest length. */
  readonly pauseEveryMs: number
  readonly pauseMs: number
  readonly crashEveryMs: number
  readonly flipEligibleEveryMs: number
  /** Fastest clock against slowest. */
  readonly skew: number
}

export const allFaults: Faults = {
  errors: 0.02,
  doneButError: 0.02,
  stale: 0.2,
  staleMs: 20_000,
  delayMs: 40,
  longDelay: 0.03,
  longDelayMs: 5_000,
  pauseEveryMs: 20_000,
  pauseMs: 9_000,
  crashEveryMs: 60_000,
  flipEligibleEveryMs: 60_000,
  skew: 1.0999,
}

export const noFaults: Faults = {
  errors: 0,
  doneButError: 0,
  stale: 0,
  staleMs: 0,
  delayMs: 5,
  longDelay: 0,
  longDelayMs: 0,
  pauseEveryMs: Infinity,
  pauseMs: 0,
  crashEveryMs: Infinity,
  flipEligibleEveryMs: Infinity,
  skew: 1,
}

export interface ModelOptions {
  readonly seed: number
  readonly hosts: number
  readonly faults: Faults
  readonly leaseMs?: number
  /** Of the second host, the fourth and so on, where it is another. */
  readonly otherLeaseMs?: number
  readonly margin?: number
  /** False: nobody kills. */
  readonly deadline?: boolean
  /** True: a renewal moves the deadline before it is won, a mistake. */
  readonly armEarly?: boolean
  readonly retainMs?: number
  /** The file server numbers its files with so few numbers that many share one. */
  readonly inodes?: number
  /** True: who would take over trusts its guess instead of reading the claim, a mistake. */
  readonly trustGuess?: boolean
  /** Hints that there is something new: probability that one arrives. 0: there are none. */
  readonly hints?: number
}

interface Act {
  readonly at: number
  readonly term: number
  readonly instance: string
}

interface Host {
  readonly name: string
  readonly rate: number
  readonly offset: number
  instance: string
  chain: ClaimChain
  eligible: boolean
  alive: boolean
  /** Counts lives: what belongs to an earlier one is dropped. */
  life: number
  pausedUntil: number
  /** True time at which the kernel kills; Infinity: disarmed. */
  killAt: number
  operations: number
  /** The claim that the chain read last, and whether it has taken a later one for the same since. */
  lastRead: { readonly claim: Claim; readonly file: string } | null
  guessed: boolean
}

interface Entry {
  readonly at: number
  readonly order: number
  readonly work: () => void
}

export class Model {
  readonly options: ModelOptions
  readonly random: () => number
  faults: Faults
  now = 0
  readonly hosts: Host[] = []
  readonly acts: Act[] = []
  readonly violations: string[] = []
  /** What others may see of the store: every change of the set of claims. */
  #history: { at: number; numbers: number[] }[] = [{ at: 0, numbers: [] }]
  readonly #claims = new Map<number, string>()
  readonly #files = new Map<string, Claim>()
  readonly terms = new Map<number, string>()
  #queue: Entry[] = []
  #order = 0
  #minted = 0
  #highestActed = 0

  constructor(options: ModelOptions) {
    this.options = options
    this.faults = options.faults
    this.random = generator(options.seed)
    for (let i = 0; i < options.hosts; i++) {
      // The slowest clock has rate 1, so no two differ by more than the skew.
      const rate = i === 0 ? 1 : i === 1 ? this.faults.skew : 1 + this.random() * (this.faults.skew - 1)
      const host = { name: `h${i}`, rate, offset: this.random() * 1e6, eligible: true, life: 0, operations: 0 }
      const whole = { ...host, instance: '', chain: this.#newChain(true, 0), alive: false, pausedUntil: 0, killAt: Infinity, lastRead: null, guessed: false }
      this.hosts.push(whole)
      this.#start(whole)
      this.#trouble(whole)
    }
  }

  get leaseMs(): number {
    return this.options.leaseMs ?? 3_000
  }

  #leaseOf(host: number): number {
    return host % 2 === 0 ? this.leaseMs : (this.options.otherLeaseMs ?? this.leaseMs)
  }

  get claims(): readonly number[] {
    return [...this.#claims.keys()]
  }

  clock(host: Host): number {
    return host.offset + this.now * host.rate
  }

  /** Runs until this true time or the first violation. */
  run(until: number): void {
    while (this.violations.length === 0) {
      let next = -1
      for (let i = 0; i < this.#queue.length; i++) {
        const entry = this.#queue[i]!
        const best = this.#queue[next]
        if (best === undefined || entry.at < best.at || (entry.at === best.at && entry.order < best.order)) next = i
      }
      const entry = this.#queue[next]
      if (entry === undefined || entry.at > until) break
      this.#queue.splice(next, 1)
      this.now = Math.max(this.now, entry.at)
      entry.work()
    }
    this.now = Math.max(this.now, until)
  }

  /** Who leads validly now, by its own clock. */
  leaders(): { host: Host; term: number }[] {
    return this.hosts.flatMap((host) => {
      const { state } = host.chain
      return host.alive && state.role === 'leader' && this.clock(host) < state.validUntil ? [{ host, term: state.term }] : []
    })
  }

  /** No more trouble: everybody is up, eligible and stays so. */
  heal(): void {
    this.faults = { ...noFaults, skew: this.faults.skew }
    for (const host of this.hosts) {
      host.pausedUntil = Math.min(host.pausedUntil, this.now)
      if (!host.eligible) this.#setEligible(host, true)
    }
  }

  setEligible(host: Host, eligible: boolean): void {
    this.#setEligible(host, eligible)
  }

  crash(host: Host): void {
    this.#kill(host)
  }

  #at(at: number, work: () => void): void {
    this.#order += 1
    this.#queue.push({ at, order: this.#order, work })
  }

  #newChain(eligible: boolean, host: number): ClaimChain {
    return new ClaimChain(
      {
        ...chainDefaults(this.#leaseOf(host)),
        margin: this.options.margin ?? 0.1,
        retainMs: this.options.retainMs ?? 600_000,
        random: this.random,
        nonce: () => `nonce${(this.#minted += 1)}`,
      },
      eligible,
    )
  }

  #start(host: Host): void {
    host.life += 1
    host.instance = `${host.name}.${host.life}`
    host.chain = this.#newChain(host.eligible, this.hosts.indexOf(host))
    host.lastRead = null
    host.guessed = false
    host.alive = true
    host.killAt = Infinity
    host.pausedUntil = 0
    this.#event(host, { kind: 'tick' })
    this.#submitter(host)
  }

  #kill(host: Host): void {
    if (!host.alive) return
    host.alive = false
    host.killAt = Infinity
    host.life += 1
    this.#at(this.now + this.random() * 1_000, () => this.#start(host))
  }

  /** Does it for the process as it is now: later when it is paused, never when it has died meanwhile. */
  #inProcess(host: Host, at: number, work: () => void): void {
    const { life } = host
    const attempt = (): void => {
      if (host.life !== life) return
      if (this.now < host.pausedUntil) this.#at(host.pausedUntil, attempt)
      else work()
    }
    this.#at(at, attempt)
  }

  #event(host: Host, event: ChainEvent): void {
    const commands = host.chain.handle(event, this.clock(host))
    for (const command of commands) this.#carryOut(host, command)
    const { chain } = host
    const { wakeAt } = chain
    if (host.alive && wakeAt !== Infinity) {
      this.#inProcess(host, Math.max(this.now, (wakeAt - host.offset) / host.rate + 0.001), () => {
        // A tick too many is harmless; one that nobody needs any more would breed others.
        if (host.chain.wakeAt === wakeAt) this.#event(host, { kind: 'tick' })
      })
    }
  }

  #delay(): number {
    if (this.random() < this.faults.longDelay) return this.random() * this.faults.longDelayMs
    return this.random() * this.faults.delayMs
  }

  /** An operation of the store: request, then it is done there (also when the process is dead by then), then the reply. */
  #operate<T>(host: Host, done: () => T, reply: (result: T | null) => void): void {
    host.operations += 1
    const { life } = host
    this.#at(this.now + this.#delay(), () => {
      const luck = this.random()
      const happens = luck >= this.faults.errors
      const result = happens ? done() : null
      const told = luck < this.faults.errors + this.faults.doneButError ? null : result
      if (host.life === life) this.#inProcess(host, this.now + this.#delay(), () => reply(told))
    })
  }

  #carryOut(host: Host, command: ChainCommand): void {
    switch (command.kind) {
      case 'arm':
        if (this.options.deadline !== false) {
          const { life } = host
          const killAt = (command.at - host.offset) / host.rate
          host.killAt = killAt
          // The kernel's: paused or not.
          this.#at(Math.max(killAt, this.now), () => {
            if (host.life === life && host.killAt === killAt) this.#kill(host)
          })
        }
        return
      case 'disarm':
        host.killAt = Infinity
        return
      case 'stop':
        return this.#kill(host)
      case 'list':
        return this.#operate(host, () => this.#seen(), (numbers) =>
          this.#event(host, numbers === null ? { kind: 'listFailed' } : { kind: 'listed', numbers }),
        )
      case 'identify': {
        const { number } = command
        return this.#operate(host, () => this.#fileOf(number), (file) => {
          host.guessed = file === host.lastRead?.file
          this.#event(host, file === null ? { kind: 'readFailed', number } : { kind: 'identified', number, file })
        })
      }
      case 'read': {
        const { number } = command
        return this.#operate(host, () => ({ claim: this.#files.get(this.#claims.get(number) ?? ''), file: this.#fileOf(number) }), (result) => {
          const { claim, file } = this.options.trustGuess === true && host.guessed && host.lastRead !== null ? host.lastRead : (result ?? {})
          if (claim === undefined || file == null) return this.#event(host, { kind: 'readFailed', number })
          host.lastRead = { claim, file }
          host.guessed = false
          this.#event(host, { kind: 'read', number, file, claim })
        })
      }
      case 'announce':
        for (const other of this.hosts) if (other !== host) this.#hint(other)
        return
      case 'prepare': {
        const { nonce, term, leaseMs } = command
        const claim = { instance: host.instance, host: host.name, address: '', term, leaseMs, nonce }
        return this.#operate(host, () => this.#files.set(nonce, claim), (result) =>
          this.#event(host, { kind: result === null ? 'prepareFailed' : 'prepared', nonce }),
        )
      }
      case 'attempt': {
        const { number, nonce } = command
        const { state } = host.chain
        if (this.options.armEarly === true && state.role === 'leader') {
          this.#carryOut(host, { kind: 'arm', at: this.clock(host) + this.#leaseOf(this.hosts.indexOf(host)) })
        }
        return this.#operate(host, () => this.#link(number, nonce), (result) =>
          this.#event(host, { kind: 'attempted', number, result: result ?? 'unknown' }),
        )
      }
      case 'discard':
        return
      case 'keep':
        return this.#operate(host, () => this.#keep(command.term, command.nonce), (result) => {
          if (result !== null) this.#event(host, { kind: result, term: command.term })
        })
      case 'remove':
        for (const number of command.numbers) {
          this.#operate(host, () => this.#remove(number), (result) => {
            if (result !== null) this.#event(host, { kind: 'removed', number })
          })
        }
    }
  }

  #fileOf(number: number): string | null {
    const nonce = this.#claims.get(number)
    if (nonce === undefined) return null
    return this.options.inodes === undefined ? nonce : `inode ${Number(nonce.slice('nonce'.length)) % this.options.inodes}`
  }

  /** Lost, late, and at any time: a hint is only ever a hint. */
  #hint(host: Host): void {
    const hints = this.options.hints ?? 0
    if (this.random() < hints) this.#inProcess(host, this.now + this.#delay(), () => this.#event(host, { kind: 'hint' }))
  }

  #link(number: number, nonce: string): 'won' | 'lost' {
    const owner = this.#claims.get(number)
    if (owner !== undefined) return owner === nonce ? 'won' : 'lost'
    this.#claims.set(number, nonce)
    this.#changed()
    return 'won'
  }

  #remove(number: number): true {
    if (number === Math.max(...this.#claims.keys())) this.violations.push(`the newest claim ${number} was removed`)
    this.#claims.delete(number)
    this.#changed()
    return true
  }

  #keep(term: number, nonce: string): 'kept' | 'termTaken' {
    const owner = this.terms.get(term)
    if (owner !== undefined && owner !== nonce) {
      this.violations.push(`term ${term} was given twice`)
      return 'termTaken'
    }
    this.terms.set(term, nonce)
    return 'kept'
  }

  #changed(): void {
    this.#history.push({ at: this.now, numbers: [...this.#claims.keys()] })
    if (this.#history.length > 4_000) this.#history = this.#history.slice(-2_000)
  }

  #seen(): number[] {
    const at = this.random() < this.faults.stale ? this.now - this.random() * this.faults.staleMs : this.now
    for (let i = this.#history.length - 1; i >= 0; i--) {
      if (this.#history[i]!.at <= at) return this.#history[i]!.numbers
    }
    return []
  }

  /** What leading is for: look whether the lease holds, and a little later, or after a pause, act. */
  #submitter(host: Host): void {
    this.#inProcess(host, this.now + this.random() * 100, () => {
      const { state } = host.chain
      if (state.role === 'leader' && this.clock(host) < state.validUntil) {
        const { term } = state
        const { instance } = host
        this.#mustBeAlone()
        // Time passes between looking and acting: scheduled out, collecting garbage, stopped, a slow cluster. Only
        // the deadline ends it in time, except where it withdraws: draining waits for what is in flight.
        const act = this.random() < 0.7 ? 0 : this.random() * 1_500
        this.#inProcess(host, this.now + act, () => {
          const { state: later } = host.chain
          if (later.role === 'leader' && later.term === term) this.#act({ at: this.now, term, instance })
        })
      }
      this.#submitter(host)
    })
  }

  #mustBeAlone(): void {
    const leaders = this.leaders()
    if (leaders.length > 1) {
      const who = leaders.map(({ host, term }) => `${host.instance} in term ${term}`).join(' and ')
      this.violations.push(`at ${this.now.toFixed(1)} ms ${who} lead at once`)
    }
  }

  #act(act: Act): void {
    this.acts.push(act)
    if (act.term < this.#highestActed) {
      const what = `${act.instance} acted in term ${act.term} after term ${this.#highestActed} had`
      this.violations.push(`at ${act.at.toFixed(1)} ms ${what}`)
    }
    this.#highestActed = Math.max(this.#highestActed, act.term)
  }

  #setEligible(host: Host, eligible: boolean): void {
    host.eligible = eligible
    if (host.alive) this.#inProcess(host, this.now, () => this.#event(host, { kind: 'eligible', eligible }))
  }

  #trouble(host: Host): void {
    const every = (meanMs: () => number, work: () => void): void => {
      if (meanMs() === Infinity) return
      this.#at(this.now + this.random() * 2 * meanMs(), () => {
        if (meanMs() === Infinity) return
        work()
        every(meanMs, work)
      })
    }
    every(() => this.faults.pauseEveryMs, () => {
      host.pausedUntil = this.now + this.random() * this.faults.pauseMs
    })
    every(() => this.faults.crashEveryMs, () => this.#kill(host))
    if ((this.options.hints ?? 0) > 0) every(() => 500, () => this.#hint(host))
    every(() => this.faults.flipEligibleEveryMs, () => this.#setEligible(host, !host.eligible))
  }
}
