// `usher serve` on one simulated host: the parts of src/instance.ts and src/app.ts in their order, around the real keeper of
// presence, adopter and candidate. A server process, its submitter process, and who starts them again when they die.
import { fullJitter, sleep } from '../../src/base/clock.ts'
import type { Clock } from '../../src/base/clock.ts'
import { messageOf } from '../../src/base/errors.ts'
import { native } from '../../src/base/native.ts'
import type { SeenIds } from '../../src/base/native.ts'
import type { ChainOptions } from '../../src/election/claim-chain.ts'
import type { Deadline } from '../../src/election/elector.ts'
import { PresenceKeeper } from '../../src/ingest/presence-keeper.ts'
import { PublishedNumber } from '../../src/transform/published-number.ts'
import { DirectoryStore } from '../../src/store/directory-store.ts'
import type { FileOperations } from '../../src/store/file-operations.ts'
import { mintInstance, presenceName, segmentName, segmentsDirectory } from '../../src/store/layout.ts'
import type { Store } from '../../src/store/store.ts'
import type { Books } from '../../src/submit/books.ts'
import { Candidate } from '../../src/submit/candidate.ts'
import type { CandidatePace } from '../../src/submit/candidate.ts'
import type { FromSubmitter, StartMessage, ToSubmitter } from '../../src/submit/messages.ts'
import { Adopter } from '../../src/transform/adopter.ts'
import { ClusterDriver } from './cluster.ts'
import type { Cluster } from './cluster.ts'
import { Mount } from './file-client.ts'
import { Ingest } from './ingest.ts'
import type { Group } from './ingest.ts'
import { Proc } from './machine.ts'
import type { Host } from './machine.ts'
import type { Removals } from './removals.ts'
import { SegmentTransforms } from './transform.ts'
import { root } from './truth.ts'
import type { World } from './world.ts'

export const storeUuid = '5a6b7c8d-0000-4000-8000-000000000001'

export interface Seams {
  readonly clock: Clock
  readonly store: Store
  readonly deadline: Deadline
}

/** What a switch may turn off; each stands for one protection. Left out: it is on. */
export interface Weakening {
  readonly chain?: Partial<ChainOptions>
  /** What its candidate works on the store with. */
  readonly store?: (files: FileOperations, nonce: () => string) => Store
  readonly deadline?: (deadline: Deadline) => Deadline
  /** What a candidate is handed instead of the clock, the store and the deadline of its process. */
  readonly seams?: (own: Seams) => Seams
  readonly seenIds?: () => SeenIds
  readonly settleMs?: number
  readonly acceptLeaseUnchecked?: boolean
  /** Takes every preflight for passed. */
  readonly credulous?: boolean
}

export interface ServeSettings {
  readonly leaseMs: number
  readonly acceptLeaseMs: number
  readonly sealIntervalMs: number
  readonly pace: CandidatePace
  readonly windowBytesMax: number
  readonly retentionMs: number
  readonly removals: Removals
  readonly weakening: Weakening
}

const restartMinMs = 100
const restartMaxMs = 5000
const healthyMs = 10_000

export class Serve {
  readonly host: Host
  readonly world: World
  readonly #clusters: readonly Cluster[]
  readonly #settings: ServeSettings
  readonly mount: Mount
  server: Proc | null = null
  instance: SimulatedInstance | null = null
  #restarting = false

  constructor(host: Host, clusters: readonly Cluster[], settings: ServeSettings) {
    this.host = host
    this.world = host.world
    this.#clusters = clusters
    this.#settings = settings
    this.mount = new Mount(host)
    host.onPowerLoss.push(() => {
      this.server = null
      this.instance = null
      this.#restarting = false
    })
  }

