// Stands for election where its clusters can be reached; while it leads it admits and submits what all instances have
// published. It owns the order of the parts and nothing of the process around it: time, chance, the store, the
// kernel's deadline, drivers, messages and the end of the process are handed in, by the submitter and by the simulator alike.
//
// Never: leading without a preflight that passed, submitting without a claim that holds, going on once the claim is lost.

import { sleep } from '../base/clock.ts'
import type { Clock } from '../base/clock.ts'
import { messageOf } from '../base/errors.ts'
import type { SeenIds } from '../base/native.ts'
import type { ChainOptions, ChainState } from '../election/claim-chain.ts'
import { windowMs } from '../election/clock-rate.ts'
import { Elector } from '../election/elector.ts'
import type { Deadline } from '../election/elector.ts'
import type { ProcessIdentity } from '../observe/instance.ts'
import { nudgeAddress } from '../protocol/nudge.ts'
import type { Nudge } from '../protocol/nudge.ts'
import type { Store } from '../store/store.ts'
import type { Books } from './books.ts'
import type { Driver } from './driver.ts'
import type { Published, SegmentContent } from './feeder.ts'
import { Instances } from './instances.ts'
import type { Seen } from './instances.ts'
import { Leadership } from './leadership.ts'
import type { LeadershipOptions } from './leadership.ts'
import type { FromSubmitter, StartMessage } from './messages.ts'
import { readSegment } from './segment-content.ts'

/** How often things are looked at, and how long is waited for them. */
export interface CandidatePace {
  readonly preflightEveryMs: number
  readonly preflightTimeoutMs: number
  readonly preflightRetryMs: number
  readonly clockEveryMs: number
  readonly pollMs: number
  /** Between listings of hosts/. */
  readonly listEveryMs: number
  /** A leader none of whose clusters passes its preflight for this long resigns. */
  readonly resignAfterMs: number
  readonly compaction?: LeadershipOptions['compaction']
}

export const candidatePace: CandidatePace = {
  preflightEveryMs: 15_000,
  preflightTimeoutMs: 20_000,
  preflightRetryMs: 2000,
  clockEveryMs: 1000,
  pollMs: 50,
  listEveryMs: 200,
  resignAfterMs: 30_000,
}

export interface CandidateOptions {
  readonly start: StartMessage
  readonly pid: number
  readonly store: Store
  readonly clock: Clock
  readonly deadline: Deadline
  /** Uniform in [0, 1). */
  readonly random: () => number
  readonly pace: CandidatePace
  readonly createDriver: (cluster: string) => Driver
  readonly createSeenIds: () => SeenIds
  readonly provenDead: (process: ProcessIdentity) => boolean
  /** Why this host's clock is no measure for leases; null: it is one. Asked every second. */
  readonly clockFault: () => string | null
  readonly send: (message: FromSubmitter) => void
  /** The process ends, at once or as soon as what was sent has left it; nothing may be submitted any more. */
  readonly exit: (status: number) => void
  readonly chain?: Partial<ChainOptions>
}

/** Rounds of preflights after which a leader believes that another host can submit to more. */
const outdoneRounds = 2

/** Why a cluster takes no jobs from this host. */
interface Failure {
  readonly kind: 'refused' | 'unreachable'
  readonly reason: string
}

export class Candidate {
  readonly #options: CandidateOptions
  readonly #start: StartMessage
  readonly #drivers = new Map<string, Driver>()
  readonly #elector: Elector
  #leadership: Leadership | null = null
  #leading: Promise<void> | null = null
  #instances: Instances | null = null
  #published: number
  /** At the other instances. */
  #lookedAtMs = Number.NEGATIVE_INFINITY
  readonly #adopted = new Map<string, number>()
  readonly #asked = new Set<string>()
  /** Of each cluster what its newest preflight said, if that failed: in the middle of a round, too. */
  readonly #failing = new Map<string, Failure>()
  /** Clusters whose preflight passed in the last round. */
  #passing: readonly string[] = []
  /** Rounds in a row in which another host could submit to more. */
  #outdone = 0
  #yieldedMs = Number.NEGATIVE_INFINITY
  #resigning = false
  #clockFault: string | null = null

