// usher and a real Slurm, both failing: slurmctld is killed and forgets what it had acknowledged, is stopped for longer than
// usher waits for it, and usher's server and submitter are killed, all at seeded moments while jobs come in.
//
// How it is counted: by what Slurm knows at the end, the list of slurmctld with waiting, running and ended jobs, each by the id
// in its comment. MinJobAge is an hour, so no job that ran leaves the list before it is counted. A job that Slurm has forgotten
// may have run before slurmctld died; Slurm knows nothing of that, usher submits it again, and it counts once.
import { execFileSync } from 'node:child_process'
import { chmodSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { Client } from '../../src/client/client.ts'
import type { JobSpec } from '../../src/submit/driver.ts'
import { seeded, seedOf } from '../support/random.ts'
import { makeFolder, ServerProcess, settledAudit, until } from '../support/usher-process.ts'
import { tallyLedger } from './ledger-tally.ts'
import type { LedgerTally } from './ledger-tally.ts'
import { jobsById, lab, labAside, labUrl, stateFile } from './lab.ts'

const seed = seedOf()

beforeAll(() => {
  process.env['SLURM_LAB_MIN_JOB_AGE'] = '3600'
  // The jobs do nothing: few at a time leave the machine to those who are tested.
  process.env['SLURM_LAB_CPUS'] = '4'
  lab('install')
  lab('up')
})
afterAll(() => {
  delete process.env['SLURM_LAB_MIN_JOB_AGE']
  delete process.env['SLURM_LAB_CPUS']
  lab('down')
})

const cleanups: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup()
})

type Random = () => number
const between = (random: Random, least: number, most: number): number => least + random() * (most - least)

const shuffled = <T>(items: readonly T[], random: Random): T[] => {
  const out = [...items]
  for (let at = out.length - 1; at > 0; at -= 1) {
    const other = Math.floor(random() * (at + 1))
    ;[out[at], out[other]] = [out[other] as T, out[at] as T]
  }
  return out
}

/** An usher that can be killed and comes back at the same address, and a producer that doesn't mind. */
class Usher {
  readonly store: string
  readonly accepted = new Set<string>()
  readonly kills = { server: 0, submitter: 0 }
  server: ServerProcess
  readonly #client: Client
  readonly #settings: { config: string; store: string; folder: string; listen: string }

