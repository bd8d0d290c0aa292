// Two hosts of usher on one store with one real Slurm between them, while the one that leads is killed, stopped for longer than
// its lease, or told to end, again and again in the middle of submitting. Each job reaches Slurm once.
//
// How it is counted: by what slurmctld lists at the end, waiting, running and ended jobs alike (MinJobAge is an hour: no job
// leaves the list before), by the id in each job's comment; and against the ledger, whose audit must balance. SEED replays the
// choices, SLURM_ROUNDS says how often.
import { readFileSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { decodeClaim } from '../../src/election/claim.ts'
import type { Claim } from '../../src/election/claim.ts'
import { DirectoryStore } from '../../src/store/directory-store.ts'
import { claimName, claimsDirectory, ledgerName, parseClaimNumber } from '../../src/store/layout.ts'
import { lookAtInstances } from '../../src/hosts/present.ts'
import { seeded, seedOf } from '../support/random.ts'
import { SteadyLoad } from '../support/steady-load.ts'
import type { LoadedJob } from '../support/steady-load.ts'
import { makeFolder, ServerProcess, settledAudit, traceOf, until } from '../support/usher-process.ts'
import { jobsById, lab, labUrl } from './lab.ts'
import { tallyLedger } from './ledger-tally.ts'
import type { LedgerTally } from './ledger-tally.ts'

const seed = seedOf()
const rounds = Number(process.env['SLURM_ROUNDS'] ?? (process.env['CI'] === undefined ? 20 : 6))
const leaseMs = 1000

beforeAll(() => {
  process.env['SLURM_LAB_MIN_JOB_AGE'] = '3600'
  // The jobs do nothing: few at a time leave the machine to those who are tested.
  process.env['SLURM_LAB_CPUS'] = '2'
  lab('install')
  lab('up')
})
afterAll(() => {
  delete process.env['SLURM_LAB_MIN_JOB_AGE']
  delete process.env['SLURM_LAB_CPUS']
  lab('down')
})

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup()
})

/** A process's state as the kernel has it, `T` stopped, `Z` dead and not waited for; null: there is none. */
const stateOf = (pid: number): string | null => {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1')
    return text.slice(text.lastIndexOf(')') + 2, text.lastIndexOf(')') + 3)
  } catch {
    return null
  }
}

/** One that fell by itself a moment before is as good as struck. */
const signal = (pid: number, name: NodeJS.Signals): void => {
  if (stateOf(pid) !== null) process.kill(pid, name)
}

const hostNames = ['one', 'two'] as const
type HostName = (typeof hostNames)[number]

const faults = {
  kill: 'SIGKILL of server and submitter',
  killSubmitter: 'SIGKILL of the submitter',
  freezeSubmitter: 'SIGSTOP of the submitter beyond its lease, SIGCONT',
  freezeHost: 'SIGSTOP of server and submitter beyond both leases, SIGCONT',
  term: 'SIGTERM of the server',
} as const
type Fault = keyof typeof faults

/** Six rounds have all of them. */
const bag: readonly Fault[] = ['kill', 'killSubmitter', 'freezeSubmitter', 'freezeHost', 'term', 'kill']

const shuffled = <T>(items: readonly T[], random: () => number): T[] => {
  const out = [...items]
  for (let at = out.length - 1; at > 0; at -= 1) {
    const other = Math.floor(random() * (at + 1))
    ;[out[at], out[other]] = [out[other] as T, out[at] as T]
  }
  return out
}

interface Round {
  readonly fault: Fault
  readonly host: HostName
  readonly term: number
  readonly atMs: number
}

/** Two servers, each at an address that stays its own, whichever life it is in. */
class Pair {
  readonly directory: string
  readonly #store: DirectoryStore
  readonly #servers: Record<HostName, ServerProcess>
  readonly #serve: (host: HostName, listen?: string) => Promise<ServerProcess>