  /** As the host's service manager does it. */
  start(): void {
    if (this.host.kernel.dead || this.server !== null) return
    const proc = new Proc(this.host, 'server', () => {
      this.server = null
      this.instance = null
      this.#startSoon(this.world.chance.between(50, 800))
    })
    this.server = proc
    this.world.time.after(1, proc, () => void this.#life(proc))
  }

  /** Drains and ends, as for an upgrade; the service manager starts the next version. */
  drain(): void {
    const { instance, server } = this
    if (instance === null || server === null || !instance.accepting) return
    this.world.time.after(0.1, server, () => {
      void instance.stop().then(() => server.die('drained'))
    })
  }

  #startSoon(ms: number): void {
    if (this.#restarting) return
    this.#restarting = true
    this.world.time.after(ms, this.host.kernel, () => {
      this.#restarting = false
      this.start()
    })
  }

  /** Instance after instance: one that retired is followed by another. */
  async #life(proc: Proc): Promise<void> {
    for (;;) {
      const instance = new SimulatedInstance(proc, this.mount, this.#clusters, this.#settings)
      this.instance = instance
      try {
        await instance.start()
      } catch (error) {
        this.world.log(proc.name, `start failed: ${messageOf(error)}`)
        this.world.count('starts that failed')
        instance.abandon()
        await sleep(proc.clock, 300)
        continue
      }
      await instance.ended
      this.world.count('instances that retired')
      instance.abandon()
      await sleep(proc.clock, 10)
    }
  }
}

class SimulatedInstance {
  readonly name: string
  readonly world: World
  readonly #proc: Proc
  readonly #mount: Mount
  readonly #clusters: readonly Cluster[]
  readonly #settings: ServeSettings
  readonly #store: DirectoryStore
  readonly #transforms: SegmentTransforms
  readonly #adopter: Adopter
  readonly #ingest: Ingest
  readonly #published = new PublishedNumber()
  readonly #transforming = new Set<Promise<void>>()
  #presence!: PresenceKeeper
  #submitter: SubmitterKeeper | null = null
  #stopping = false
  accepting = false
  #tellEnd: () => void = () => undefined
  readonly ended = new Promise<void>((resolve) => (this.#tellEnd = resolve))

  constructor(proc: Proc, mount: Mount, clusters: readonly Cluster[], settings: ServeSettings) {
    const { host } = proc
    const { chance } = host.world
    this.world = host.world
    this.#proc = proc
    this.#mount = mount
    this.#clusters = clusters
    this.#settings = settings
    this.name = mintInstance(host.name, new Date(host.wallMs), chance.hex(6))
    const files = mount.operationsOf(proc)
    this.#store = new DirectoryStore(root, files, () => chance.hex(16))
    this.#transforms = new SegmentTransforms({ store: this.#store, files, root, nonce: () => chance.hex(16), clock: proc.clock, random: chance.unit })
    this.#adopter = new Adopter({
      store: this.#store,
      instance: this.name,
      transformer: this.#transforms,
      onTransformed: () => this.world.count('segments adopted'),
    })
    this.#ingest = new Ingest({
      files,
      directory: `${root}/${segmentsDirectory(this.name)}`,
      header: { store: storeUuid, host: host.name, instance: this.name, pid: String(proc.pid), version: '0.1.0', config: '3fa9c1d2' },
      clock: proc.clock,
      acceptLeaseMs: settings.acceptLeaseMs,
      sealIntervalMs: settings.sealIntervalMs,
      retryMs: 300,
      checksLease: settings.weakening.acceptLeaseUnchecked !== true,
      onAcknowledged: (number, jobs) => settings.removals.acknowledges(`${this.name}/${number}`, jobs.map(({ id }) => id)),
      onPublished: (number) => this.#transform(number, false),
      onAbandoned: (number) => {
        this.world.count('segments given up')
        this.#transform(number, true)
      },
      onFailing: (failing) => {
        if (!this.#stopping) this.#presence.update({ accepting: !failing, reason: failing ? 'the store fails' : '' })
      },
      onRetired: () => this.#end(),
    })
  }

  take(group: Group): void {
    if (this.accepting) this.#ingest.take(group)
    else group.answer(false)
  }