  constructor(options: CandidateOptions) {
    const { start, clock, chain } = options
    this.#options = options
    this.#start = start
    this.#published = start.published
    this.#elector = new Elector({
      store: options.store,
      instance: start.by.instance,
      host: start.by.host,
      address: start.address,
      leaseMs: start.leaseMs,
      clock: () => clock.nowMs(),
      timer: { set: (work, ms) => clock.after(ms, work), clear: (cancel) => (cancel as (() => void) | null)?.() },
      deadline: options.deadline,
      drain: () => this.#stopLeading(),
      announce: () => this.#announce(),
      log: (message, details) => this.#log('warn', message, { ...details, error: undefined }),
      chain: { random: options.random, ...chain },
    })
    this.#elector.on('leading', ({ term, validUntil }) => this.#lead(term, validUntil))
    this.#elector.on('following', ({ leader, term }) => {
      this.#tellRole(term)
      this.#options.send({ type: 'leader', address: leader === null ? null : nudgeAddress(leader.host, leader.address) })
    })
    this.#elector.on('lost', ({ reason }) => {
      this.#log('warn', `no longer leading: ${reason}`)
      this.#options.exit(75)
    })
  }

  start(): void {
    this.#elector.start()
    void this.#keepEligible()
    void this.#watchClock()
  }

  get state(): ChainState {
    return this.#elector.state
  }

  /** What the ledger adds up to, while it leads; null: it doesn't. */
  get books(): Books | null {
    return this.#leadership?.books ?? null
  }

  get tallies(): Leadership['tallies'] {
    return this.#leadership?.tallies ?? {}
  }

  published(number: number): void {
    this.#published = number
    this.#leadership?.wake()
  }

  adopted(instance: string, last: number): void {
    this.#adopted.set(instance, last)
    this.#leadership?.wake()
  }

  /** Somebody says that there is something new. */
  look(nudge: Nudge): void {
    if (nudge === 'claims') this.#elector.hint()
    else this.#leadership?.wake()
  }

  /** Drains, resigns, ends. */
  async resign(): Promise<void> {
    await this.#leadership?.handOver()
    this.#resigning = true
    await this.#elector.resign('the instance is shutting down')
    await this.#elector.stop()
    await Promise.all([...this.#drivers.values()].map((driver) => driver.close()))
    this.#options.send({ type: 'resigned' })
    this.#options.exit(0)
  }

  #log(level: 'info' | 'warn' | 'error', message: string, details: Record<string, unknown> = {}): void {
    this.#options.send({ type: 'log', level, message, details })
  }

  /** There is a resignation among the claims: those who follow may look now. As a leader it knew where they listen. */
  #announce(): void {
    const seen = [...(this.#instances?.seen.values() ?? [])]
    const addresses = seen.map(({ presence, gone }) => (presence === null || gone !== null ? null : nudgeAddress(presence.host, presence.listen)))
    this.#options.send({ type: 'announce', addresses: addresses.filter((address) => address !== null) })
  }

  #tellRole(term: number | null, why?: string): void {
    const { eligible, reason: known } = this.#elector.eligibility
    const reason = why ?? (eligible || known !== '' ? known : 'its clusters and its clock are being tried')
    const { state } = this.#elector
    const role = state.role === 'leader' ? 'leader' : eligible ? 'follower' : 'ineligible'
    this.#options.send({ type: 'role', role, term: state.role === 'leader' ? state.term : term, eligible, reason, clusters: this.#passing })
  }

  /** A clock at a wrong rate may not count leases, whatever the clusters say: a leader resigns at once. */
  async #watchClock(): Promise<void> {
    const { clock, pace } = this.#options
    while (!this.#resigning) {
      await sleep(clock, pace.clockEveryMs)
      const fault = this.#lookAtClock()
      // That it may stand again is for the next preflight to say.
      if (fault !== null && this.#elector.eligibility.eligible) await this.#setEligible(false, fault)
    }
  }

  #lookAtClock(): string | null {
    const fault = this.#options.clockFault()
    if (fault !== null && this.#clockFault === null) this.#log('warn', fault)
    if (fault === null && this.#clockFault !== null) this.#log('info', "this host's clock goes right again")
    this.#clockFault = fault
    return fault
  }

  async #setEligible(eligible: boolean, reason: string): Promise<void> {
    await this.#elector.setEligible(eligible, reason)
    this.#tellRole(this.#elector.state.role === 'follower' ? (this.#elector.state.leader?.term ?? null) : null)
  }

  /** Stands for election only while at least one cluster takes jobs from this host. */
  async #keepEligible(): Promise<void> {
    const { clock, pace } = this.#options
    let complaint = ''
    let lastEligibleMs = clock.nowMs()
    const measured = sleep(clock, windowMs)
    while (!this.#resigning) {
      const failing = this.#failing
      const clusters = Object.keys(this.#start.clusters)
      for (const cluster of clusters) {
        let driver = this.#drivers.get(cluster)
        if (driver === undefined) {
          driver = this.#options.createDriver(cluster)
          this.#drivers.set(cluster, driver)
        }
        const failure = await this.#preflight(driver)
        if (failure === null) failing.delete(cluster)
        else failing.set(cluster, failure)
        this.#leadership?.holdCluster(cluster, failure?.reason ?? null)
      }
      this.#passing = clusters.filter((cluster) => !failing.has(cluster))
      const reasons = clusters.flatMap((cluster) => (failing.has(cluster) ? [`cluster ${cluster}: ${failing.get(cluster)!.reason}`] : []))
      // Before it stands for the first time its clock has been measured.
      await measured
      const clockFault = this.#lookAtClock()
      const reason = reasons.join('; ')
      if (reason !== complaint && reason !== '') this.#log('warn', `preflight failed: ${reason}`)
      if (reason === '' && complaint !== '') this.#log('info', 'preflight passes again')
      complaint = reason
      const eligible = reasons.length < clusters.length
      if (eligible) lastEligibleMs = clock.nowMs()
      // A leader whose clusters are away for a moment goes on asking; one that they refuse makes room at once for a host that
      // can submit, and one without such a host, or that can't reach them, after a while.
      const refused = [...failing.values()].every(({ kind }) => kind === 'refused')
      const patient =
        !eligible &&
        this.#leadership !== null &&
        clock.nowMs() - lastEligibleMs < pace.resignAfterMs &&
        !(refused && this.#anotherIsEligible())
      if (this.#resigning) return
      if (clockFault !== null) await this.#setEligible(false, [clockFault, ...reasons].join('; '))
      else if (patient) this.#tellRole(null, reason)
      else {
        await this.#setEligible(eligible, reason)
        await this.#makeRoom()
      }
      await sleep(clock, reasons.length > 0 ? pace.preflightRetryMs : pace.preflightEveryMs)
    }
  }

  /**
   * A leader that lacks a cluster resigns in favour of a host that can submit to all of its own and more: jobs for it would wait
   * for ever otherwise. Only to one that can do strictly more, seen so twice and once a while, so that two never take turns.
   */
  async #makeRoom(): Promise<void> {
    const { clock, pace } = this.#options
    const leads = this.#leadership !== null && this.#elector.state.role === 'leader'
    const better = leads && this.#failing.size > 0 ? [...(this.#instances?.seen.values() ?? [])].find((other) => this.#isOutdoneBy(other)) : undefined
    this.#outdone = better === undefined ? 0 : this.#outdone + 1
    if (better === undefined || this.#outdone < outdoneRounds || clock.nowMs() - this.#yieldedMs < pace.resignAfterMs || this.#resigning) return
    this.#yieldedMs = clock.nowMs()
    this.#outdone = 0
    const reason = `makes room for ${better.presence?.host ?? 'another host'}, which can submit to ${better.presence?.clusters.join(', ') ?? 'more'}`
    this.#log('info', `${this.#start.by.host} ${reason}`)
    // The next round stands again: should the other not lead by then, this host does.
    await this.#elector.setEligible(false, reason)
    this.#tellRole(null)
  }

  #isOutdoneBy({ gone, presence }: Seen): boolean {
    if (gone !== null || presence?.eligible !== true) return false
    const theirs = new Set(presence.clusters)
    return this.#passing.every((cluster) => theirs.has(cluster)) && [...this.#failing.keys()].some((cluster) => theirs.has(cluster))
  }

  /** Whether a host that lives says that it may lead. */
  #anotherIsEligible(): boolean {
    return [...(this.#instances?.seen.values() ?? [])].some(({ gone, presence }) => gone === null && presence?.eligible === true)
  }

  /** Why this host can't submit there; null: it can. */
  async #preflight(driver: Driver): Promise<Failure | null> {
    const { clock, pace } = this.#options
    const timeout = new AbortController()
    const cancel = clock.after(pace.preflightTimeoutMs, () => {
      timeout.abort(new Error(`no answer within ${pace.preflightTimeoutMs} ms`))
    })
    try {
      const result = await driver.preflight(timeout.signal)
      return result.ok ? null : result
    } catch (error) {
      return { kind: 'unreachable', reason: messageOf(error) }
    } finally {
      cancel()
    }
  }

  #lead(term: number, validUntil: () => number): void {
    const { by, storeUuid, windowBytesMax, retryMinMs, retryMaxMs, retentionMs, acceptLeaseMs, leaseMs } = this.#start
    const { store, clock, random, pace, pid, createSeenIds, provenDead } = this.#options
    const leadership = new Leadership({
      store,
      storeUuid,
      term,
      by: { ...by, pid },
      drivers: this.#drivers,
      clock,
      random,
      createSeenIds,
      retentionMs,
      windowBytesMax,
      retryMinMs,
      retryMaxMs,
      pollMs: pace.pollMs,
      compaction: pace.compaction,
      mayAct: () => clock.nowMs() < validUntil(),
      published: (books) => this.#publishedOf(books),
      read: (instance, number, jobs) => this.#read(instance, number, jobs),
      log: (level, message, details) => this.#log(level, message, details),
    })
    this.#instances = new Instances({
      store,
      clock,
      own: by.instance,
      acceptLeaseMs,
      leaseMs,
      listEveryMs: pace.listEveryMs,
      finished: (instance) => leadership.books.gone.has(instance),
      provenDead,
    })
    this.#leadership = leadership
    for (const [cluster, { reason }] of this.#failing) leadership.holdCluster(cluster, reason)
    this.#tellRole(term)
    this.#options.send({ type: 'leader', address: null })
    this.#leading = leadership.run()
    this.#leading.catch((error: unknown) => {
      this.#log('error', `term ${term} ends: ${messageOf(error)}`)
      // The claim stays: whoever follows waits for its lease, and then reads a ledger that nobody writes any more.
      this.#options.exit(75)
    })
  }

  async #stopLeading(): Promise<void> {
    await this.#leadership?.resign()
    await this.#leading
    this.#leadership = null
  }

  async #publishedOf(books: Books): Promise<Published[]> {
    const { clock, pace } = this.#options
    const own = this.#start.by.instance
    const all: Published[] = [{ instance: own, number: this.#published, last: false }]
    // What this host has just published waits for no look at the others, who are looked at as often as ever.
    if (this.#published > (books.cursors.get(own) ?? 0) && clock.nowMs() - this.#lookedAtMs < pace.pollMs) return all
    this.#lookedAtMs = clock.nowMs()
    for (const [instance, { presence, gone }] of await this.#instances!.look()) {
      if (gone === null) {
        if (presence !== null) all.push({ instance, number: presence.published, last: false })
        continue
      }
      const last = this.#adopted.get(instance)
      if (last !== undefined) all.push({ instance, number: last, last: true })
      else {
        this.#adopt(instance, gone)
        // What it had finished itself needs no adoption.
        const published = presence?.published ?? 0
        if (published > (books.cursors.get(instance) ?? 0)) all.push({ instance, number: published, last: false })
      }
    }
    return all
  }

  #adopt(instance: string, why: string): void {
    if (this.#asked.has(instance)) return
    this.#asked.add(instance)
    this.#options.send({ type: 'adopt', instance, why, from: this.#leadership?.books.firstKept(instance) ?? 1 })
  }

  async #read(instance: string, number: number, jobs?: number): Promise<SegmentContent> {
    const own = this.#start.by.instance
    const content = await readSegment(this.#options.store, own, instance, number, jobs)
    // Admitted in an earlier term from the JSON of another adopter that is there no more: made anew here.
    if (content.kind === 'missing' && this.#instances !== null && instance !== own) {
      const seen = (await this.#instances.look()).get(instance)
      if (seen === undefined || seen.gone !== null) this.#adopt(instance, seen?.gone ?? 'it was adopted in an earlier term')
    }
    return content
  }
}
