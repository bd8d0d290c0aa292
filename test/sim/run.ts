// One seed from its beginning to its verdict: the world is made, faults strike until their time is over, everything is healed,
// and then all that was accepted must come to its end in bounded time and the books must say so.
import { native } from '../../src/base/native.ts'
import type { Books } from '../../src/submit/books.ts'
import type { CandidatePace } from '../../src/submit/candidate.ts'
import { Chance } from './chance.ts'
import { Cluster } from './cluster.ts'
import { Judge } from './judge.ts'
import { Host } from './machine.ts'
import type { Proc } from './machine.ts'
import { Producer } from './producer.ts'
import { Removals } from './removals.ts'
import { drawScenario } from './scenario.ts'
import type { Blow, Leaning, Scenario } from './scenario.ts'
import { Serve, storeUuid } from './serve.ts'
import type { Weakening } from './serve.ts'
import { root } from './truth.ts'
import { examine, instancesLeft, jobsInDoubt, presenceTorn, replayDiffers } from './verdict.ts'
import { noClusterFaults, noFileFaults, World } from './world.ts'
import type { Violation } from './world.ts'

export interface RunOptions {
  readonly seed: number
  readonly verbose?: boolean
  readonly leaning?: Leaning
  readonly weakening?: Weakening
  /** False: sockets keep what they hold. */
  readonly abortive?: boolean
}

export interface Outcome {
  readonly seed: number
  readonly violation: Violation | null
  readonly counts: ReadonlyMap<string, number>
  readonly simulatedMs: number
  readonly steps: number
  readonly events: readonly string[]
  /** Of all that happened: two runs of one seed agree in it. */
  readonly digest: string
}

/** After the world was healed everything must have come to its end by then. */
const drainMsMax = 120_000
/** Longer where a presence was torn by the death of who wrote it: it may have had the longest accept lease that there is. */
const drainTornMsMax = 480_000
/** What is in doubt then is for an operator. */
const decideAfterMs = 10_000

export const run = (options: RunOptions): Outcome => {
  const chance = new Chance(options.seed)
  const world = new World(options.seed, chance, options.verbose ?? false)
  const scenario = drawScenario(chance, options.leaning ?? {}, options.abortive ?? true)
  const simulation = new Simulation(world, scenario, options.weakening ?? {}, compactionOf(options.seed), options.leaning?.retentionMs ?? retentionOf(options.seed))
  simulation.play()
  return {
    seed: options.seed,
    violation: world.violation,
    counts: world.counts,
    simulatedMs: world.time.now,
    steps: world.time.steps,
    events: world.events,
    digest: simulation.digest,
  }
}

/**
 * In two of five seeds a leader writes snapshots all the time, so that most that follow begin from one; in half of these, and in
 * some others, a file of the ledger holds a few records. By the seed, not by chance.
 */
const compactionOf = (seed: number): CandidatePace['compaction'] => {
  const inPieces = Math.floor(seed / 10) % 2 === 1 ? { fileBytesMax: 1200 } : {}
  if ([2, 3].includes(seed % 5)) return { growthBytesMin: 600, filesMax: 2, ...inPieces }
  return seed % 5 === 4 ? inPieces : undefined
}

const retentionMsMax = 7 * 86_400_000

/**
 * In one of eight seeds what is finished is removed within their short lives: in most of these a leader writes snapshots all the
 * time as well. By the seed, too. The shorter the retention, the more there is to do for each second.
 */
const retentionOf = (seed: number): number => {
  if (seed % 10 !== 2 && seed % 40 !== 9) return retentionMsMax
  return [500, 1000, 1500, 3000][Math.floor(seed / 40) % 4]!
}

class Simulation {
  readonly world: World
  readonly judge: Judge
  readonly #scenario: Scenario
  readonly #hosts: Host[] = []
  readonly #serves: Serve[] = []
  readonly #clusters: Cluster[]
  readonly #producers: Producer[]
  readonly #removals: Removals
  /** What is to be undone when the world is healed. */
  readonly #cures = new Set<() => void>()
  #decidedAtMs = 0

