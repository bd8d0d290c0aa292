// Carries out what the claim chain decides: store operations, the kernel's deadline, a timer. It decides
// nothing itself, and tells its owner when it begins to lead, follows, or must end the process at once.
import { randomBytes } from 'node:crypto'
import { EventEmitter } from 'node:events'
import { messageOf, UsherError } from '../base/errors.ts'
import {
  claimFileName,
  claimName,
  claimsDirectory,
  hostDirectory,
  parseClaimNumber,
  termName,
  termsDirectory,
} from '../store/layout.ts'
import { isMissing } from '../store/store-error.ts'
import type { Store } from '../store/store.ts'
import type { ChainCommand, ChainEvent, ChainOptions, ChainState } from './claim-chain.ts'
import { chainDefaults, ClaimChain } from './claim-chain.ts'
import type { Claim } from './claim.ts'
import { decodeClaim, encodeClaim, leaseMsMax } from './claim.ts'

/** Milliseconds that go on during suspend: native.bootMs. */
export type Clock = () => number

export interface Deadline {
  /** The process is dead at this time of the clock, whatever it does. Arming again replaces it. */
  arm(atMs: number): void
  disarm(): void
}

export interface Timer {
  set(work: () => void, ms: number): unknown
  clear(handle: unknown): void
}

const realTimer: Timer = {
  set: (work, ms) => setTimeout(work, ms),
  clear: (handle) => clearTimeout(handle as NodeJS.Timeout),
}

export interface ElectorOptions {
  readonly store: Store
  readonly instance: string
  readonly host: string
  /** Where this host can be reached; goes into its claims. */
  readonly address: string
  readonly leaseMs: number
  readonly clock: Clock
  readonly deadline: Deadline
  /** Whether it stands from the start; false by default, as eligibility is to be proven. */
  readonly eligible?: boolean
  /**
   * Called while leading and before resigning: submit nothing more and wait for what is in flight. The lease
   * is renewed meanwhile. What is still on its way when it resolves would race the next leader.
   */
  readonly drain?: (reason: string) => Promise<void>
  /** This instance has resigned: whoever hears of it at once need not wait for the next poll. Only ever a hint. */
  readonly announce?: () => void
  /** What goes wrong without consequence, for the log. */
  readonly log?: (message: string, details: Record<string, unknown>) => void
  readonly timer?: Timer
  readonly chain?: Partial<ChainOptions>
}

export interface Leading {
  readonly term: number
  /** Until when, on the clock, the newest claim holds; 0 once it leads no more. Look right before every act. */
  readonly validUntil: () => number
}

export interface Following {
  readonly leader: Claim | null
  readonly term: number | null
}

export interface Lost {
  readonly term: number | null
  readonly reason: string
}

interface ElectorEvents {
  leading: [Leading]
  following: [Following]
  /** Deposed, or in doubt: the process must end now, without submitting anything more. */
  lost: [Lost]
}

export class Elector extends EventEmitter<ElectorEvents> {
  readonly #options: ElectorOptions
  readonly #chain: ClaimChain
  readonly #timer: Timer
  #handle: unknown = null
  #started = false
  #stopped = false
  #operations = 0
  readonly #inFlight = new Set<Promise<void>>()
  /** Waiting for the end of whatever claim or resignation is under way. */
  readonly #settled: (() => void)[] = []
  #told = ''
  #eligible: boolean
  #reason = ''
  #withdrawing: Promise<void> | null = null
  #directoryMade = false
  #removing = false