  async start(): Promise<void> {
    const { clock, host } = this.#proc
    const { acceptLeaseMs } = this.#settings
    const bornMs = clock.nowMs()
    await this.#store.makeDirectory(segmentsDirectory(this.name))
    this.#presence = new PresenceKeeper({
      store: this.#store,
      uuid: storeUuid,
      presence: await this.#store.openPresence(presenceName(this.name)),
      clock,
      everyMs: acceptLeaseMs / 4,
      initial: {
        instance: this.name, host: host.name, user: 'usher', ...host.identityOf(this.#proc), version: '0.1.0', config: '3fa9c1d2', role: 'starting', term: null,
        eligible: false, reason: 'starting', accepting: false, clusters: [], acceptLeaseMs, listen: '', started: '', published: 0,
      },
      onWritten: (beganMs) => this.#ingest.presenceWritten(beganMs),
      acceptLeaseMs,
      onLapsed: () => {
        if (this.#settings.weakening.acceptLeaseUnchecked !== true) this.#end()
      },
      onWrongStore: (error) => this.world.violate('the store is the store', error.message),
      log: (_, message) => this.world.log(this.#proc.name, message),
    })
    void this.#ingest.run()
    await this.#presence.start(bornMs)
    this.#presence.update({ accepting: true })
    this.accepting = true
    this.world.log(this.#proc.name, `accepts as ${this.name}`)
    this.#submitter = new SubmitterKeeper(this.#proc, this.#mount, this.#clusters, this.#settings, {
      instance: this.name,
      published: () => this.#published.value,
      onRole: ({ role, term, eligible, reason, clusters }) => {
        const { value } = this.#presence
        const same = value.role === role && value.term === term && value.eligible === eligible && String(value.clusters) === String(clusters)
        if (this.#stopping || same) return
        this.#presence.update({ role, term, eligible, clusters, reason })
      },
      onAdopt: (instance, why, from) => void this.#adopt(instance, why, from),
    })
    this.#submitter.start()
  }

  /** What the leader of this host knows; null: it has none. */
  get books(): Books | null {
    return this.#submitter?.books ?? null
  }

  get submitter(): Proc | null {
    return this.#submitter?.proc ?? null
  }

  async stop(): Promise<void> {
    const { clock } = this.#proc
    this.#stopping = true
    this.accepting = false
    this.#presence.update({ role: 'draining', accepting: false, reason: 'shutting down' })
    await this.#ingest.stop()
    const settle = async (): Promise<boolean> => {
      while (this.#transforming.size > 0) await Promise.all(this.#transforming)
      return true
    }
    const settled = await Promise.race([settle(), sleep(clock, 15_000).then(() => false)])
    await this.#submitter?.resign(15_000)
    this.#transforms.close()
    if (settled) await this.#presence.stop({ role: 'ended', accepting: false, eligible: false, reason: 'ended', term: null, published: this.#published.value })
    else await this.#presence.halt()
    this.world.count('instances that drained')
  }

  /** Retired, or not started: nothing of it is trusted any more. */
  abandon(): void {
    this.#stopping = true
    this.accepting = false
    this.#submitter?.kill()
    this.#transforms.close()
    void this.#ingest.stop()
    const presence = this.#presence as PresenceKeeper | undefined
    presence?.halt().catch(() => undefined)
  }

  #end(): void {
    if (!this.#stopping) this.#tellEnd()
  }

  async #adopt(instance: string, why: string, from: number): Promise<void> {
    this.world.count('adoptions')
    this.world.log(this.#proc.name, `adopts ${instance}: ${why}`)
    while (!this.#stopping) {
      try {
        const last = await this.#adopter.adopt(instance, from)
        if (last === null) return
        this.#submitter?.tell({ type: 'adopted', instance, last })
        return
      } catch (error) {
        this.world.log(this.#proc.name, `adoption of ${instance} fails: ${messageOf(error)}`)
        await sleep(this.#proc.clock, 1000)
      }
    }
  }

  #transform(number: number, torn: boolean): void {
    const work = this.#transformOne(number, torn).finally(() => this.#transforming.delete(work))
    this.#transforming.add(work)
  }

  async #transformOne(number: number, torn: boolean): Promise<void> {
    const result = await this.#transforms.run({
      xml: segmentName(this.name, number, torn ? 'part' : 'xml'),
      jsonl: segmentName(this.name, number, 'jsonl'),
      aside: segmentName(this.name, number, 'aside'),
      torn,
      missing: torn ? 'empty' : 'retry',
    })
    if (result === null || result.kind === 'missing') return
    if (result.kind === 'aside') this.world.violate('segments can be read', `${this.name}/${number} is set aside: ${result.reason}`)
    if (this.#published.done(number)) {
      this.#submitter?.tell({ type: 'published', number: this.#published.value })
      this.#presence.update({ published: this.#published.value })
    }
  }
}

