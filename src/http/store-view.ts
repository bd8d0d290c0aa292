// What the store says, for all who ask over HTTP together. Who is there and who leads is a few small files, looked at here at
// most once a second. What needs the ledger (sums, terms, one job) is read by a thread of its own, one thing at a time and never
// more than a twentieth of the time, so that neither this process nor the share feels how often it is asked.

import { fileURLToPath } from 'node:url'
import { Piscina } from 'piscina'
import { UsherError } from '../base/errors.ts'
import { lookAtInstances } from '../hosts/present.ts'
import { parseSegment, segmentName } from '../store/layout.ts'
import { isMissing } from '../store/store-error.ts'
import type { Store } from '../store/store.ts'
import { findLeader, skewAmong, statusOf, whyNobodyLeads } from '../submit/survey.ts'
import type { AuditStatus, InstanceStatus, Leader } from '../submit/survey.ts'
import type { Trace } from '../submit/trace.ts'
import type { Why } from '../submit/why.ts'
import type { ReaderReply, ReaderTask } from './reader.ts'
import { SharedLook } from './shared-look.ts'
import type { Seen } from './shared-look.ts'

export interface Fleet {
  readonly leader: Leader | null
  readonly whyNobodyLeads: readonly string[]
  readonly instances: readonly InstanceStatus[]
  readonly warnings: readonly string[]
}

export interface Jobs {
  readonly audit: AuditStatus
  readonly warnings: readonly string[]
  readonly setAside: readonly { readonly segment: string; readonly jobs: number; readonly reason: string }[]
}

export interface TermStatus {
  readonly term: number
  readonly at: string
  readonly host: string
  readonly instance: string
  readonly pid: number
  readonly version: string
  readonly configDigest: string
}

export interface JobStatus {
  readonly trace: Trace
  readonly why: Why
}

export interface StoreView {
  fleet(waitMs: number): Promise<Seen<Fleet>>
  /** Null: not within that time. */
  jobs(waitMs: number): Promise<Seen<Jobs> | null>
  terms(): Promise<Seen<readonly TermStatus[]>>
  /** Null: no such job. */
  job(id: string): Promise<JobStatus | null>
  /** When the first job of a segment was accepted, ISO 8601; null: its file says nothing any more. */
  acceptedAt(segment: string): Promise<string | null>
}

const fleetEveryMs = 1000
const booksEveryMs = 2000
const booksRestFactor = 19
const readMsMax = 30_000
/** Jobs asked about at a time, those that wait for the reader included. */
const askedMax = 32
/** The first line of a segment that is longer than this is not asked for its time. */
const lineBytesMax = 256 * 1024

export interface ReadStoreOptions {
  readonly store: Store
  readonly storeUuid: string
  /** The store's root, absolute. */
  readonly directory: string
  readonly retryMinMs: number
  readonly retryMaxMs: number
}

export class ReadStore implements StoreView {
  readonly #options: ReadStoreOptions
  readonly #pool: Piscina<ReaderTask, ReaderReply>
  readonly #fleet: SharedLook<Fleet>
  readonly #jobs: SharedLook<Jobs>
  readonly #terms: SharedLook<readonly TermStatus[]>
  /** Jobs asked about now. */
  #asked = 0
  /** Of the segment that was asked about last: one read, however often that is. */
  #accepted: { readonly segment: string; readonly at: Promise<string | null> } | null = null

  constructor(options: ReadStoreOptions) {
    this.#options = options
    this.#pool = new Piscina({
      filename: fileURLToPath(new URL('reader.js', import.meta.url)),
      name: 'read',
      minThreads: 0,
      maxThreads: 1,
      // Nobody asks for most of the time.
      idleTimeout: 30_000,
      concurrentTasksPerWorker: 1,
      atomics: 'disabled',
    })
    const nowMs = (): number => performance.now()
    this.#fleet = new SharedLook({ look: () => this.#lookAtFleet(), nowMs, everyMs: fleetEveryMs, restFactor: 1, what: 'who is on the store' })
    this.#jobs = new SharedLook({
      look: async () => (await this.#read('survey', {})).jobs,
      nowMs,
      everyMs: booksEveryMs,
      restFactor: booksRestFactor,
      what: 'the ledger',
    })
    this.#terms = new SharedLook({
      look: async () => (await this.#read('terms', {})).terms,
      nowMs,
      everyMs: booksEveryMs,
      restFactor: booksRestFactor,
      what: 'the ledger',
    })
  }

  async fleet(waitMs: number): Promise<Seen<Fleet>> {
    return this.#fleet.required(waitMs)
  }

  async jobs(waitMs: number): Promise<Seen<Jobs> | null> {
    return this.#jobs.latest(waitMs)
  }

  async terms(): Promise<Seen<readonly TermStatus[]>> {
    return this.#terms.required(readMsMax)
  }

  async job(id: string): Promise<JobStatus | null> {
    const { retryMinMs, retryMaxMs } = this.#options
    if (this.#asked >= askedMax) throw new UsherError('unavailable', `${askedMax} jobs are being asked about already: try again`)
    this.#asked += 1
    try {
      return (await this.#read('job', { id, retryMinMs, retryMaxMs })).job
    } finally {
      this.#asked -= 1
    }
  }

  async acceptedAt(segment: string): Promise<string | null> {
    if (this.#accepted?.segment !== segment) {
      const at = this.#readAccepted(segment).catch(() => {
        // The store is away: asked again.
        if (this.#accepted?.at === at) this.#accepted = null
        return null
      })
      this.#accepted = { segment, at }
    }
    return this.#accepted.at
  }

  async close(): Promise<void> {
    await this.#pool.destroy()
  }

  async #lookAtFleet(): Promise<Fleet> {
    const looked = await lookAtInstances(this.#options.store)
    const leader = await findLeader(this.#options.store, looked)
    return {
      leader,
      whyNobodyLeads: leader === null ? whyNobodyLeads(looked) : [],
      instances: looked.filter(({ presence, alive }) => alive || presence?.role !== 'ended').map(statusOf),
      warnings: skewAmong(looked.filter(({ alive }) => alive)),
    }
  }

  async #readAccepted(segment: string): Promise<string | null> {
    const parsed = parseSegment(segment)
    if (parsed === null) return null
    try {
      const head = await this.#options.store.readRange(segmentName(parsed.instance, parsed.number, 'jsonl'), 0, lineBytesMax)
      const end = head.indexOf(0x0a)
      if (end < 0) return null
      const { accepted } = JSON.parse(head.toString('utf8', 0, end)) as { readonly accepted?: unknown }
      return typeof accepted === 'string' ? accepted : null
    } catch (error) {
      if (isMissing(error)) return null
      throw error
    }
  }

  async #read<K extends ReaderTask['kind']>(kind: K, rest: Omit<Extract<ReaderTask, { kind: K }>, 'kind' | 'directory' | 'storeUuid'>): Promise<Extract<ReaderReply, { kind: K }>> {
    const { directory, storeUuid } = this.#options
    const task = { kind, directory, storeUuid, ...rest } as ReaderTask
    let reply: ReaderReply
    try {
      reply = await this.#pool.run(task, { signal: AbortSignal.timeout(readMsMax) })
    } catch (error) {
      // The time is up, or the thread died of what it read: whoever asks later may have better luck.
      throw new UsherError('unavailable', 'reading the store takes too long: try again', { cause: error })
    }
    if (reply.kind === 'failed') throw new UsherError(reply.code, reply.message)
    return reply as Extract<ReaderReply, { kind: K }>
  }
}
