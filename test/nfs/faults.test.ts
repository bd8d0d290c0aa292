// Three hosts under load, each a kernel of its own on real NFS, and faults at random moments: power loss, a frozen
// kernel (also with submissions in its queue that could not leave), a cable out, processes stopped and killed, the file
// server gone and back. Afterwards every acknowledged job is at the cluster once, nothing else is, the terms that the
// cluster saw rise, and the audit balances.
//
// USHER_NFS_ROUNDS (30), LAB_MOUNT (vers=4.2,hard), SEED: which faults, on whom, when; how the hosts answer to them is
// their own affair and differs from run to run. Takeover times go to .out/.
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { formatProducer, producerOfName } from '../../src/protocol/job-id.ts'
import { seeded, seedOf } from '../support/random.ts'
import { root, until } from '../support/usher-process.ts'
import { addressOf, Lab, mountOptions, nfsVersion, programs, quantile, store } from './lab.ts'
import type { Submission } from './lab.ts'

const rounds = Number(process.env['USHER_NFS_ROUNDS'] ?? 30)
const jobsPerSecond = Number(process.env['USHER_NFS_LOAD'] ?? 30)
const hosts = 3
const leaseMs = 3000
/**
 * From a fault until submissions go on, whoever makes them: leases, a reboot and the file server's time of grace, which
 * takes its clients up to 65 s (docs/reliability.md) on a machine that does little else.
 */
const goesOnWithinMs = 180_000

type Kind = 'power' | 'freeze' | 'strand' | 'cut' | 'stop' | 'kill' | 'server'
/** Long enough to submit, and for the lease not to be over. */
const strandMs = 500
/** A stranded host comes back when others have asked for its jobs and sent them: leases, settle times, a takeover. */
const strandedMs = 16_000
/** Dealt in this mixture. */
const deck: readonly Kind[] = ['power', 'power', 'power', 'freeze', 'strand', 'cut', 'cut', 'stop', 'kill', 'server']

interface Fault {
  readonly kind: Kind
  /** Of the leader of that moment; otherwise of `other` of the followers. */
  readonly leader: boolean
  readonly other: number
  readonly afterMs: number
  /** How long it lasts, where it lasts. */
  readonly forMs: number
  /** What is stopped or killed. */
  readonly process: 'submitter' | 'server'
  /** Whether the next fault waits until all hosts are well again. */
  readonly patient: boolean
}

/** All choices of a run, made before it begins: the seed alone decides them. */
const deal = (seed: number): Fault[] => {
  const random = seeded(seed)
  const between = (least: number, most: number): number => Math.round(least + random() * (most - least))
  const faults: Fault[] = []
  let left: Kind[] = []
  for (let round = 0; round < rounds; round += 1) {
    if (left.length === 0) left = [...deck]
    const drawn = left.splice(Math.floor(random() * left.length), 1)[0]!
    const first = round === 0
    const kind = first ? 'power' : drawn
    const leader = random() < 0.75 || first
    const other = Math.floor(random() * (hosts - 1))
    const longMs = between(leaseMs + 1500, 3 * leaseMs)
    const anyMs = between(500, 3 * leaseMs)
    const process = random() < 0.6 ? 'submitter' : 'server'
    faults.push({ kind, leader, other, afterMs: between(0, 2500), forMs: kind === 'cut' ? anyMs : kind === 'strand' ? strandedMs : longMs, process, patient: random() < 0.7 })
  }
  return faults
}

/** From a fault to the first submission of a later term, or, where there was none, to the next submission. */
interface Took {
  readonly fault: string
  readonly ms: number
}

const labs: Lab[] = []
let lab: Lab
beforeAll(async () => {
  lab = await Lab.up(hosts)
  labs.push(lab)
}, 120_000)
afterAll(async () => {
  for (const one of labs) {
    // Whatever came of it: logs, consoles, what producers and cluster wrote, and the store where the balance wasn't right.
    process.stderr.write(`nfs: what the hosts said is in ${await one.keep(`nfs-${nfsVersion}`)}\n`)
    await one.down()
  }
}, 60_000)

const hostNumbers = Array.from({ length: hosts }, (_, at) => at + 1)
const ledgerOf = (host: number): string => join(lab.folder, String(host), 'producer.jobs')
const clientOf = (host: number): string => `host${host}`

const produce = (host: number): Promise<void> => {
  const addresses = [host, ...hostNumbers.filter((other) => other !== host)].map(addressOf).join(',')
  const args = [join(root, 'dist/client/client.js'), addresses, clientOf(host), ledgerOf(host), jobsPerSecond]
  return lab.spawn(host, 'producer', `cd /; until node ${join(root, 'test/nfs/producer.mjs')} ${args.join(' ')}; do sleep 1; done`)
}