  private constructor(server: ServerProcess, settings: { config: string; store: string; folder: string }) {
    this.store = settings.store
    this.server = server
    this.#settings = { ...settings, listen: server.address }
    this.#client = new Client({ addresses: server.address, backoffBaseMs: 20, backoffMostMs: 200, timeoutMs: 120_000 })
    cleanups.push(async () => void (await this.server.end('SIGKILL')))
    cleanups.push(() => this.#client.close())
  }

  static async start(cluster: string): Promise<Usher> {
    const folder = await makeFolder()
    cleanups.push(folder.remove)
    const config = `lease = 1\naccept_lease = 3\n[log]\nlevel = "warn"\n[segments]\nage = 0.05\nseal_interval = 0.01\n[submit]\nretry_max = 2\n[cluster.slurm]\ndriver = "slurm"\nmin_job_age = 3600\n${cluster}`
    const settings = { config, store: `${folder.path}/store`, folder: folder.path }
    return new Usher(await ServerProcess.start(settings), settings)
  }

  /** Sends so many jobs in small batches, about so many milliseconds apart, and waits until each is accepted. */
  async send(jobs: number, pauseMs: number, random: Random): Promise<void> {
    for (let left = jobs; left > 0; ) {
      const batch = Math.min(left, 1 + Math.floor(random() * 20))
      const sent = Array.from({ length: batch }, () =>
        this.#client.send({ executable: '/bin/true', directory: '/tmp', inherit_environment: false }),
      )
      for (const { id } of await Promise.all(sent)) this.accepted.add(id)
      left -= batch
      await pause(random() * 2 * pauseMs)
    }
  }

  /** Sends them all at once; resolves with their ids. */
  async burst(specs: readonly JobSpec[]): Promise<string[]> {
    const answers = await Promise.all(specs.map((spec) => this.#client.send(spec)))
    for (const { id } of answers) this.accepted.add(id)
    return answers.map(({ id }) => id)
  }

  async kill(which: 'server' | 'submitter'): Promise<void> {
    if (which === 'submitter') {
      let pid: number | null = null
      await until('there is a submitter', async () => (pid = await this.server.submitterPid()) !== null)
      process.kill(pid as unknown as number, 'SIGKILL')
    } else {
      await this.server.end('SIGKILL')
      this.server = await ServerProcess.start(this.#settings)
    }
    this.kills[which] += 1
  }

  /** Waits until the leader hands over more than it had, and a little longer. */
  async midSubmission(random: Random, withinMs = 120): Promise<void> {
    const intents = async (): Promise<number> => (await tallyLedger(this.store)).jobs['intent'] ?? 0
    const before = await intents()
    await until('jobs are handed to Slurm', async () => (await intents()) > before)
    await pause(between(random, 0, withinMs))
  }

  /** Waits until nothing remains to be done, then counts: each accepted job in Slurm once, by its comment, and nothing else. */
  async account(what: string, details: Record<string, unknown>, withinMs: number): Promise<{ ledger: LedgerTally; context: string }> {
    const end = Date.now() + withinMs
    // Submitted isn't the end of it: what Slurm forgot shows when the receipts are confirmed, and waits again.
    let ledger = await tallyLedger(this.store)
    for (;;) {
      await settledAudit(this.store, Math.max(1, end - Date.now()))
      ledger = await tallyLedger(this.store)
      if (ledger.unconfirmed + ledger.held === 0) break
      if (Date.now() > end) throw new Error(`${what}: not settled within ${withinMs} ms: ${JSON.stringify(ledger)}\n${this.server.log}`)
      await pause(500)
    }
    const audit = await settledAudit(this.store)
    const listed = await jobsById()
    const context = `seed ${seed}; ${JSON.stringify({ ...details, kills: this.kills, accepted: this.accepted.size, listed: listed.size, ledger, audit })}`
    process.stderr.write(`${what}: ${context}\n`)
    expect([...this.accepted].filter((id) => !listed.has(id)), `lost: ${context}`).toEqual([])
    expect([...this.accepted].filter((id) => (listed.get(id)?.length ?? 0) > 1), `twice: ${context}`).toEqual([])
    expect([...listed.keys()].filter((id) => !this.accepted.has(id) && !countedBefore.has(id)), `unexpected: ${context}`).toEqual([])
    for (const id of this.accepted) countedBefore.add(id)
    const submitted = this.accepted.size
    expect(audit, context).toMatchObject({ balanced: true, submitted, waiting: 0, inDoubt: 0, dead: 0, setAside: 0 })
    expect(ledger.anomalies, context).toBe(0)
    return { ledger, context }
  }
}

/** Jobs of the tests before, which Slurm lists for an hour. */
const countedBefore = new Set<string>()

test('2,000 jobs reach Slurm once each while slurmctld and usher are killed, stopped and started', { timeout: 280_000 }, async () => {
  const random = seeded(seed)
  const usher = await Usher.start(`url = "${labUrl}"\ntimeout = 3\nsettle = 8\n`)
  // Four producers of 500 jobs, each for about half a minute.
  const loads = Array.from({ length: 4 }, () => usher.send(500, 600, seeded(random() * 2 ** 31)))
  const load = { over: false }
  const loaded = Promise.all(loads).finally(() => (load.over = true))
  const slurm = { crash: 0, pause: 0 }

  const failSlurm = async (own: Random): Promise<void> => {
    // slurmctld saves its jobs every five seconds under load. The first crash comes late in such an interval, so that
    // something is forgotten in any case; the others come when they come.
    const savedMs = (): number => statSync(stateFile, { throwIfNoEntry: false })?.mtimeMs ?? 0
    await until('jobs come in, and were not saved for two seconds', () => Date.now() - savedMs() > 2000 && usher.accepted.size > 200)
    const later = shuffled<'crash' | 'pause'>(['crash', 'crash', 'pause', 'pause'], own)
    for (const fault of ['crash' as const, ...later]) {
      if (fault === 'crash') {
        await labAside('crash')
        await pause(between(own, 0, 1500))
        await labAside('start')
      } else {
        await labAside('pause')
        await pause(between(own, 4000, 7000))
        await labAside('resume')
      }
      slurm[fault] += 1
      await pause(between(own, 500, 4500))
    }
  }
  const failUsher = async (own: Random): Promise<void> => {
    await until('jobs come in', () => usher.accepted.size > 0)
    const faults = shuffled(['server', 'server', 'server', 'submitter', 'submitter', 'submitter', 'submitter'] as const, own)
    for (let at = 0; at < faults.length || !load.over; at += 1) {
      await pause(between(own, 300, 6000))
      await usher.kill(faults[at % faults.length] as 'server' | 'submitter')
    }
  }
  await Promise.all([loaded, failSlurm(seeded(random() * 2 ** 31)), failUsher(seeded(random() * 2 ** 31))])

  const { ledger, context } = await usher.account('usher and slurmctld', { slurm }, 150_000)
  expect(usher.accepted.size, context).toBe(2000)
  expect(usher.kills.server, context).toBeGreaterThan(0)
  expect(usher.kills.submitter, context).toBeGreaterThan(0)
  expect(slurm, context).toEqual({ crash: 3, pause: 2 })
  // The faults did what they are there for: Slurm forgot, and answered too late or not at all.
  expect(ledger.jobs['forgotten'] ?? 0, context).toBeGreaterThan(0)
  expect((ledger.jobs['found'] ?? 0) + (ledger.jobs['absent'] ?? 0), context).toBeGreaterThan(0)
  expect(await usher.server.end('SIGTERM'), usher.server.log).toBe(0)
})

test('held submission: 300 jobs once each, none left held, while usher is killed in mid-submission', { timeout: 150_000 }, async () => {
  const random = seeded(seed + 1)
  const usher = await Usher.start(`url = "${labUrl}"\ntimeout = 3\nsettle = 6\nhold = true\n`)
  const sending = usher.send(300, 120, random)
  for (const which of ['submitter', 'server', 'submitter', 'submitter'] as const) {
    await usher.midSubmission(random)
    await usher.kill(which)
  }
  await sending
  const { ledger, context } = await usher.account('held', {}, 100_000)
  expect(usher.kills, context).toEqual({ server: 1, submitter: 3 })
  expect(ledger.terms.length, context).toBeGreaterThan(3)
  const held = [...(await jobsById()).values()].flat().filter(({ reason }) => reason.startsWith('JobHeld'))
  expect(held, context).toEqual([])
})

test('without slurmrestd: 100 jobs through sbatch once each, while usher is killed', { timeout: 150_000 }, async () => {
  const random = seeded(seed + 2)
  const usher = await Usher.start('timeout = 4\nsettle = 6\n')
  const sending = usher.send(100, 150, random)
  for (const which of ['submitter', 'server'] as const) {
    await usher.midSubmission(random)
    await usher.kill(which)
  }
  await sending
  const { ledger, context } = await usher.account('sbatch', {}, 100_000)
  expect(usher.kills, context).toEqual({ server: 1, submitter: 1 })
  expect(ledger.terms.length, context).toBe(3)
})

test('arrays: 360 jobs run once each, as themselves, while slurmctld and usher are killed in mid-submission', { timeout: 280_000 }, async () => {
  const random = seeded(seed + 3)
  // These jobs run when everything else is over, and slurmctld fills free CPUs only every other second: so many of them.
  lab('down')
  process.env['SLURM_LAB_CPUS'] = '64'
  lab('up')
  countedBefore.clear()
  // Nothing runs before everything is there: what Slurm forgets hasn't run, and each job must run once.
  const setNode = (state: string): void => void execFileSync('scontrol', ['update', `NodeName=${hostname().split('.')[0]}`, `State=${state}`, 'Reason=test'])
  let drained = true
  const resume = (): void => {
    if (drained) setNode('RESUME')
    drained = false
  }
  setNode('DRAIN')
  cleanups.push(async () => resume())
  const usher = await Usher.start(`url = "${labUrl}"\ntimeout = 3\nsettle = 8\narray_jobs = 1000\n`)
  const folder = await makeFolder()
  cleanups.push(folder.remove)
  const ran = join(folder.path, 'ran')
  writeFileSync(ran, '')
  // slurmrestd's jobs run as another user.
  chmodSync(folder.path, 0o755)
  chmodSync(ran, 0o666)
  const specOf = (name: string): JobSpec => ({
    executable: '/bin/sh',
    arguments: ['-c', 'echo "$SLURM_JOB_ID $0 $NAME" >> "$1"', name, ran],
    environment: { NAME: name },
    directory: '/tmp',
    inherit_environment: false,
  })
  const nameOf = new Map<string, string>()
  const faults = shuffled(['crash', 'crash', 'pause', 'submitter', 'submitter', 'server'] as const, random)
  for (const [wave, fault] of faults.entries()) {
    const names = Array.from({ length: 60 }, (_, at) => `${wave}.${at}`)
    // An array is there within milliseconds. This one slurmctld takes, and doesn't answer: so a leader must be at work
    // before, which the one killed in the wave before may not have been replaced by. A job that got through shows it.
    if (fault === 'pause') {
      const first = names.shift()!
      for (const id of await usher.burst([specOf(first)])) nameOf.set(id, first)
      await settledAudit(usher.store)
      await labAside('pause')
    }
    const submitting = usher.midSubmission(random, 40)
    const sent = usher.burst(names.map(specOf))
    await submitting
    if (fault === 'crash') {
      await labAside('crash')
      await labAside('start')
    } else if (fault === 'pause') {
      await pause(between(random, 4000, 6000))
      await labAside('resume')
    } else await usher.kill(fault)
    for (const [at, id] of (await sent).entries()) nameOf.set(id, names[at]!)
  }
  const { ledger, context } = await usher.account('arrays', { faults }, 150_000)
  expect(usher.accepted.size, context).toBe(360)
  const waiting = await jobsById()
  const arrays = new Set([...usher.accepted].flatMap((id) => waiting.get(id)!.map(({ jobId }) => jobId)).filter((jobId) => jobId.includes('_')).map((jobId) => jobId.split('_')[0]))
  expect(arrays.size, context).toBeGreaterThan(2)
  expect(arrays.size, context).toBeLessThan(300)
  // What a paused slurmctld took it may have forgotten again in a crash right after.
  expect((ledger.jobs['found'] ?? 0) + (ledger.jobs['absent'] ?? 0), context).toBeGreaterThan(0)

  resume()
  const lines = (): string[] => readFileSync(ran, 'utf8').split('\n').filter((line) => line !== '')
  try {
    await until('all have run', () => lines().length >= 360, 100_000)
  } catch (error) {
    throw new Error(`${lines().length} ran; ${context}`, { cause: error })
  }
  await until('none is left', async () => [...(await jobsById()).values()].flat().every(({ state }) => state === 'COMPLETED'), 60_000)
  const names = lines().map((line) => line.split(' ')[1]!)
  expect(names.toSorted(), context).toEqual([...nameOf.values()].toSorted())
  // And each was the one that its id in the comment says.
  const numbers = new Map(lines().map((line) => [line.split(' ')[0], line.split(' ').slice(1).join(' ')]))
  const listed = await jobsById()
  for (const [id, name] of nameOf) expect(numbers.get(listed.get(id)![0]!.number), `${id}: ${context}`).toBe(`${name} ${name}`)
  process.stderr.write(`arrays: ${arrays.size} arrays, ${lines().length} jobs ran\n`)
})