interface SubmitterKeeperOptions {
  readonly instance: string
  readonly published: () => number
  readonly onRole: (message: Extract<FromSubmitter, { type: 'role' }>) => void
  readonly onAdopt: (instance: string, why: string, from: number) => void
}

/** As src/submit/submitter-process.ts: starts the submitter again when it dies, and dies with its parent's last word to it. */
class SubmitterKeeper {
  readonly #parent: Proc
  readonly #mount: Mount
  readonly #clusters: readonly Cluster[]
  readonly #settings: ServeSettings
  readonly #options: SubmitterKeeperOptions
  proc: Proc | null = null
  #candidate: Candidate | null = null
  #early: ToSubmitter[] = []
  #ending = false
  #failures = 0

  constructor(parent: Proc, mount: Mount, clusters: readonly Cluster[], settings: ServeSettings, options: SubmitterKeeperOptions) {
    this.#parent = parent
    this.#mount = mount
    this.#clusters = clusters
    this.#settings = settings
    this.#options = options
  }

  get books(): Books | null {
    return this.proc === null || this.proc.dead ? null : (this.#candidate?.books ?? null)
  }

  start(): void {
    // What runs on for a moment in a process that has just been killed starts nothing any more.
    if (this.#parent.dead) return
    const { host } = this.#parent
    const { time, chance } = host.world
    const startedMs = host.bootMs
    const proc = new Proc(host, 'submitter', (how) => {
      for (const cluster of this.#clusters) cluster.watchers.delete(proc)
      this.#clusters[0]?.judge.candidates.delete(proc.name)
      if (this.proc !== proc) return
      this.proc = null
      time.after(0.1, this.#parent, () => {
        if (this.#ending) return
        host.world.log(proc.name, `is started again: ${how}`)
        if (host.bootMs - startedMs > healthyMs) this.#failures = 0
        const waitMs = restartMinMs + fullJitter(this.#failures, restartMinMs, restartMaxMs, chance.unit)
        this.#failures += 1
        time.after(waitMs, this.#parent, () => {
          if (!this.#ending) this.start()
        })
      })
    })
    this.proc = proc
    this.#candidate = null
    this.#early = []
    // The pipe between them breaks with the parent.
    this.#parent.held.add({ ownerDied: () => void time.after(0.5, proc, () => proc.die('lost its parent')) })
    const message = this.#startMessage()
    time.after(chance.between(20, 60), proc, () => this.#begin(proc, message))
  }

  tell(message: ToSubmitter): void {
    const { proc } = this
    if (proc === null || proc.dead) return
    proc.host.world.time.after(0.2, proc, () => {
      if (this.proc !== proc) return
      // What comes before it has begun waits in the pipe.
      if (this.#candidate === null) this.#early.push(message)
      else this.#deliver(proc, this.#candidate, message)
    })
  }

  #deliver(proc: Proc, candidate: Candidate, message: ToSubmitter): void {
    if (message.type === 'published') candidate.published(message.number)
    else if (message.type === 'adopted') candidate.adopted(message.instance, message.last)
    else if (message.type === 'look') candidate.look(message.nudge)
    else if (message.type === 'resign') {
      candidate.resign().catch((error: unknown) => {
        proc.host.world.log(proc.name, `can't resign: ${messageOf(error)}`)
        proc.die('could not resign')
      })
    }
  }

  async resign(withinMs: number): Promise<void> {
    this.#ending = true
    const { proc } = this
    if (proc === null || proc.dead) return
    this.tell({ type: 'resign' })
    const deadlineMs = this.#parent.clock.nowMs() + withinMs
    while (!proc.dead && this.#parent.clock.nowMs() < deadlineMs) await sleep(this.#parent.clock, 20)
    proc.die("didn't resign in time")
  }

  kill(): void {
    this.#ending = true
    this.proc?.die('killed by its parent')
  }

  #startMessage(): StartMessage {
    const { host } = this.#parent
    const { leaseMs, acceptLeaseMs, windowBytesMax, retentionMs } = this.#settings
    return {
      type: 'start',
      directory: root,
      storeUuid,
      by: { host: host.name, instance: this.#options.instance, version: '0.1.0', config: '3fa9c1d2' },
      address: `${host.name}:7433`,
      leaseMs,
      acceptLeaseMs,
      clusters: Object.fromEntries(this.#clusters.map(({ name }) => [name, {} as StartMessage['clusters'][string]])),
      windowBytesMax,
      retryMinMs: 50,
      retryMaxMs: 500,
      retentionMs,
      published: this.#options.published(),
    }
  }

  #begin(proc: Proc, start: StartMessage): void {
    const { host } = proc
    const { world } = host
    const { weakening, pace, removals } = this.#settings
    const files = removals.watch(this.#mount.operationsOf(proc))
    const nonce = (): string => world.chance.hex(16)
    const own: Seams = {
      clock: proc.clock,
      store: weakening.store?.(files, nonce) ?? new DirectoryStore(root, files, nonce),
      deadline: weakening.deadline?.(proc.deadline) ?? proc.deadline,
    }
    const { clock, store, deadline } = weakening.seams?.(own) ?? own
    this.#candidate = new Candidate({
      start,
      pid: proc.pid,
      store,
      clock,
      deadline,
      random: world.chance.unit,
      pace,
      createDriver: (name) => {
        const cluster = this.#clusters.find((one) => one.name === name)!
        return new ClusterDriver(proc, cluster, weakening.settleMs ?? cluster.habits.settleMs, weakening.credulous ?? false)
      },
      createSeenIds: weakening.seenIds ?? (() => new native.SeenIds()),
      provenDead: (identity) => host.provenDead(identity),
      clockFault: () => null,
      send: (message) => {
        if (!proc.dead) this.#hear(proc, message)
      },
      exit: (status) => {
        world.time.after(world.chance.between(0.1, 3), proc, () => proc.die(`ends with status ${status}`))
      },
      chain: { nonce: () => world.chance.hex(16), ...weakening.chain },
    })
    const candidate = this.#candidate
    this.#clusters[0]?.judge.candidates.set(proc.name, () => {
      const { state } = candidate
      return !proc.dead && state.role === 'leader' && clock.nowMs() < state.validUntil ? state.term : null
    })
    this.#candidate.start()
    for (const message of this.#early.splice(0)) this.#deliver(proc, this.#candidate, message)
  }

  #hear(proc: Proc, message: FromSubmitter): void {
    const { world } = proc.host
    if (message.type === 'log') {
      if (world.verbose) world.log(proc.name, message.message)
      return
    }
    if (message.type === 'role') {
      if (message.role === 'leader') world.count('leaderships told of')
      world.log(proc.name, `${message.role} term ${message.term} ${message.reason}`)
    }
    world.time.after(0.2, this.#parent, () => {
      if (message.type === 'role') this.#options.onRole(message)
      else if (message.type === 'adopt') this.#options.onAdopt(message.instance, message.why, message.from)
    })
  }
}
