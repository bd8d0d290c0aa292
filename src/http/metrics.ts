// The metrics of this host, and of the store where this host leads. Counted where things happen or read from what is there
// anyway; a scrape costs a look at the process and, at most once a second, one at who is on the store.
//
// Never: a job, a user, a file or a producer as a label.

import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { HostView } from './host-view.ts'
import type { StoreView } from './store-view.ts'

const hostStates = ['leader', 'follower', 'ineligible', 'starting', 'draining', 'gone'] as const
/** A scrape waits for the store no longer than this, each time. */
const storeWaitMs = 500

const inTime = async <T>(work: Promise<T>): Promise<T | null> => {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<null>((resolve) => (timer = setTimeout(() => resolve(null), storeWaitMs)))
  return Promise.race([work, late]).finally(() => clearTimeout(timer))
}

/** A total that begins anew with each instance, as one that only grows in this process. */
class Growing {
  readonly #counter: Counter
  readonly #labels: Readonly<Record<string, string>>
  #of = ''
  #seen = 0

  constructor(counter: Counter, labels: Readonly<Record<string, string>> = {}) {
    this.#counter = counter
    this.#labels = labels
  }

  observe(of: string, total: number): void {
    const before = of === this.#of ? this.#seen : 0
    if (total > before) this.#counter.inc(this.#labels, total - before)
    this.#of = of
    this.#seen = total
  }
}

export class Metrics {
  readonly #registry = new Registry()
  /** What is read anew for each scrape. */
  readonly #scrapes: (() => void | Promise<void>)[] = []
  readonly #stages: Histogram<'stage'>
  readonly #operations: Histogram<'op'>
  readonly #requests: Histogram<'method' | 'status'>

