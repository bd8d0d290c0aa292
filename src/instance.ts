// One life of an instance: from its first presence to its last. It appears on the store first; only when this host may
// work there it opens: builds the stages in the order a job passes them, and stops them in reverse:
//
//   listener → addon (decode, XML, commit) → transform → published → submitter process
//
// An instance whose accept lease ran out retires: it never acknowledges anything again, and the app starts another.

import { randomBytes } from 'node:crypto'
import { sleep, systemClock } from './base/clock.ts'
import { type Code, messageOf } from './base/errors.ts'
import type { Ingest, IngestEvents, IngestStats } from './base/native.ts'
import type { Config } from './config/table.ts'
import { version } from './config/version.ts'
import { lookAtInstances, reachableAddress } from './hosts/present.ts'
import { Nudges } from './ingest/nudges.ts'
import { openIngest } from './ingest/open-ingest.ts'
import { PresenceKeeper } from './ingest/presence-keeper.ts'
import { IngestServer } from './ingest/server.ts'
import { Journal } from './observe/journal.ts'
import { type InstancePresence, ownProcess, ownUser, type Role } from './observe/instance.ts'
import type { Logger } from './observe/log.ts'
import type { Identity } from './store/identity.ts'
import { formatSegment, journalName, mintInstance, presenceName, segmentName, segmentsDirectory } from './store/layout.ts'
import type { Store } from './store/store.ts'
import type { LeaderBooks } from './submit/messages.ts'
import { SubmitterProcess } from './submit/submitter-process.ts'
import { Adopter } from './transform/adopter.ts'
import { PublishedNumber } from './transform/published-number.ts'
import { Transformer } from './transform/transformer.ts'

export interface InstanceOptions {
  readonly config: Config
  readonly store: Store
  readonly identity: Identity
  readonly log: Logger
  /** Told how long each segment took to become JSON. */
  readonly onTransformed?: ((ms: number) => void) | undefined
}

/** Why an instance must end; in words too. After `retired` and `refused` another may go on. */
export interface Ending {
  readonly why: 'stopped' | 'refused' | 'retired' | 'wrongStore'
  readonly reason: string
}

const drainProducersMs = 3000
const resignMs = 15_000
const settleMs = 15_000
const lookMs = 1500
const presenceEveryMsMax = 500

export const mintInstanceName = (host: string): string => mintInstance(host, new Date(), randomBytes(3).toString('hex'))

export class Instance {
  readonly name: string
  readonly #options: InstanceOptions
  readonly #published = new PublishedNumber()
  readonly #transforming = new Set<Promise<void>>()
  // Made by start(), in this order.
  #journal!: Journal
  #transformer!: Transformer
  #adopter!: Adopter
  #ingest!: Ingest
  #server!: IngestServer
  #presence!: PresenceKeeper
  #nudges!: Nudges
  #submitter: SubmitterProcess | null = null
  #tellEnd: (ending: Ending) => void = () => undefined
  readonly #ending = new Promise<Ending>((resolve) => (this.#tellEnd = resolve))
  #stopping = false
  #appeared = false
  #opened = false
  #accepted = 0
  #books: LeaderBooks | null = null
  /** Why this host may neither accept nor lead; null: it may. */
  #refusal: string | null = null
  #wake: () => void = () => undefined
  /** Why it doesn't accept, and why it doesn't lead: said together. */
  #notAccepting = ''
  #notEligible = 'starting'

  constructor(name: string, options: InstanceOptions) {
    this.name = name
    this.#options = options
  }

  get accepted(): number {
    return this.#accepted
  }

  /** What it says of itself, and counts; null: it hasn't appeared, or the addon is about to go. */
  get presence(): Omit<InstancePresence, 'beat' | 'at'> | null {
    return this.#appeared ? this.#presence.value : null
  }
  get stats(): IngestStats | null {
    return this.#appeared && !this.#stopping ? this.#ingest.stats() : null
  }
  /** While it leads and has said so. */
  get books(): LeaderBooks | null {
    return this.presence?.role === 'leader' && this.presence.term === this.#books?.term ? this.#books : null
  }

  /** Resolves when the instance must end, or the signal is given. */
  async ended(signal: AbortSignal): Promise<Ending> {
    const stopped: Ending = { why: 'stopped', reason: 'shutting down' }
    if (signal.aborted) return stopped
    const stop = (): void => this.#tellEnd(stopped)
    signal.addEventListener('abort', stop, { once: true })
    return this.#ending.finally(() => signal.removeEventListener('abort', stop))
  }