  private constructor(directory: string, servers: Record<HostName, ServerProcess>, serve: Pair['serve']) {
    this.directory = directory
    this.#store = new DirectoryStore(directory)
    this.#servers = servers
    this.#serve = serve
  }

  get serve(): (host: HostName, listen?: string) => Promise<ServerProcess> {
    return this.#serve
  }

  static async start(): Promise<Pair> {
    const folder = await makeFolder()
    cleanups.push(folder.remove)
    const store = `${folder.path}/store`
    const serve: Pair['serve'] = async (host, listen = '127.0.0.1:0') => {
      const config = `host = "${host}"\nlease = ${leaseMs / 1000}\naccept_lease = 2\n[log]\nlevel = "warn"\n[segments]\nage = 0.05\nseal_interval = 0.01\n[submit]\nretry_max = 1\n[cluster.slurm]\ndriver = "slurm"\nurl = "${labUrl}"\nmin_job_age = 3600\ntimeout = 3\nsettle = 6\n`
      const server = await ServerProcess.start({ config, store, listen, folder: folder.path })
      cleanups.push(async () => {
        // One that a failed round left stopped ends all the same.
        const submitter = await server.submitterPid()
        if (submitter !== null) process.kill(submitter, 'SIGKILL')
        await server.end('SIGKILL')
      })
      return server
    }
    return new Pair(store, { one: await serve('one'), two: await serve('two') }, serve)
  }

  get addresses(): string[] {
    return hostNames.map((host) => this.addressOf(host))
  }

  addressOf(host: HostName): string {
    return this.#servers[host].address
  }

  /** How much that term has written down. */
  async ledgerBytes(term: number): Promise<number> {
    const file = await stat(join(this.directory, ledgerName(term, 1))).catch(() => null)
    return file?.size ?? 0
  }

  get logs(): string {
    return hostNames.map((host) => `${host}:\n${this.#servers[host].log}`).join('\n')
  }