  constructor(world: World, scenario: Scenario, weakening: Weakening, compaction: CandidatePace['compaction'], retentionMs: number) {
    this.world = world
    this.judge = new Judge(world)
    this.#scenario = scenario
    this.#clusters = scenario.clusters.map((habits, at) => new Cluster(at === 0 ? 'main' : `other${at}`, world, this.judge, habits))
    const { server } = world
    for (const path of [root, ...['claims', 'terms', 'hosts', 'ledger', 'requests'].map((name) => `${root}/${name}`)]) server.mkdir(path)
    server.create(`${root}/store.json`).write(Buffer.from(`{"format":2,"uuid":"${storeUuid}","created":"","by":"a"}\n`), 0)
    this.#removals = new Removals(world, this.judge, this.#hosts, retentionMs)
    const settings = {
      retentionMs,
      removals: this.#removals,
      leaseMs: scenario.leaseMs,
      acceptLeaseMs: scenario.acceptLeaseMs,
      sealIntervalMs: scenario.sealIntervalMs,
      windowBytesMax: scenario.windowBytesMax,
      pace: { preflightEveryMs: 2500, preflightTimeoutMs: 1500, preflightRetryMs: 400, clockEveryMs: 1000, pollMs: scenario.pollMs, listEveryMs: scenario.pollMs * 2, resignAfterMs: 2500, ...(compaction === undefined ? {} : { compaction }) },
      weakening,
    }
    for (let at = 0; at < scenario.hosts; at += 1) {
      const host = new Host(world, 'abcd'[at]!, scenario.rates[at]!)
      host.wallOffsetMs = scenario.wallOffsetsMs[at]!
      this.#hosts.push(host)
      this.#serves.push(new Serve(host, this.#clusters, settings))
    }
    const outsider = this.#hosts[scenario.outsider]
    for (const { name } of this.#clusters) outsider?.broken.add(name)
    const { producerTimeoutMs: timeoutMs, conflicts, bad, resends } = scenario
    const clusters = this.#clusters.map(({ name }) => name)
    this.#producers = Array.from({ length: scenario.producers }, () => new Producer(world, this.judge, this.#serves, { timeoutMs, clusters, conflicts, bad, resends }))
  }

  play(): void {
    const { world } = this
    const { time, chance } = world
    const { batches, blows, faultsUntilMs, files, clusterFaults } = this.#scenario
    world.files = { ...files }
    world.clusterFaults = { ...clusterFaults }
    if (world.verbose) world.log('world', JSON.stringify(this.#scenario))
    for (const serve of this.#serves) time.after(chance.skewed(0, 1500), null, () => serve.start())
    for (const { atMs, jobs, producer } of batches) time.after(atMs, null, () => this.#producers[producer]!.send(jobs))
    for (const blow of blows) time.after(blow.atMs, null, () => this.#strike(blow))
    time.run(faultsUntilMs, () => world.violation !== null)
    if (world.violation !== null) return
    this.#heal()
    this.#drain()
    if (world.violation === null) this.#awaitRemoval()
    if (world.violation === null) this.#compare()
    if (world.violation === null) examine(world, this.judge, this.#removals)
    for (const host of this.#hosts) for (const proc of [...host.procs.values()]) proc.dead = true
  }

  get digest(): string {
    const { world, judge } = this
    const counts = [...world.counts].sort(([a], [b]) => (a < b ? -1 : 1))
    const text = JSON.stringify([world.time.now, world.time.steps, counts, judge.newestTerm, world.violation, world.chance.unit()])
    return native.xxh64(Buffer.from(text)).toString(16)
  }

  #cure(forMs: number, cure: () => void): void {
    const once = (): void => {
      if (this.#cures.delete(once)) cure()
    }
    this.#cures.add(once)
    this.world.time.after(forMs, null, once)
  }

  #strike({ what, host: hostAt, cluster: clusterAt, forMs, trap }: Blow): void {
    const { world } = this
    if (world.healed) return
    const host = this.#hosts[hostAt]!
    const serve = this.#serves[hostAt]!
    const cluster = this.#clusters[clusterAt]!
    const log = (): void => world.log('FAULT', `${what}: host ${host.name}, ${cluster.name}, ${Math.round(forMs)} ms`)
    log()
    if (what !== 'trap') world.count(`fault: ${what}`)
    const submitter = serve.instance?.submitter ?? null
    switch (what) {
      case 'kill submitter':
        return submitter?.die('SIGKILL')
      case 'kill server':
        return serve.server?.die('SIGKILL')
      case 'power loss':
        return this.#powerLoss(serve, forMs)
      case 'stop submitter':
        return this.#stop(submitter, forMs)
      case 'stop server':
        return this.#stop(serve.server, forMs)
      case 'freeze host':
        return this.#freeze(host, forMs)
      case 'cut store':
        host.storeCut = true
        return this.#cure(forMs, () => {
          host.storeCut = false
          serve.mount.restored()
        })
      case 'cut cluster':
        host.clusterCut = true
        return this.#cure(forMs, () => (host.clusterCut = false))
      case 'server outage':
        world.server.up = false
        return this.#cure(forMs, () => {
          world.server.up = true
          for (const { mount } of this.#serves) mount.restored()
        })
      case 'store full':
        world.server.full = true
        return this.#cure(forMs, () => (world.server.full = false))
      case 'drain':
        return serve.drain()
      case 'cluster stands still':
        cluster.freeze()
        return this.#cure(forMs, () => cluster.thaw())
      case 'cluster crash':
        cluster.crash()
        return this.#cure(Math.min(forMs, 2000), () => cluster.restart())
      case 'broken configuration':
        host.broken.add(cluster.name)
        return this.#cure(forMs, () => host.broken.delete(cluster.name))
      case 'wall clock jumps':
        host.wallOffsetMs = world.chance.between(-500, 500)
        return
      case 'trap':
        return this.#setTrap(serve, trap, forMs)
    }
  }

  #powerLoss(serve: Serve, forMs: number): void {
    const { host } = serve
    if (host.kernel.dead) return
    host.powerOff()
    this.#cure(forMs, () => {
      host.boot()
      serve.start()
    })
  }

  #stop(proc: Proc | null, forMs: number): void {
    if (proc === null || proc.dead) return
    const { time } = this.world
    time.stop(proc)
    this.#cure(forMs, () => time.goOn(proc))
  }