  /** Shows itself on the store, neither accepting nor standing for election. */
  async appear(refusal: string | null): Promise<void> {
    const { config, store, identity, log } = this.#options
    this.#refusal = refusal
    // From here on others see the instance, and count its silence.
    const bornMs = systemClock.nowMs()
    await store.makeDirectory(segmentsDirectory(this.name))
    const by = { host: config.host, instance: this.name, pid: process.pid, version, config: config.digest }
    const journal = await store.createAppender(journalName(this.name))
    this.#journal = new Journal(journal, by, (error) => log.warn(`the journal can't be written: ${messageOf(error)}`))
    this.#journal.add({ step: 'started' })
    this.#transformer = new Transformer({
      store,
      directory: config.store,
      threads: config.transform.threads,
      directIo: config.segments.directIo,
      clock: systemClock,
      by,
      log: (level, message, details) => log[level](details ?? {}, message),
    })
    this.#adopter = new Adopter({
      store,
      instance: this.name,
      transformer: this.#transformer,
      onTransformed: (segment, result) => this.#journal.add({ step: result.kind === 'done' ? 'transformed' : 'aside', segment, jobs: result.jobs, detail: 'adopted' }),
    })
    this.#ingest = openIngest(config, identity.uuid, this.name, (events) => this.#hear(events))
    this.#server = this.#createServer()
    this.#nudges = new Nudges({
      storeUuid: identity.uuid,
      clock: systemClock,
      onNudge: (nudge) => this.#submitter?.look(nudge),
      log: (level, message) => log[level](message),
    })
    this.#presence = new PresenceKeeper({
      store,
      uuid: identity.uuid,
      presence: await store.openPresence(presenceName(this.name)),
      clock: systemClock,
      everyMs: Math.min(presenceEveryMsMax, config.acceptLeaseMs / 4),
      initial: {
        instance: this.name,
        host: config.host,
        user: ownUser(),
        ...ownProcess(),
        version,
        config: config.digest,
        term: null,
        eligible: false,
        accepting: false,
        clusters: [],
        ...shownRefusal(refusal),
        acceptLeaseMs: config.acceptLeaseMs,
        listen: '',
        started: new Date().toISOString(),
        published: 0,
      },
      onWritten: (beganMs, { published }) => {
        this.#ingest.presenceWritten(beganMs)
        this.#nudges.published(published)
      },
      acceptLeaseMs: config.acceptLeaseMs,
      onLapsed: (apartMs) => this.#end('retired', `presence could not be written for ${Math.round(apartMs)} ms`),
      onWrongStore: (error) => this.#end('wrongStore', error.message),
      log: (level, message) => log[level](message),
    })
    await this.#presence.start(bornMs)
    this.#appeared = true
    // What was said meanwhile.
    if (this.#refusal !== refusal) this.#presence.update(shownRefusal(this.#refusal))
  }

  /** Whether this host may accept and lead: null, or why not. One that has opened ends when it may no more. */
  refuse(refusal: string | null): void {
    this.#refusal = refusal
    this.#wake()
    if (this.#opened) {
      if (refusal !== null) this.#end('refused', refusal)
    } else if (this.#appeared && !this.#stopping) this.#presence.update(shownRefusal(refusal))
  }

  /** Resolves with null once this host may accept and lead, or with why the instance must end instead. */
  async allowed(signal: AbortSignal): Promise<Ending | null> {
    while (this.#refusal !== null) {
      const woken = new Promise<null>((resolve) => (this.#wake = () => resolve(null)))
      const ending = await Promise.race([woken, this.ended(signal)])
      if (ending !== null) return ending
    }
    return null
  }

  /** Resolves with the address on which it accepts jobs; from here on it stands for election, too. */
  async open(): Promise<string> {
    this.#opened = true
    if (this.#refusal !== null) this.#end('refused', this.#refusal)
    const address = await this.#server.listen()
    this.#presence.update({ listen: address, accepting: true })
    await this.#nudges.open(address)
    this.#submitter = this.#createSubmitter(address)
    this.#submitter.start()
    return address
  }

  /**
   * Stops accepting, makes everything it accepted ready for submission, resigns, and says that it ended. A host that may
   * not lead any more resigns first.
   */
  async stop(why: Ending = { why: 'stopped', reason: 'shutting down' }): Promise<void> {
    const { log } = this.#options
    this.#stopping = true
    this.#presence.update({ role: 'draining', accepting: false, eligible: false, clusters: [], reason: why.reason })
    const refused = why.why === 'refused'
    const resigned = refused ? this.#submitter?.resign(resignMs) : undefined
    if (this.#opened) {
      const said = refused ? 'this host takes no jobs now' : 'this host is shutting down'
      await this.#server.goodbye('draining', said, await this.#otherAddresses(), drainProducersMs)
    }
    await new Promise<void>((resolve) => this.#ingest.stop(resolve))
    // A store that is full or away must not keep it from ending: what is left is adopted.
    const settled = await Promise.race([this.#settled().then(() => true), sleep(systemClock, settleMs).then(() => false)])
    if (!settled) log.warn(`segments could not be transformed within ${settleMs} ms: they are left to be adopted`)
    await (resigned ?? this.#submitter?.resign(resignMs))
    await this.#nudges.close()
    await this.#transformer.close()
    this.#journal.add({ step: 'ended', ...(refused ? { detail: why.reason } : {}) })
    // Nothing hangs on it; it may fail on the store that is the reason to stop.
    await this.#journal.close().catch((error: unknown) => log.warn(`stopping: ${messageOf(error)}`))
    if (!settled) {
      await this.#presence.halt()
      return
    }
    await this.#presence.stop({ role: 'ended', accepting: false, eligible: false, reason: 'ended', term: null, published: this.#published.value })
  }

  /** After retirement, or a start that failed: nothing of it may be trusted to reach the store, so nothing is waited for. */
  async abandon(code: Code, reason: string): Promise<void> {
    this.#stopping = true
    this.#submitter?.kill()
    // A start that failed has made only the first of them.
    const made: Made = { server: this.#server, ingest: this.#ingest, transformer: this.#transformer, journal: this.#journal, presence: this.#presence, nudges: this.#nudges }
    if (this.#opened) await made.server?.goodbye(code, reason, [], 500)
    const { ingest } = made
    if (ingest !== undefined) await new Promise<void>((resolve) => ingest.stop(resolve))
    await made.transformer?.close()
    await made.nudges?.close()
    made.journal?.add({ step: 'retired', detail: reason })
    // Closing may fail on the store that made it retire; there is nothing more to lose then.
    for (const close of [() => made.presence?.halt(), () => made.journal?.close()]) {
      await close()?.catch((error: unknown) => this.#options.log.warn(`retiring: ${messageOf(error)}`))
    }
  }

  /** Where producers may go on: instances that accept jobs now. None where the store doesn't say so in time. */
  async #otherAddresses(): Promise<string[]> {
    const looking = lookAtInstances(this.#options.store).catch((error: unknown) => {
      this.#options.log.warn(`no other host can be named to producers: ${messageOf(error)}`)
      return []
    })
    const looked = await Promise.race([looking, sleep(systemClock, lookMs).then(() => [])])
    const own = { ...ownProcess(), host: this.#options.config.host }
    return looked.flatMap(({ instance, presence, alive }) =>
      alive && instance !== this.name && presence?.accepting === true ? reachableAddress(presence, own) : [],
    )
  }

  get #reason(): string {
    return [this.#notAccepting, this.#notEligible].filter((reason) => reason !== '').join('; ')
  }

  async #settled(): Promise<void> {
    while (this.#transforming.size > 0) await Promise.all(this.#transforming)
  }

  #end(why: 'refused' | 'retired' | 'wrongStore', reason: string): void {
    if (!this.#stopping) this.#tellEnd({ why, reason })
  }

  #createServer(): IngestServer {
    const { config, log } = this.#options
    return new IngestServer(this.#ingest, {
      listen: config.listen,
      log: (level, message, details) => log[level](details ?? {}, message),
    })
  }

  #createSubmitter(address: string): SubmitterProcess {
    const { config, identity, log } = this.#options
    return new SubmitterProcess({
      start: () => ({
        type: 'start',
        directory: config.store,
        storeUuid: identity.uuid,
        by: { host: config.host, instance: this.name, version, config: config.digest },
        address,
        leaseMs: config.leaseMs,
        acceptLeaseMs: config.acceptLeaseMs,
        clusters: config.clusters,
        windowBytesMax: config.submit.windowBytesMax,
        retryMinMs: config.submit.retryMinMs,
        retryMaxMs: config.submit.retryMaxMs,
        retentionMs: config.retentionMs,
        published: this.#published.value,
      }),
      onRole: ({ role, term, eligible, reason, clusters }) => {
        if (this.#stopping) return
        const { value } = this.#presence
        if (value.role === role && value.term === term && value.eligible === eligible && this.#notEligible === reason && String(value.clusters) === String(clusters)) return
        this.#notEligible = reason
        this.#presence.update({ role, term, eligible, clusters, reason: this.#reason })
      },
      onAdopt: (instance, why, from) => void this.#adopt(instance, why, from),
      onLeader: (leader) => this.#nudges.leader(leader),
      onAnnounce: (addresses) => this.#nudges.send('claims', addresses),
      onBooks: (books) => (this.#books = books),
      onDeath: () => {
        if (this.#stopping) return
        this.#notEligible = 'the submitter is being started again'
        this.#presence.update({ role: 'starting', term: null, eligible: false, clusters: [], reason: this.#reason })
      },
      log: (level, message, details) => log[level](details ?? {}, message),
    })
  }

  async #adopt(instance: string, why: string, from: number): Promise<void> {
    const { log } = this.#options
    log.info(`adopting the segments of ${instance}: ${why}`)
    for (let attempt = 0; !this.#stopping; attempt += 1) {
      try {
        const last = await this.#adopter.adopt(instance, from)
        if (last === null) return
        this.#journal.add({ step: 'adopted', detail: `${instance} up to segment ${last}: ${why}` })
        this.#submitter?.adopted(instance, last)
        return
      } catch (error) {
        if (attempt === 0) log.warn(`${instance} can't be adopted now: ${messageOf(error)}`)
        await new Promise((resolve) => setTimeout(resolve, 1000))
      }
    }
  }

  #hear(events: IngestEvents): void {
    const { log } = this.#options
    this.#accepted += events.accepted
    this.#server.deliver(events)
    for (const { segment, jobs } of events.published) {
      this.#journal.add({ step: 'published', segment: formatSegment(this.name, segment), jobs })
      this.#transform(segment, false)
    }
    // What was acknowledged before the failure is in the whole commits of the unfinished file.
    for (const segment of events.abandoned) this.#transform(segment, true)
    if (events.failure !== null) {
      const { code, operation, errno } = events.failure
      // The addon calls it statvfs when nothing failed and too little is free.
      const reserveMiB = Math.round(this.#options.config.segments.reserveBytes / 2 ** 20)
      const what = operation === 'statvfs' && code === 'store_full' ? `less than the reserve of ${reserveMiB} MiB is free` : `${operation} failed with ${errno}`
      log.error({ operation, errno }, `jobs are refused (${code}): ${what}`)
      this.#notAccepting = `${code}: ${what}`
      this.#presence.update({ accepting: false, reason: this.#reason })
    }
    if (events.recovered) {
      log.info('the store works again: jobs are accepted')
      this.#notAccepting = ''
      this.#presence.update({ accepting: true, reason: this.#reason })
    }
    if (events.retired) this.#end('retired', `presence could not be written for ${this.#options.config.acceptLeaseMs} ms`)
  }

  #transform(number: number, torn: boolean): void {
    const work = this.#transformOne(number, torn)
      .catch((error: unknown) => this.#options.log.error(`segment ${number} can't be transformed: ${messageOf(error)}`))
      .finally(() => this.#transforming.delete(work))
    this.#transforming.add(work)
  }

  async #transformOne(number: number, torn: boolean): Promise<void> {
    const result = await this.#transformer.run({
      xml: segmentName(this.name, number, torn ? 'part' : 'xml'),
      jsonl: segmentName(this.name, number, 'jsonl'),
      aside: segmentName(this.name, number, 'aside'),
      torn,
      // A number given up before its file was on stable storage has no file, and nothing was acknowledged in it.
      missing: torn ? 'empty' : 'retry',
    })
    if (result === null || result.kind === 'missing') return
    const segment = formatSegment(this.name, number)
    if (result.kind === 'done') this.#options.onTransformed?.(result.ms)
    if (result.kind === 'done') this.#journal.add({ step: 'transformed', segment, jobs: result.jobs, ms: Math.round(result.ms * 100) / 100 })
    else this.#journal.add({ step: 'aside', segment, jobs: result.jobs, detail: result.reason })
    if (this.#published.done(number)) {
      this.#submitter?.published(this.#published.value)
      this.#presence.update({ published: this.#published.value })
    }
  }
}

interface Made {
  readonly server: IngestServer | undefined
  readonly ingest: Ingest | undefined
  readonly transformer: Transformer | undefined
  readonly journal: Journal | undefined
  readonly presence: PresenceKeeper | undefined
  readonly nudges: Nudges | undefined
}

/** What presence says of an instance that hasn't opened yet. */
const shownRefusal = (refusal: string | null): { readonly role: Role; readonly reason: string } =>
  refusal === null ? { role: 'starting', reason: 'starting' } : { role: 'ineligible', reason: refusal }