  constructor() {
    const registers = [this.#registry]
    this.#stages = new Histogram({
      name: 'usher_stage_duration_seconds',
      help: 'How long a stage took for what it does at a time; transform: a segment.',
      labelNames: ['stage'],
      buckets: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 30],
      registers,
    })
    this.#operations = new Histogram({
      name: 'usher_store_operation_seconds',
      help: 'How long operations on the store took, those of native threads and of the submitter left out.',
      labelNames: ['op'],
      buckets: [0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2, 10, 60],
      registers,
    })
    this.#requests = new Histogram({
      name: 'usher_http_request_duration_seconds',
      help: 'How long HTTP requests took.',
      labelNames: ['method', 'status'],
      buckets: [0.0005, 0.001, 0.005, 0.025, 0.1, 0.5, 2, 10, 30],
      registers,
    })
  }

  get contentType(): string {
    return this.#registry.contentType
  }

  stage(stage: 'transform', ms: number): void {
    this.#stages.observe({ stage }, ms / 1000)
  }

  storeOperation(op: string, ms: number): void {
    this.#operations.observe({ op }, ms / 1000)
  }

  request(method: string, status: number, ms: number): void {
    this.#requests.observe({ method, status: String(status) }, ms / 1000)
  }

  /** The text of a scrape. A store that can't be looked at leaves out what only it can say. */
  async render(): Promise<string> {
    for (const scrape of this.#scrapes) await scrape()
    return this.#registry.metrics()
  }

  /** Adds what is read at each scrape. Once. */
  read(view: HostView, store: StoreView): void {
    this.#readProcess(view)
    this.#readInstance(view)
    this.#readBooks(view, store)
    const hosts = this.#gauge('usher_hosts', 'Instances on the store, by role.', ['state'])
    this.#onScrape(async () => {
      const fleet = await store.fleet(storeWaitMs).catch(() => null)
      hosts.reset()
      if (fleet === null) return
      for (const state of hostStates) hosts.set({ state }, fleet.value.instances.filter(({ role }) => role === state).length)
    })
  }

  #readProcess(view: HostView): void {
    this.#gauge('usher_build_info', 'Which version and configuration this host runs; always 1.', ['version', 'config', 'node']).set(
      { version: view.version, config: view.configDigest, node: process.versions.node },
      1,
    )
    this.#gauge('process_start_time_seconds', 'When the process began, in seconds since 1970.').set(Math.round(Date.parse(view.started) / 1000))
    const cpu = new Growing(this.#counter('process_cpu_seconds_total', 'CPU time of the process, all threads, its children left out.'))
    const memory = this.#gauge('process_resident_memory_bytes', 'Resident memory of the process, its children left out.')
    this.#onScrape(() => {
      const { user, system } = process.cpuUsage()
      cpu.observe('', (user + system) / 1e6)
      memory.set(process.memoryUsage.rss())
    })
  }

  #readInstance(view: HostView): void {
    const totals = {
      accepted: new Growing(this.#counter('usher_jobs_accepted_total', 'Jobs that this host acknowledged.')),
      refused: new Growing(this.#counter('usher_jobs_refused_total', 'Jobs that this host refused.')),
      bytes: new Growing(this.#counter('usher_jobs_received_bytes_total', 'Bytes of jobs that producers sent to this host.')),
      syncs: new Growing(this.#counter('usher_commits_total', 'Groups of jobs that this host has put on stable storage.')),
      syncSeconds: new Growing(this.#counter('usher_commit_sync_seconds_total', 'Time of the syncs that put them there.')),
      segments: new Growing(this.#counter('usher_segments_total', 'Segments that this host has sealed.')),
    }
    const connections = this.#gauge('usher_connections', "Producers' connections to this host.")
    const uncommitted = this.#gauge('usher_uncommitted_bytes', 'Bytes of jobs that wait for their sync.')
    const flags = {
      ready: this.#gauge('usher_accepting', '1 where this host accepts jobs.'),
      eligible: this.#gauge('usher_eligible', '1 where this host may lead.'),
      leader: this.#gauge('usher_leader', '1 where this host leads.'),
    }
    const term = this.#gauge('usher_term', 'The newest term that this host knows of.')
    this.#onScrape(() => {
      const instance = view.instance()
      const presence = instance?.presence
      flags.ready.set(presence?.accepting === true ? 1 : 0)
      flags.eligible.set(presence?.eligible === true ? 1 : 0)
      flags.leader.set(presence?.role === 'leader' ? 1 : 0)
      // While it starts it may know of none.
      if (presence?.term != null) term.set(presence.term)
      const stats = instance?.stats
      connections.set(stats?.connections ?? 0)
      uncommitted.set(stats?.uncommittedBytes ?? 0)
      if (instance == null || stats == null) return
      totals.accepted.observe(instance.name, stats.acceptedJobs)
      totals.refused.observe(instance.name, stats.refusedJobs)
      totals.bytes.observe(instance.name, stats.jobsBytes)
      totals.syncs.observe(instance.name, stats.commits)
      totals.syncSeconds.observe(instance.name, stats.syncMs / 1000)
      totals.segments.observe(instance.name, stats.segments)
    })
  }

  #readBooks(view: HostView, store: StoreView): void {
    const jobs = this.#gauge('usher_jobs', 'Admitted jobs of the whole store, by state. Said by the host that leads alone.', ['state'])
    const oldest = this.#gauge(
      'usher_oldest_waiting_timestamp_seconds',
      'When the oldest segment with a job that waits for its cluster was begun, in seconds since 1970. Said by the host that leads, while one waits.',
    )
    const submitted = this.#counter('usher_jobs_submitted_total', 'How clusters answered the submissions of this host, by job.', ['cluster', 'outcome'])
    const answers = new Map<string, Growing>()
    this.#onScrape(async () => {
      const books = view.instance()?.books ?? null
      for (const [cluster, tally] of Object.entries(books?.tallies ?? {})) {
        for (const [outcome, count] of Object.entries(tally)) {
          const key = `${cluster} ${outcome}`
          const growing = answers.get(key) ?? new Growing(submitted, { cluster, outcome })
          answers.set(key, growing)
          growing.observe(String(books?.term), count)
        }
      }
      jobs.reset()
      oldest.remove()
      if (books === null) return
      const { inDoubt, duplicates, setAside, ...rest } = books.audit
      const states = { ...rest, in_doubt: inDoubt, duplicate: duplicates, set_aside: setAside }
      for (const [state, count] of Object.entries(states)) jobs.set({ state }, count)
      if (books.oldestWaiting === null) return
      const at = await inTime(store.acceptedAt(books.oldestWaiting))
      if (at !== null) oldest.set(Date.parse(at) / 1000)
    })
  }

  #onScrape(work: () => void | Promise<void>): void {
    this.#scrapes.push(work)
  }

  #gauge(name: string, help: string, labelNames: string[] = []): Gauge {
    return new Gauge({ name, help, labelNames, registers: [this.#registry] })
  }

  #counter(name: string, help: string, labelNames: string[] = []): Counter {
    return new Counter({ name, help, labelNames, registers: [this.#registry] })
  }
}