  /** The newest claim, if it isn't a resignation. */
  async #leader(): Promise<Claim | null> {
    const numbers = (await this.#store.list(claimsDirectory)).map(parseClaimNumber).filter((number) => number !== null)
    if (numbers.length === 0) return null
    const claim = decodeClaim(await this.#store.read(claimName(Math.max(...numbers))))
    return claim === null || claim.leaseMs === 0 ? null : claim
  }

  async submitterOf(host: HostName): Promise<number> {
    let submitter: number | null = null
    await until('there is a submitter', async () => (submitter = await this.#servers[host].submitterPid()) !== null)
    return submitter as unknown as number
  }

  async termNow(): Promise<number | null> {
    return (await this.#leader())?.term ?? null
  }

  /** Waits until one leads and the other stands by: only then a takeover's time is that of the takeover. */
  async ready(): Promise<{ host: HostName; term: number }> {
    let leader: Claim | null = null
    await until('one leads and the other follows', async () => {
      leader = await this.#leader()
      const live = (await lookAtInstances(this.#store)).filter(({ alive }) => alive)
      const roleOf = (host: string): (string | undefined)[] => live.filter(({ presence }) => presence?.host === host).map(({ presence }) => presence?.role)
      return leader !== null && hostNames.every((host) => roleOf(host).includes(host === leader?.host ? 'leader' : 'follower'))
    }).catch((error: unknown) => {
      throw new Error(`${String(error)}\n${this.logs}`)
    })
    const { host, term } = leader as unknown as Claim
    return { host: host as HostName, term }
  }

  /** Does it to that host; resolves when the host is whole again, or on its way to be. */
  async strike(fault: Fault, host: HostName, term: number, pid: number, random: () => number): Promise<Round> {
    const server = this.#servers[host]
    // In the middle of it: between intents and receipts.
    await pause(random() * 60)
    const lives = (): number => server.log.split('the instance ends: ').length
    const livesBefore = lives()
    const atMs = Date.now()
    const again = async (): Promise<void> => {
      this.#servers[host] = await this.#serve(host, server.address)
    }
    // Those that only wait for a lease to end come to their end late: nothing is told to end before.
    const frozenMs = leaseMs * 1.2 + random() * 1500
    switch (fault) {
      case 'kill':
        signal(pid, 'SIGKILL')
        await server.end('SIGKILL')
        await this.#takenOver(term)
        await again()
        break
      case 'killSubmitter':
        signal(pid, 'SIGKILL')
        await this.#takenOver(term)
        break
      case 'freezeSubmitter':
        signal(pid, 'SIGSTOP')
        await pause(frozenMs)
        // The kernel has killed it at the end of its lease, stopped as it was.
        expect([null, 'Z'], `submitter ${pid} of ${host}, stopped for ${frozenMs} ms: ${JSON.stringify(await this.#leader())}`).toContain(stateOf(pid))
        signal(pid, 'SIGCONT')
        await this.#takenOver(term)
        break
      case 'freezeHost':
        server.child.kill('SIGSTOP')
        signal(pid, 'SIGSTOP')
        await this.#takenOver(term)
        await pause(2500 + frozenMs - (Date.now() - atMs))
        server.child.kill('SIGCONT')
        await until('it has gone on as a new instance', () => lives() > livesBefore)
        break
      case 'term':
        expect(await server.end('SIGTERM'), server.log).toBe(0)
        await this.#takenOver(term)
        await again()
        break
    }
    return { fault, host, term, atMs }
  }

  async #takenOver(term: number): Promise<void> {
    await until('another term begins', async () => ((await this.#leader())?.term ?? 0) > term).catch((error: unknown) => {
      throw new Error(`${String(error)}\n${this.logs}`)
    })
  }

  async end(): Promise<void> {
    for (const host of hostNames) expect(await this.#servers[host].end('SIGTERM'), this.#servers[host].log).toBe(0)
  }
}

const quantile = (sorted: readonly number[], q: number): number => sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * q) - 1)] ?? Number.NaN

/** From a fault to when a later term was about to hand over its first job, by fault, in ms. */
const takeovers = (done: readonly Round[], { terms }: LedgerTally): Record<string, number[]> => {
  const times: Record<string, number[]> = {}
  for (const { fault, term, atMs } of done) {
    const next = terms.find((one) => one.term > term && one.firstIntentMs !== null)
    if (next?.firstIntentMs != null) (times[fault] ??= []).push(next.firstIntentMs - atMs)
  }
  for (const list of Object.values(times)) list.sort((a, b) => a - b)
  return times
}

test(`two hosts submit each job to Slurm once, though the leader fails ${rounds} times in mid-submission`, { timeout: 120_000 + rounds * 20_000 }, async () => {
  const random = seeded(seed)
  const pair = await Pair.start()
  await pair.ready()
  const options = { timeoutMs: 120_000 }
  const spec = { executable: '/bin/true', directory: '/tmp', inherit_environment: false }
  // One producer goes on all the time; another sends what is in the way of every fault; and in each round there is one at the
  // host that isn't struck, so that jobs wait there for it to take over.
  const steady = new SteadyLoad(pair.addresses, 250, options, spec)
  const bursts = new SteadyLoad(pair.addresses, null, options, spec)
  const jobs: LoadedJob[] = []
  const order: Fault[] = []
  while (order.length < rounds) order.push(...shuffled(bag, random))
  const done: Round[] = []
  /** Leaders that lost their lease on their own, as on a machine that is busy with other things: no fault of ours. */
  let fallen = 0
  while (done.length < rounds) {
    const { host, term } = await pair.ready()
    const pid = await pair.submitterOf(host)
    const other = new SteadyLoad(pair.addressOf(host === 'one' ? 'two' : 'one'), 100, options, spec)
    const before = await pair.ledgerBytes(term)
    const burst = bursts.burst(80)
    let working = false
    await until('the leader is at work on it', async () => (working = (await pair.ledgerBytes(term)) > before) || (await pair.termNow()) !== term)
    // Only the leader's submitter writes the ledger of its term: so this is the one, if it is still there.
    if (working && stateOf(pid) !== null) done.push(await pair.strike(order[done.length]!, host, term, pid, random))
    else fallen += 1
    jobs.push(...(await other.stop()))
    await burst
    expect(fallen, `leaders that fell on their own, in ${done.length} rounds; seed ${seed}\n${pair.logs}`).toBeLessThan(5 + rounds)
  }

  for (const load of [steady, bursts]) jobs.push(...(await load.stop()))
  const deadline = Date.now() + 100_000
  let ledger = await tallyLedger(pair.directory)
  for (;;) {
    await settledAudit(pair.directory, Math.max(1, deadline - Date.now()))
    ledger = await tallyLedger(pair.directory)
    // Submitted isn't the end of it: receipts are confirmed once Slurm has saved its state.
    if (ledger.unconfirmed + ledger.held === 0) break
    if (Date.now() > deadline) throw new Error(`not settled, seed ${seed}: ${JSON.stringify(ledger)}\n${pair.logs}`)
    await pause(500)
  }
  const audit = await settledAudit(pair.directory)
  const listed = await jobsById()
  const times = takeovers(done, ledger)
  const context = `seed ${seed}; ${JSON.stringify({ rounds: done.map(({ fault, host, term }) => `${fault} ${host} ${term}`), fallen, jobs: jobs.length, listed: listed.size, audit, ledger: { ...ledger, terms: ledger.terms.length } })}`
  const all = Object.values(times).flat().toSorted((a, b) => a - b)
  process.stderr.write(`two hosts: ${context}\n`)
  process.stderr.write(`two hosts: from fault to the successor's first submission, ms, with a lease of ${leaseMs}: p50 ${quantile(all, 0.5)}, max ${all.at(-1)}; ${JSON.stringify(times)}\n`)

  const ids = new Set(jobs.map(({ id }) => id))
  expect([...ids].filter((id) => !listed.has(id)), `lost: ${context}`).toEqual([])
  expect([...ids].filter((id) => (listed.get(id)?.length ?? 0) > 1), `twice: ${context}`).toEqual([])
  expect([...listed.keys()].filter((id) => !ids.has(id)), `unexpected: ${context}`).toEqual([])
  expect(audit, context).toMatchObject({ balanced: true, submitted: ids.size, waiting: 0, inDoubt: 0, dead: 0, setAside: 0 })
  expect(audit.accepted, context).toBe(ids.size + audit.duplicates)
  expect(ledger.anomalies, context).toBe(0)
  // The faults did what they are there for: each ended a term, and some of them in the middle of a submission.
  expect(all.length, context).toBe(done.length)
  expect(ledger.terms.length, context).toBeGreaterThan(rounds)
  expect((ledger.jobs['found'] ?? 0) + (ledger.jobs['absent'] ?? 0), context).toBeGreaterThan(0)
  expect(new Set(ledger.terms.map(({ host }) => host)), context).toEqual(new Set(hostNames))
  // Never two at once: whatever an earlier term submitted was at Slurm before the next one began to submit.
  for (const [id, [job]] of listed) {
    const next = ledger.terms.find(({ term, firstIntentMs }) => term > job!.term && firstIntentMs !== null)
    if (next?.firstIntentMs != null) expect(job!.submittedMs, `job ${id} of term ${job!.term}, term ${next.term} submits: ${context}`).toBeLessThanOrEqual(next.firstIntentMs)
  }
  for (const { id } of [jobs[0]!, jobs.at(-1)!]) {
    const { state, steps } = await traceOf(pair.directory, id)
    expect(state, context).toBe('submitted')
    expect(steps.map(({ step }) => step), context).toEqual(expect.arrayContaining(['accepted', 'admitted', 'intent']))
  }
  await pair.end()
})