const start = async (host: number): Promise<void> => {
  await lab.serve(host)
  await produce(host)
}

const newest = (): Submission | undefined => lab.submissions().at(-1)

/** The host that submits now; 1 as long as nobody has. */
const leaderNow = (): number => Number(newest()?.host.replace('host', '') ?? 1)

/** To the host's own processes, which no other host sees. */
const signal = (host: number, name: string, which: keyof typeof programs): Promise<unknown> =>
  lab.exec(host, `pkill -${name} -f '${programs[which]}'`)

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/** Does it; resolves with what undoes it, or null where nothing has to be undone. */
const inflict = async (fault: Fault, victim: number): Promise<(() => Promise<void>) | null> => {
  switch (fault.kind) {
    case 'power':
      await lab.do('kill', String(victim))
      return async () => {
        await lab.do('boot', String(victim))
        await start(victim)
      }
    case 'freeze':
      await lab.do('pause', String(victim))
      return () => lab.do('resume', String(victim))
    case 'strand':
      // Submissions that don't arrive, frozen in their kernel's queue, and let go when others have sent their jobs.
      await lab.do('part', String(victim))
      await sleep(strandMs)
      await lab.do('pause', String(victim))
      return async () => {
        await lab.do('join', String(victim))
        await lab.do('resume', String(victim))
      }
    case 'cut':
      await lab.do('cut', String(victim))
      return () => lab.do('heal', String(victim))
    case 'stop':
      await signal(victim, 'STOP', fault.process)
      return async () => void (await signal(victim, 'CONT', fault.process))
    case 'kill':
      await signal(victim, 'KILL', fault.process)
      return null
    case 'server':
      await lab.do('kill', '0')
      return () => lab.do('boot', '0')
  }
}

const allAccept = async (): Promise<void> => {
  for (const host of hostNumbers) await lab.accepting(host)
}

/** What a producer wrote of itself. */
const readProducer = async (host: number): Promise<{ sent: number; acked: string[]; ended: boolean }> => {
  const prefix = formatProducer(producerOfName(clientOf(host)))
  const acked: string[] = []
  let sent = 0
  let ended = false
  for (const line of (await readFile(ledgerOf(host), 'latin1')).split('\n')) {
    const [kind, ...rest] = line.split(' ')
    // What power loss cut off was never said.
    if (rest.pop() !== '.') continue
    if (kind === 's') sent = Math.max(sent, Number(rest[0]))
    if (kind === 'a') acked.push(...rest.map((sequence) => `${prefix}-${sequence}`))
    ended ||= kind === 'end'
  }
  return { sent, acked, ended }
}

/** Submissions of a term that came after one of a later term. */
const outOfTurn = (submissions: readonly Submission[]): Submission[] => {
  let newestTerm = 0
  return submissions.filter(({ term }) => {
    newestTerm = Math.max(newestTerm, term)
    return term < newestTerm
  })
}

const tableOf = (title: string, times: readonly Took[]): { rows: Record<string, object>; text: string } => {
  const rows: Record<string, { count: number; p50: number; p99: number; max: number }> = {}
  for (const fault of [...new Set(times.map((one) => one.fault)).values(), 'all']) {
    const ms = times.filter((one) => fault === 'all' || one.fault === fault).map((one) => one.ms)
    if (ms.length > 0) rows[fault] = { count: ms.length, p50: quantile(ms, 0.5), p99: quantile(ms, 0.99), max: Math.max(...ms) }
  }
  const lines = Object.entries(rows).map(([fault, { count, p50, p99, max }]) => `  ${fault.padEnd(28)}${[count, p50, p99, max].map((value) => String(value).padStart(8)).join('')}`)
  return { rows, text: [`${title} (ms)`.padEnd(30) + ['count', 'p50', 'p99', 'max'].map((name) => name.padStart(8)).join(''), ...lines].join('\n') }
}

const report = async (seed: number, takeovers: readonly Took[], others: readonly Took[], facts: object, say: (text: string) => void): Promise<void> => {
  const tables = [tableOf('taken over', takeovers), tableOf('submissions again', others)] as const
  const kernel = (await lab.exec(1, 'uname -r')).stdout.trim()
  const result = { seed, mount: mountOptions, kernel, leaseMs, ...facts, takeovers: tables[0].rows, others: tables[1].rows, raw: takeovers }
  await mkdir(join(root, '.out'), { recursive: true })
  await writeFile(join(root, '.out', `nfs-${nfsVersion}-${seed}.json`), `${JSON.stringify(result, null, 2)}\n`)
  say(`${JSON.stringify(facts)}\n${tables[0].text}\n${tables[1].text}`)
}

