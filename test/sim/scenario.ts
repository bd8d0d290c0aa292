// What a seed stands for: how many hosts, clusters and jobs, which faults, how likely and when. Most seeds have few kinds of
// faults, so that each is met alone as well as together with others.
import type { Chance } from './chance.ts'
import type { ClusterHabits } from './cluster.ts'
import { noClusterFaults, noFileFaults } from './world.ts'
import type { ClusterFaults, FileFaults } from './world.ts'

export type Strike =
  | 'kill submitter' | 'kill server' | 'power loss' | 'stop submitter' | 'stop server' | 'freeze host' | 'cut store' | 'cut cluster' | 'server outage'
  | 'drain' | 'cluster stands still' | 'cluster crash' | 'broken configuration' | 'store full' | 'wall clock jumps' | 'trap'

export interface Blow {
  readonly atMs: number
  readonly what: Strike
  readonly host: number
  readonly cluster: number
  /** How long it lasts. */
  readonly forMs: number
  /** Of a trap: which operation from then on, of which process, what happens there. */
  readonly trap: { readonly nth: number; readonly on: 'any' | 'durable' | 'submit'; readonly when: 'before' | 'after'; readonly strike: 'kill' | 'stop' | 'power' | 'freeze'; readonly proc: 'server' | 'submitter' | 'leader' }
}

export interface Scenario {
  readonly hosts: number
  readonly rates: readonly number[]
  readonly wallOffsetsMs: readonly number[]
  readonly clusters: readonly ClusterHabits[]
  /** A host whose configuration is broken from the beginning, until the world is healed; -1: none. */
  readonly outsider: number
  readonly leaseMs: number
  readonly acceptLeaseMs: number
  readonly sealIntervalMs: number
  readonly windowBytesMax: number
  readonly pollMs: number
  readonly faultsUntilMs: number
  readonly files: FileFaults
  readonly clusterFaults: ClusterFaults
  readonly blows: readonly Blow[]
  readonly batches: readonly { readonly atMs: number; readonly jobs: number; readonly producer: number }[]
  readonly producers: number
  readonly producerTimeoutMs: number
  readonly conflicts: number
  readonly bad: number
  readonly resends: number
}

/** Changes what is drawn, so that one kind of trouble comes up more often. */
export interface Leaning {
  readonly skew?: number
  readonly strikes?: readonly Strike[]
  readonly files?: Partial<FileFaults>
  readonly clusterFaults?: Partial<ClusterFaults>
  readonly hosts?: number
  readonly confirms?: boolean
  readonly resends?: number
  /** Where this is left out the seed says. */
  readonly retentionMs?: number
}

const strikes: readonly (readonly [Strike, number])[] = [
  ['kill submitter', 3], ['kill server', 3], ['power loss', 3], ['stop submitter', 3], ['stop server', 2], ['freeze host', 2], ['cut store', 2], ['cut cluster', 2],
  ['server outage', 1], ['drain', 2], ['cluster stands still', 2], ['cluster crash', 2], ['broken configuration', 2], ['store full', 1], ['wall clock jumps', 1], ['trap', 12],
]
const bag: readonly Strike[] = strikes.flatMap(([what, weight]) => Array.from({ length: weight }, () => what))

const drawHabits = (chance: Chance, abortive: boolean, confirms: boolean): ClusterHabits => {
  const settleMs = chance.of([400, 800, 1500])
  return {
    settleMs,
    askEveryMs: chance.of([150, 300, 600]),
    batchJobsMax: chance.of([1, 3, 100]),
    inFlightMax: chance.of([1, 2, 8]),
    timeoutMs: chance.of([300, 1000]),
    runMs: chance.happens(0.3) ? chance.of([10, 500, 3000]) : null,
    absentProofMs: chance.happens(0.2) ? chance.of([8000, 20_000]) : null,
    confirms,
    saveEveryMs: chance.of([500, 1500]),
    holds: chance.happens(0.2),
    asks: !chance.happens(0.06),
    abortive,
  }
}