  constructor(options: ElectorOptions) {
    super()
    if (!(options.leaseMs > 0 && options.leaseMs <= leaseMsMax)) {
      throw new UsherError('config_invalid', `a lease of ${options.leaseMs} ms: at most ${leaseMsMax} ms are allowed`)
    }
    this.#options = options
    this.#timer = options.timer ?? realTimer
    this.#eligible = options.eligible ?? false
    this.#chain = new ClaimChain(
      { ...chainDefaults(options.leaseMs), random: Math.random, nonce: () => randomBytes(8).toString('hex'), ...options.chain },
      this.#eligible,
    )
  }

  /** Store operations done so far. */
  get operations(): number {
    return this.#operations
  }

  get state(): ChainState {
    return this.#chain.state
  }

  get eligibility(): { readonly eligible: boolean; readonly reason: string } {
    return { eligible: this.#eligible, reason: this.#reason }
  }

  start(): void {
    if (this.#started) return
    this.#started = true
    // Long before it is needed: two syncs that nobody has to wait for at a takeover.
    this.#operate('makeDirectory', null, async () => {
      await this.#makeDirectory()
      return null
    })
    this.#run({ kind: 'tick' })
  }

  /** Somebody says that there is something new: looks at once instead of at the next poll, if it follows. */
  hint(): void {
    this.#run({ kind: 'hint' })
  }

  /**
   * Whether this instance may lead, and why not. A leader that may not any more drains, resigns and follows;
   * the promise resolves when it has.
   */
  setEligible(eligible: boolean, reason: string): Promise<void> {
    this.#eligible = eligible
    this.#reason = reason
    if (eligible) {
      // A resignation that has begun is finished first; then it stands again.
      if (this.#withdrawing === null) this.#run({ kind: 'eligible', eligible: true })
      return this.#withdrawing ?? Promise.resolve()
    }
    return this.#withdraw()
  }

  /** Drains, says so in a last claim and follows; doesn't stand again before setEligible(true). */
  resign(reason = 'resigned'): Promise<void> {
    return this.setEligible(false, reason)
  }

  /**
   * Does nothing more; resolves when no operation is in flight. Resign first: the deadline of one that still
   * leads stays armed, since nobody knows whether its owner has stopped to submit.
   */
  async stop(): Promise<void> {
    this.#halt()
    while (this.#inFlight.size > 0) await Promise.all(this.#inFlight)
    if (this.#chain.state.role === 'follower') this.#options.deadline.disarm()
  }

  #withdraw(): Promise<void> {
    this.#withdrawing ??= this.#withdrawOnce().finally(() => {
      this.#withdrawing = null
      if (this.#eligible) this.#run({ kind: 'eligible', eligible: true })
    })
    return this.#withdrawing
  }

  async #withdrawOnce(): Promise<void> {
    if (this.#chain.state.role === 'leader') {
      try {
        await this.#options.drain?.(this.#reason)
      } catch (error) {
        // Something may still be on its way to the cluster: only the end of the process, and a whole lease, are safe.
        return this.#lose(this.#chain.state, `draining failed: ${messageOf(error)}`)
      }
    }
    this.#run({ kind: 'eligible', eligible: false })
    if (this.#chain.unsettled && !this.#stopped) await new Promise<void>((resolve) => this.#settled.push(resolve))
  }

  #lose(before: ChainState, reason: string): void {
    this.#halt()
    this.emit('lost', { term: before.role === 'leader' ? before.term : null, reason })
  }

  #halt(): void {
    this.#stopped = true
    this.#timer.clear(this.#handle)
    this.#release()
  }

  #release(): void {
    for (const resolve of this.#settled.splice(0)) resolve()
  }

  #run(event: ChainEvent): void {
    if (this.#stopped || !this.#started) {
      // Eligibility is known to the chain before the start, too.
      if (event.kind === 'eligible' && !this.#stopped) this.#chain.handle(event, this.#options.clock())
      return
    }
    const before = this.#chain.state
    const commands = this.#chain.handle(event, this.#options.clock())
    // In their order and at once: a deadline is armed before the attempt that follows it begins.
    for (const command of commands) this.#carryOut(command, before)
    if (this.#stopped) return
    this.#tell(this.#chain.state)
    if (!this.#chain.unsettled) this.#release()
    this.#timer.clear(this.#handle)
    const { wakeAt } = this.#chain
    if (wakeAt !== Infinity) {
      this.#handle = this.#timer.set(() => this.#run({ kind: 'tick' }), Math.max(0, Math.ceil(wakeAt - this.#options.clock())))
    }
  }

  #carryOut(command: ChainCommand, before: ChainState): void {
    switch (command.kind) {
      case 'arm':
        return this.#options.deadline.arm(command.at)
      case 'disarm':
        return this.#options.deadline.disarm()
      case 'stop':
        return this.#lose(before, command.reason)
      case 'list':
        return this.#operate(command.kind, { kind: 'listFailed' }, () => this.#list())
      case 'identify':
        return this.#operate(command.kind, { kind: 'readFailed', number: command.number }, () => this.#identify(command.number))
      case 'read':
        return this.#operate(command.kind, { kind: 'readFailed', number: command.number }, () => this.#read(command.number))
      case 'prepare':
        return this.#operate(command.kind, { kind: 'prepareFailed', nonce: command.nonce }, () => this.#prepare(command))
      case 'attempt': {
        const unknown = { kind: 'attempted', number: command.number, result: 'unknown' } as const
        return this.#operate(command.kind, unknown, async () => {
          const { number, nonce, sync } = command
          return { ...unknown, result: await this.#options.store.claim(claimName(number), this.#file(nonce), { sync }) }
        })
      }
      case 'announce':
        this.#options.announce?.()
        return
      case 'discard':
        return this.#operate(command.kind, null, async () => {
          await this.#options.store.remove(this.#file(command.nonce))
          return null
        })
      case 'keep':
        return this.#operate(command.kind, null, () => this.#keep(command.term, command.nonce))
      case 'remove':
        return this.#remove(command.numbers)
    }
  }

  /**
   * One after the other, and nothing while that is under way: a file server that waits for a dead client to give back a
   * delegation keeps a removal waiting for a minute and more, and must not keep all of this process's threads with it.
   */
  #remove(numbers: readonly number[]): void {
    if (this.#removing) return
    this.#removing = true
    let rest = [...numbers]
    const next = (): void => {
      const [number] = rest
      rest = rest.slice(1)
      if (number === undefined || this.#stopped) {
        this.#removing = false
        return
      }
      this.#operate('remove', null, async () => {
        try {
          await this.#options.store.remove(claimName(number))
          return { kind: 'removed', number }
        } finally {
          next()
        }
      })
    }
    next()
  }

  /** Begins an operation now; its end is an event, its failure is `failed`. */
  #operate(what: string, failed: ChainEvent | null, work: () => Promise<ChainEvent | null>): void {
    this.#operations += 1
    const done = work()
      .catch((error: unknown) => {
        this.#options.log?.(`election: ${what} failed: ${messageOf(error)}`, { operation: what, error })
        return failed
      })
      .then((event) => {
        this.#inFlight.delete(done)
        if (event !== null) this.#run(event)
      })
    this.#inFlight.add(done)
  }

  async #list(): Promise<ChainEvent> {
    const numbers = await this.#numbers(claimsDirectory)
    if (numbers.length > 0) return { kind: 'listed', numbers }
    return { kind: 'listed', numbers, lastTerm: Math.max(0, ...(await this.#numbers(termsDirectory))) }
  }

  async #numbers(directory: string): Promise<number[]> {
    return (await this.#options.store.list(directory)).map(parseClaimNumber).filter((number) => number !== null)
  }

  #identify(number: number): Promise<ChainEvent> {
    return this.#unlessMissing(number, async (name) => ({ kind: 'identified', number, file: await this.#options.store.fileOf(name) }))
  }

  #read(number: number): Promise<ChainEvent> {
    const { store } = this.#options
    return this.#unlessMissing(number, async (name) => {
      const file = await store.fileOf(name)
      return { kind: 'read', number, file, claim: decodeClaim(await store.read(name)) }
    })
  }

  async #unlessMissing(number: number, work: (name: string) => Promise<ChainEvent>): Promise<ChainEvent> {
    try {
      return await work(claimName(number))
    } catch (error) {
      // Removed since the listing, which was an old one then: the next will show a higher number.
      if (isMissing(error)) return { kind: 'readFailed', number }
      throw error
    }
  }

  async #makeDirectory(): Promise<void> {
    if (this.#directoryMade) return
    await this.#options.store.makeDirectory(hostDirectory(this.#options.instance))
    this.#directoryMade = true
  }

  async #prepare(command: { readonly nonce: string; readonly term: number; readonly leaseMs: number }): Promise<ChainEvent> {
    const { store, instance, host, address } = this.#options
    const { nonce, term, leaseMs } = command
    await this.#makeDirectory()
    await store.prepare(this.#file(nonce), encodeClaim({ instance, host, address, term, leaseMs, nonce }))
    return { kind: 'prepared', nonce }
  }

  async #keep(term: number, nonce: string): Promise<ChainEvent | null> {
    if ((await this.#options.store.claim(termName(term), this.#file(nonce))) === 'won') return { kind: 'kept', term }
    // Claims were removed by hand while terms stayed. Terms must be unique: the next one will be higher.
    this.#options.log?.(`election: term ${term} was another's before`, { term })
    return { kind: 'termTaken', term }
  }

  #file(nonce: string): string {
    return claimFileName(this.#options.instance, nonce)
  }

  #tell(state: ChainState): void {
    const whose = state.role === 'leader' ? state.term : state.role === 'follower' ? (state.leader?.nonce ?? '') : ''
    const key = `${state.role} ${whose}`
    if (key === this.#told) return
    this.#told = key
    if (state.role === 'leader') {
      const { term } = state
      const validUntil = (): number => {
        const now = this.#chain.state
        return now.role === 'leader' && now.term === term ? now.validUntil : 0
      }
      this.emit('leading', { term, validUntil })
    } else if (state.role === 'follower') {
      this.emit('following', { leader: state.leader, term: state.leader?.term ?? null })
    }
  }
}
