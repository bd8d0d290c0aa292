// Hosts and the processes on them: their clocks, their kernels' deadlines, how they stop, go on and die.
import type { Clock } from '../../src/base/clock.ts'
import type { Deadline } from '../../src/election/elector.ts'
import type { ProcessIdentity } from '../../src/observe/instance.ts'
import { Life } from './time.ts'
import type { Event } from './time.ts'
import type { World } from './world.ts'

/** Strikes at the nth operation of a kind, before the kernel hears of it or after it was done and before the process knows. */
export interface Trap {
  left: number
  readonly on: 'any' | 'durable' | 'submit'
  readonly when: 'before' | 'after'
  readonly strike: () => void
}

/** Something of a process that its kernel still has when it dies. */
export interface Held {
  ownerDied(): void
}

export type ProcKind = 'server' | 'submitter'

export class Proc extends Life {
  readonly host: Host
  readonly kind: ProcKind
  readonly pid: number
  readonly held = new Set<Held>()
  readonly clock: Clock
  trap: Trap | null = null
  readonly #onDeath: (how: string) => void
  #deadline: Event | null = null

  constructor(host: Host, kind: ProcKind, onDeath: (how: string) => void) {
    super()
    this.host = host
    this.kind = kind
    this.#onDeath = onDeath
    host.pids += 1
    this.pid = host.pids
    host.procs.set(this.pid, this)
    // A process that begins while its host stands still begins when it goes on.
    this.stops = host.kernel.stops
    const { time } = host.world
    this.clock = {
      nowMs: () => host.bootMs,
      wallMs: () => host.wallMs,
      after: (ms, call) => {
        const event = time.after(ms / host.rate, this, call)
        return () => {
          event.cancelled = true
        }
      },
    }
  }

  get name(): string {
    return `${this.host.name}/${this.kind === 'server' ? 'server' : 'submit'}${this.pid}`
  }

  readonly deadline: Deadline = {
    arm: (atMs) => {
      if (this.dead) return
      if (this.#deadline !== null) this.#deadline.cancelled = true
      const { host } = this
      this.#deadline = host.world.time.after((atMs - host.bootMs) / host.rate, host.kernel, () => {
        host.world.count('killed by the deadline')
        this.die('killed at its deadline')
      }, true)
    },
    disarm: () => {
      if (this.#deadline !== null) this.#deadline.cancelled = true
      this.#deadline = null
    },
  }

  /** At once, whatever it does; its kernel cleans up after it. */
  die(how: string): void {
    if (this.dead) return
    const { host } = this
    this.dead = true
    this.parked.length = 0
    if (this.#deadline !== null) this.#deadline.cancelled = true
    host.procs.delete(this.pid)
    host.world.log(this.name, `dies: ${how}`)
    for (const held of [...this.held]) held.ownerDied()
    if (!host.kernel.dead) host.world.time.after(0.1, host.kernel, () => this.#onDeath(how))
  }

  /** Before the kernel hears of an operation. False: there is no process any more that could do it. */
  trapBefore(durable: boolean, submit: boolean): boolean {
    const { trap } = this
    if (trap === null || trap.when !== 'before' || !matches(trap, durable, submit)) return !this.dead
    trap.left -= 1
    if (trap.left <= 0) {
      this.trap = null
      trap.strike()
    }
    return !this.dead
  }

  /** An operation was done, and its process doesn't know yet. */
  trapAfter(durable: boolean, submit: boolean): void {
    const { trap } = this
    if (trap === null || trap.when !== 'after' || !matches(trap, durable, submit)) return
    trap.left -= 1
    if (trap.left > 0) return
    this.trap = null
    trap.strike()
  }
}

const matches = (trap: Trap, durable: boolean, submit: boolean): boolean =>
  trap.on === 'any' || (trap.on === 'durable' && durable) || (trap.on === 'submit' && submit)

export class Host {
  readonly world: World
  readonly name: string
  /** How fast its clocks run. */
  readonly rate: number
  readonly #bootOffset: number
  #wallOffsetMs = 0
  /** How far its wall clock was ever ahead of true time, less where it was behind. */
  readonly #ahead = { low: Number.POSITIVE_INFINITY, high: Number.NEGATIVE_INFINITY }
  kernel = new Life()
  bootId = ''
  pids = 100
  readonly procs = new Map<number, Proc>()
  /** Cut off from the file server, from clusters. */
  storeCut = false
  clusterCut = false
  /** Clusters whose configuration is broken here. */
  readonly broken = new Set<string>()
  /** Called when power is lost. */
  readonly onPowerLoss: (() => void)[] = []

  constructor(world: World, name: string, rate: number) {
    this.world = world
    this.name = name
    this.rate = rate
    this.#bootOffset = world.chance.whole(1000, 100_000)
    this.boot()
  }

  get bootMs(): number {
    return this.world.time.now * this.rate + this.#bootOffset
  }

  get wallMs(): number {
    return 1_795_400_000_000 + Math.floor(this.world.time.now * this.rate + this.wallOffsetMs)
  }

  get wallOffsetMs(): number {
    return this.#wallOffsetMs
  }

  set wallOffsetMs(ms: number) {
    if (this.world.time.now > 0) this.#noteAhead()
    this.#wallOffsetMs = ms
    this.#noteAhead()
  }

  get wallAheadMs(): { readonly low: number; readonly high: number } {
    this.#noteAhead()
    return this.#ahead
  }

  /** Between two jumps it only ever goes one way. */
  #noteAhead(): void {
    const { now } = this.world.time
    const ahead = now * (this.rate - 1) + this.#wallOffsetMs
    this.#ahead.low = Math.min(this.#ahead.low, ahead)
    this.#ahead.high = Math.max(this.#ahead.high, ahead)
  }

  get running(): boolean {
    return !this.kernel.dead && this.kernel.stops === 0
  }

  boot(): void {
    this.bootId = `boot-${this.name}-${this.world.chance.hex(6)}`
    this.kernel = new Life()
  }

  powerOff(): void {
    if (this.kernel.dead) return
    this.world.log(this.name, 'loses power')
    this.kernel.dead = true
    for (const tell of this.onPowerLoss) tell()
    for (const proc of this.procs.values()) proc.die('power loss')
    this.procs.clear()
  }

  /** All of it stands still; its clock goes on, as during suspend. */
  freeze(): void {
    const { time } = this.world
    time.stop(this.kernel)
    for (const proc of this.procs.values()) time.stop(proc)
  }

  thaw(): void {
    const { time } = this.world
    // The kernel's timers come first: what is past its deadline doesn't run again.
    const { kernel } = this
    time.goOn(kernel)
    for (const proc of [...this.procs.values()]) time.goOn(proc)
  }

  identityOf(proc: Proc): ProcessIdentity {
    return { pid: proc.pid, pidStart: '1', pidNamespace: 'pid:[1]', bootId: this.bootId }
  }

  provenDead(process: ProcessIdentity): boolean {
    return process.bootId === this.bootId && !this.procs.has(process.pid)
  }
}