  #freeze(host: Host, forMs: number): void {
    if (!host.running) return
    const { kernel } = host
    host.freeze()
    this.#cure(forMs, () => {
      if (host.kernel === kernel && !kernel.dead) host.thaw()
    })
  }

  #setTrap(serve: Serve, { nth, on, when, strike, proc: which }: Blow['trap'], forMs: number): void {
    const leading = this.#serves.find(({ instance }) => instance !== null && instance.books !== null) ?? serve
    const at = which === 'leader' ? leading : serve
    const proc = which === 'server' ? at.server : (at.instance?.submitter ?? null)
    if (proc === null || proc.dead) return
    proc.trap = {
      left: nth,
      on,
      when,
      strike: () => {
        if (this.world.healed) return
        this.world.count(`fault: trap: ${strike} ${when} ${on}`)
        this.world.log('FAULT', `trap: ${strike} ${when} an operation (${on}) of ${proc.name}, ${Math.round(forMs)} ms`)
        if (strike === 'kill') proc.die('SIGKILL')
        else if (strike === 'stop') this.#stop(proc, forMs)
        else if (strike === 'power') this.#powerLoss(at, forMs)
        else this.#freeze(at.host, forMs)
      },
    }
  }

  #heal(): void {
    const { world } = this
    world.log('world', 'is healed')
    world.healed = true
    world.files = noFileFaults()
    world.clusterFaults = noClusterFaults()
    for (const cure of [...this.#cures]) cure()
    for (const host of this.#hosts) {
      host.broken.clear()
      for (const proc of host.procs.values()) proc.trap = null
    }
  }

  #drain(): void {
    const { world } = this
    const { time } = world
    const beganMs = time.now
    const untilMs = beganMs + (presenceTorn(world) ? drainTornMsMax : drainMsMax)
    while (world.violation === null && !this.#drained()) {
      if (time.now >= untilMs) {
        const leading = this.#leading()
        const left = leading === null ? 'nobody leads' : `not admitted: ${instancesLeft(world, leading, this.#serves).join(' ') || 'nothing'}`
        const books = this.#serves.map(({ instance, host }) => `${host.name}: ${JSON.stringify(instance?.books?.audit() ?? null)}`).join(', ')
        const { unsettled } = this.judge
        // All that there is was admitted and has its outcome, and these are not among it: they never will be.
        if (unsettled.length > 0 && leading !== null && this.#booksAreDone(leading)) {
          world.violate('accepted: exactly one outcome', `${unsettled.join(' ')} were accepted and are lost; books: ${books}`)
          return
        }
        world.violate('drained in bounded time', `unsettled: ${unsettled.join(' ') || 'none at the clusters'}; ${left}; books: ${books}`)
        return
      }
      time.run(Math.min(untilMs, time.now + 200), () => world.violation !== null)
      if (time.now > beganMs + decideAfterMs) this.#decide()
    }
  }

  /** Where that doesn't take long, all that is finished must go. */
  #awaitRemoval(): void {
    const { world } = this
    const { time } = world
    const { retentionMs } = this.#removals
    if (retentionMs > 1000) return
    const untilMs = time.now + drainMsMax
    while (world.violation === null) {
      const books = this.#leading()
      const left = books === null ? ['nobody leads'] : [...books.finished.instances()]
      if (left.length === 0) return
      if (time.now >= untilMs) world.violate('what is finished is removed in bounded time', left.join(' '))
      else time.run(time.now + 100, () => world.violation !== null)
    }
  }

  /** Writes may be on their way, so a difference must last to count. */
  #compare(): void {
    const { world } = this
    let difference: string | null = null
    for (let attempt = 0; attempt < 120 && world.violation === null; attempt += 1) {
      difference = replayDiffers(world, this.#serves)
      if (difference === null) return
      world.time.run(world.time.now + 25, () => world.violation !== null)
    }
    if (difference !== null) world.violate('replay of the ledger gives the leader’s books', difference)
  }

  /** An operator who knows the truth decides on what nobody else can tell. */
  #decide(): void {
    const { world, judge } = this
    if (world.time.now - this.#decidedAtMs < 3000) return
    const books = this.#leading()
    const doubts = books === null ? [] : jobsInDoubt(books)
    if (doubts.length === 0) return
    this.#decidedAtMs = world.time.now
    for (const as of ['submitted', 'absent'] as const) {
      const jobs = doubts.filter((id) => ((judge.jobs.get(id)?.taken ?? 0) > 0) === (as === 'submitted'))
      if (jobs.length === 0) continue
      world.count('decisions of an operator')
      const id = `decision-${as}-${Math.floor(world.time.now)}`
      world.server.create(`${root}/requests/${id}.json`).write(Buffer.from(`${JSON.stringify({ id, as, jobs, by: 'operator@a', at: '' })}\n`), 0)
    }
  }

  #leading(): Books | null {
    const leaders = this.#serves.flatMap(({ instance }) => instance?.books ?? [])
    return leaders.length === 1 ? leaders[0]! : null
  }

  #drained(): boolean {
    if (this.#producers.some(({ pending }) => pending > 0) || this.judge.unsettled.length > 0) return false
    const books = this.#leading()
    return books !== null && this.#booksAreDone(books)
  }

  #booksAreDone(books: Books): boolean {
    const { waiting, inDoubt } = books.audit()
    return waiting === 0 && inDoubt === 0 && instancesLeft(this.world, books, this.#serves).length === 0
  }
}