const drawBlow = (chance: Chance, hosts: number, clusters: number, untilMs: number, choice: readonly Strike[], leaseMs: number): Blow => ({
  atMs: chance.between(200, untilMs),
  what: chance.of(choice),
  host: chance.whole(0, hosts - 1),
  cluster: chance.whole(0, clusters - 1),
  forMs: chance.happens(0.5) ? chance.between(50, leaseMs) : chance.between(leaseMs, leaseMs * 4),
  trap: {
    nth: chance.happens(0.5) ? chance.whole(1, 12) : chance.whole(1, 120),
    on: chance.of(['any', 'durable', 'durable', 'submit'] as const),
    when: chance.of(['before', 'after'] as const),
    strike: chance.of(['kill', 'kill', 'stop', 'stop', 'power', 'freeze'] as const),
    proc: chance.of(['server', 'submitter', 'leader', 'leader'] as const),
  },
})

/** Each kind of fault is absent in most seeds, and of any strength in the others. */
const drawFaults = <T extends FileFaults | ClusterFaults>(chance: Chance, none: T, how: Partial<Record<keyof T, number>>, kindsMax: number): T => {
  const faults = { ...none } as Record<string, number>
  const names = Object.keys(how)
  for (let kinds = chance.whole(0, kindsMax); kinds > 0; kinds -= 1) {
    const name = chance.of(names)
    faults[name] = chance.skewed(0.002, (how as Record<string, number>)[name]!)
  }
  return faults as unknown as T
}

export const drawScenario = (chance: Chance, leaning: Leaning, abortive: boolean): Scenario => {
  const hosts = leaning.hosts ?? chance.of([1, 2, 2, 2, 3, 3, 4])
  const leaseMs = chance.of([1200, 2000])
  const faultsUntilMs = chance.between(1.5, 4) * leaseMs
  const skew = leaning.skew ?? (chance.happens(0.4) ? 0.04 : 0)
  const clusterCount = chance.happens(0.15) ? 2 : 1
  const confirms = leaning.confirms ?? chance.happens(0.35)
  const producers = chance.whole(1, 2)
  const blows = Array.from({ length: chance.whole(0, 4) }, () => drawBlow(chance, hosts, clusterCount, faultsUntilMs, leaning.strikes ?? bag, leaseMs))
  const files = drawFaults<FileFaults>(
    chance,
    noFileFaults(),
    { error: 0.05, doneButError: 0.1, late: 0.1, again: 0.2, resent: 0.15, falseLink: 1, noSpace: 0.05, stale: 0.05, cached: 0.9, negative: 0.9, slow: 0.1 },
    4,
  )
  const clusterFaults = drawFaults<ClusterFaults>(
    chance,
    noClusterFaults(),
    { lost: 0.4, unanswered: 0.4, shownLate: 0.8, busy: 0.5, stalled: 0.4, unknown: 0.4 },
    3,
  )
  return {
    hosts,
    rates: Array.from({ length: hosts }, () => 1 + (leaning.skew === undefined ? chance.between(-skew, skew) : chance.of([-skew, skew]))),
    wallOffsetsMs: Array.from({ length: hosts }, () => chance.between(-500, 500)),
    clusters: Array.from({ length: clusterCount }, () => drawHabits(chance, abortive, confirms)),
    outsider: hosts > 1 && chance.happens(0.15) ? chance.whole(0, hosts - 1) : -1,
    leaseMs,
    acceptLeaseMs: chance.of([1600, 3000]),
    sealIntervalMs: chance.of([20, 100, 400]),
    windowBytesMax: chance.of([1, 2000, 1_000_000]),
    pollMs: chance.of([250, 500]),
    faultsUntilMs,
    files: { ...files, afterDeath: chance.of([0, 0.3, 1]), ...leaning.files },
    clusterFaults: { ...clusterFaults, ...leaning.clusterFaults },
    blows,
    batches: Array.from({ length: chance.whole(2, 8) }, () => ({ atMs: chance.between(100, faultsUntilMs), jobs: chance.whole(1, 4), producer: chance.whole(0, producers - 1) })),
    producers,
    producerTimeoutMs: chance.of([400, 1500]),
    conflicts: chance.happens(0.25) ? 0.3 : 0,
    bad: chance.happens(0.2) ? 0.2 : 0,
    resends: leaning.resends ?? (chance.happens(0.4) ? 0.4 : 0.02),
  }
}
