// The submitter: a process of its own, one for each instance, whose life is bounded by its lease. It stands for
// election where its clusters can be reached; while it leads it admits and submits; deposed, it dies and is
// started again as a follower. On every claim the kernel is told to kill it at the lease's end, so nothing that
// stops or delays it lets it submit after another may lead.
//
// Started by SubmitterProcess (fork); ends when its parent does.

import { systemClock, sleep } from '../base/clock.ts'
import { messageOf } from '../base/errors.ts'
import { native } from '../base/native.ts'
import { Elector } from '../election/elector.ts'
import { DirectoryStore } from '../store/directory-store.ts'
import { adoptedName, segmentName } from '../store/layout.ts'
import { isMissing } from '../store/store-error.ts'
import type { Store } from '../store/store.ts'
import type { Books } from './books.ts'
import type { Driver } from './driver.ts'
import { createDriver } from './drivers/registry.ts'
import type { Published, SegmentContent } from './feeder.ts'
import { Instances } from './instances.ts'
import { Leadership } from './leadership.ts'
import type { FromSubmitter, StartMessage, ToSubmitter } from './messages.ts'

const preflightEveryMs = 15_000
const preflightTimeoutMs = 20_000
const preflightRetryMs = 2000
const pollMs = 50
/** A leader none of whose clusters passes its preflight for this long resigns. */
const resignAfterMs = 30_000

const send = (message: FromSubmitter): void => {
  if (process.connected) process.send?.(message)
}

const log = (level: 'debug' | 'info' | 'warn' | 'error', message: string, details: Record<string, unknown> = {}): void =>
  send({ type: 'log', level, message, details })

/** Flushes what was sent to the parent, then ends. */
const exit = (status: number): void => {
  if (!process.connected || process.send === undefined) process.exit(status)
  process.send({ type: 'log', level: 'debug', message: `submitter ends with status ${status}`, details: {} } satisfies FromSubmitter, () => process.exit(status))
}

class Submitter {
  readonly #start: StartMessage
  readonly #store: Store
  readonly #drivers = new Map<string, Driver>()
  readonly #elector: Elector
  #leadership: Leadership | null = null
  #leading: Promise<void> | null = null
  #instances: Instances | null = null
  #published: number
  readonly #adopted = new Map<string, number>()
  readonly #asked = new Set<string>()
  #failing: ReadonlyMap<string, string> = new Map()
  #resigning = false