describe(`three hosts on NFS ${nfsVersion}`, () => {
  it(`lose and double nothing in ${rounds} rounds of faults`, { timeout: 900_000 }, async () => {
    const seed = seedOf()
    const begunMs = Date.now()
    const say = (text: string): void => void process.stderr.write(`nfs ${((Date.now() - begunMs) / 1000).toFixed(1)} s: ${text}\n`)
    say(`seed ${seed}, ${mountOptions}`)
    await lab.startCluster(seed)
    for (const host of hostNumbers) await lab.serve(host)
    await allAccept()
    for (const host of hostNumbers) await produce(host)
    await until('jobs flow', () => lab.submissions().length > 50, 60_000)

    const takeovers: Took[] = []
    const recoveries: Took[] = []
    for (const [round, fault] of deal(seed).entries()) {
      await sleep(fault.afterMs)
      const before = newest()!
      const leader = leaderNow()
      const others = hostNumbers.filter((host) => host !== leader)
      const victim = fault.kind === 'server' ? 0 : fault.leader ? leader : others[fault.other]!
      const what = `${fault.kind}${fault.kind === 'stop' || fault.kind === 'kill' ? ` ${fault.process}` : ''}`
      const atMs = Date.now()
      const undo = await inflict(fault, victim)
      const count = lab.submissions().length
      // A host without power comes back as soon as it can: that it must not hurry is what leases are for.
      if (['freeze', 'strand', 'cut', 'stop'].includes(fault.kind)) await sleep(Math.max(0, fault.forMs - (Date.now() - atMs)))
      await undo?.()
      const onLeader = victim === leader
      await until(`jobs flow after round ${round} (${what} of host ${victim}, seed ${seed})`, () => lab.submissions().length > count + 20, goesOnWithinMs)
      const next = lab.submissions().find(({ term }) => term > before.term)
      const took = onLeader && next !== undefined && next.at > atMs ? next.at - atMs : null
      if (took !== null) takeovers.push({ fault: what, ms: took })
      const flowing = lab.submissions()[count]!
      if (!onLeader || next === undefined) recoveries.push({ fault: `${what}${victim === 0 ? '' : onLeader ? ' of leader' : ' of follower'}`, ms: flowing.at - atMs })
      say(`round ${round}: ${what} of host ${victim}${onLeader ? ' (leader)' : ''} for ${Date.now() - atMs} ms, ${took === null ? 'no takeover' : `taken over in ${took} ms`} by ${newest()!.host}, ${lab.submissions().length} submitted`)
      if (fault.patient) await allAccept()
    }

    // Everything is well again: now all of it must come to its end.
    await allAccept()
    say('all hosts accept; the producers end')
    for (const host of hostNumbers) await signal(host, 'TERM', 'producer')
    let producers = await Promise.all(hostNumbers.map(readProducer))
    await until(
      'the producers have ended',
      async () => {
        producers = await Promise.all(hostNumbers.map(readProducer))
        return producers.every(({ ended }) => ended)
      },
      120_000,
    )
    const acked = new Set(producers.flatMap(({ acked: ids }) => ids))
    const sent = producers.reduce((sum, producer) => sum + producer.sent, 0)
    say(`${sent} jobs were sent, and ${acked.size} are acknowledged`)
    let status = await lab.status(1)
    await until(
      'all jobs are submitted',
      async () => {
        status = await lab.status(1)
        return status.audit.waiting === 0 && status.audit.inDoubt === 0
      },
      120_000,
    ).catch((error: unknown) => {
      throw new Error(`${String(error)}: ${JSON.stringify(status.audit)}`)
    })
    const submissions = lab.submissions()
    const counts = new Map<string, number>()
    for (const { id } of submissions) counts.set(id, (counts.get(id) ?? 0) + 1)
    const facts = { rounds, seconds: Math.round((Date.now() - begunMs) / 1000), jobs: acked.size, duplicates: status.audit.duplicates, terms: new Set(submissions.map(({ term }) => term)).size }
    await report(seed, takeovers, recoveries, facts, say)
    const context = `seed ${seed}; ${JSON.stringify({ ...facts, ...status.audit })}`
    try {
      expect(acked.size, context).toBe(sent)
      expect([...acked].filter((id) => !counts.has(id)), `lost; ${context}`).toEqual([])
      expect([...counts].filter(([, count]) => count > 1), `twice; ${context}`).toEqual([])
      expect([...counts.keys()].filter((id) => !acked.has(id)), `nobody sent it; ${context}`).toEqual([])
      expect(outOfTurn(submissions), `submitted after a later term had; ${context}`).toEqual([])
      expect(status.audit, context).toMatchObject({ balanced: true, submitted: acked.size, dead: 0, discarded: 0, setAside: 0 })
      expect(status.warnings, context).toEqual([])
    } catch (error) {
      await lab.exec(1, `tar czf ${lab.folder}/store.tgz -C ${store} .`, 120)
      throw error
    }
  })
})