  constructor(start: StartMessage) {
    this.#start = start
    this.#store = new DirectoryStore(start.directory)
    this.#published = start.published
    this.#elector = new Elector({
      store: this.#store,
      instance: start.by.instance,
      host: start.by.host,
      address: start.address,
      leaseMs: start.leaseMs,
      clock: () => native.bootMs(),
      deadline: { arm: (atMs) => native.armDeadline(atMs), disarm: () => native.disarmDeadline() },
      drain: () => this.#stopLeading(),
      log: (message, details) => log('warn', message, { ...details, error: undefined }),
    })
    this.#elector.on('leading', ({ term, validUntil }) => this.#lead(term, validUntil))
    this.#elector.on('following', ({ term }) => this.#tellRole(term))
    this.#elector.on('lost', ({ reason }) => {
      log('warn', `no longer leading: ${reason}`)
      exit(75)
    })
  }

  start(): void {
    this.#elector.start()
    void this.#keepEligible()
  }

  published(number: number): void {
    this.#published = number
    this.#leadership?.wake()
  }

  adopted(instance: string, last: number): void {
    this.#adopted.set(instance, last)
    this.#leadership?.wake()
  }

  /** Drains, resigns, ends. */
  async resign(): Promise<void> {
    this.#resigning = true
    await this.#elector.resign('the instance is shutting down')
    await this.#elector.stop()
    await Promise.all([...this.#drivers.values()].map((driver) => driver.close()))
    send({ type: 'resigned' })
    exit(0)
  }

  #tellRole(term: number | null): void {
    const { eligible, reason } = this.#elector.eligibility
    const { state } = this.#elector
    const role = state.role === 'leader' ? 'leader' : eligible ? 'follower' : 'ineligible'
    send({ type: 'role', role, term: state.role === 'leader' ? state.term : term, eligible, reason })
  }

  /** Stands for election only while at least one cluster takes jobs from this host. */
  async #keepEligible(): Promise<void> {
    let complaint = ''
    let lastEligibleMs = systemClock.nowMs()
    while (!this.#resigning) {
      const reasons: string[] = []
      const failing = new Map<string, string>()
      for (const [cluster, config] of Object.entries(this.#start.clusters)) {
        let driver = this.#drivers.get(cluster)
        if (driver === undefined) {
          driver = createDriver(config, { cluster, storeDirectory: this.#start.directory, host: this.#start.by.host, log })
          this.#drivers.set(cluster, driver)
        }
        try {
          const result = await driver.preflight(AbortSignal.timeout(preflightTimeoutMs))
          if (!result.ok) failing.set(cluster, result.reason)
        } catch (error) {
          failing.set(cluster, messageOf(error))
        }
        this.#leadership?.holdCluster(cluster, failing.get(cluster) ?? null)
      }
      this.#failing = failing
      for (const [cluster, why] of failing) reasons.push(`cluster ${cluster}: ${why}`)
      const reason = reasons.join('; ')
      if (reason !== complaint && reason !== '') log('warn', `preflight failed: ${reason}`)
      if (reason === '' && complaint !== '') log('info', 'preflight passes again')
      complaint = reason
      const eligible = reasons.length < Object.keys(this.#start.clusters).length
      if (eligible) lastEligibleMs = systemClock.nowMs()
      // A leader whose clusters are away for a moment goes on asking; one that can't submit makes room for others.
      const patient = this.#leadership !== null && systemClock.nowMs() - lastEligibleMs < resignAfterMs
      if (!this.#resigning && (eligible || !patient)) {
        await this.#elector.setEligible(eligible, reason)
        this.#tellRole(this.#elector.state.role === 'follower' ? (this.#elector.state.leader?.term ?? null) : null)
      }
      await sleep(systemClock, reasons.length > 0 ? preflightRetryMs : preflightEveryMs)
    }
  }

  #lead(term: number, validUntil: () => number): void {
    const { by, storeUuid, windowBytesMax, retryMinMs, retryMaxMs, acceptLeaseMs, leaseMs } = this.#start
    const leadership = new Leadership({
      store: this.#store,
      storeUuid,
      term,
      by: { ...by, pid: process.pid },
      drivers: this.#drivers,
      clock: systemClock,
      random: Math.random,
      windowBytesMax,
      retryMinMs,
      retryMaxMs,
      pollMs,
      mayAct: () => native.bootMs() < validUntil(),
      published: (books) => this.#publishedOf(books),
      read: (instance, number) => this.#read(instance, number),
      log,
    })
    this.#instances = new Instances({
      store: this.#store,
      clock: systemClock,
      own: by.instance,
      acceptLeaseMs,
      leaseMs,
      listEveryMs: 200,
      finished: (instance) => leadership.books.gone.has(instance),
    })
    this.#leadership = leadership
    for (const [cluster, reason] of this.#failing) leadership.holdCluster(cluster, reason)
    this.#tellRole(term)
    this.#leading = leadership.run()
    this.#leading.catch((error: unknown) => {
      log('error', `term ${term} ends: ${messageOf(error)}`)
      // The claim stays: whoever follows waits for its lease, and then reads a ledger that nobody writes any more.
      exit(75)
    })
  }

  async #stopLeading(): Promise<void> {
    await this.#leadership?.resign()
    await this.#leading
    this.#leadership = null
  }

  async #publishedOf(books: Books): Promise<Published[]> {
    const own = this.#start.by.instance
    const all: Published[] = [{ instance: own, number: this.#published, last: false }]
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
    send({ type: 'adopt', instance, why })
  }

  async #read(instance: string, number: number): Promise<SegmentContent> {
    const own = this.#start.by.instance
    // What presence says is published is there under one of two names, and neither was looked up before: so no NFS client
    // can hold it for absent. What only an adopter has isn't there, and never will be.
    const places = [(kind: 'jsonl' | 'aside') => segmentName(instance, number, kind)]
    if (instance !== own) places.push((kind) => adoptedName(own, instance, number, kind))
    for (const name of places) {
      const lines = await this.#readIfThere(name('jsonl'))
      if (lines !== null) return { kind: 'lines', bytes: lines }
      const aside = await this.#readIfThere(name('aside'))
      if (aside === null) continue
      const { code, reason, jobs } = JSON.parse(aside.toString('utf8')) as { code: string; reason: string; jobs: number | null }
      return { kind: 'aside', reason: `${code}: ${reason}`, jobs: jobs ?? 0 }
    }
    // Admitted in an earlier term from the JSON of another adopter: made anew here.
    if (this.#instances !== null && instance !== own) {
      const seen = (await this.#instances.look()).get(instance)
      if (seen === undefined || seen.gone !== null) this.#adopt(instance, seen?.gone ?? 'it was adopted in an earlier term')
    }
    return { kind: 'missing' }
  }

  async #readIfThere(name: string): Promise<Buffer | null> {
    try {
      return await this.#store.read(name)
    } catch (error) {
      if (isMissing(error)) return null
      throw error
    }
  }
}

let submitter: Submitter | null = null

process.on('message', (message: ToSubmitter) => {
  switch (message.type) {
    case 'start':
      submitter = new Submitter(message)
      submitter.start()
      return
    case 'published':
      submitter?.published(message.number)
      return
    case 'adopted':
      submitter?.adopted(message.instance, message.last)
      return
    case 'resign':
      submitter?.resign().catch((error: unknown) => {
        log('error', `can't resign: ${messageOf(error)}`)
        exit(75)
      })
      return
  }
})

// Without its parent nobody tells the store that this instance lives.
process.on('disconnect', () => process.exit(75))
// A terminal's Ctrl-C goes to the whole group: the parent decides when the submitter resigns.
process.on('SIGINT', () => undefined)
process.on('SIGTERM', () => undefined)
process.on('uncaughtException', (error) => {
  log('error', `a bug ends the submitter: ${error.stack ?? messageOf(error)}`)
  exit(70)
})
