import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { systemClock } from '../../../src/base/clock.ts'
import { native } from '../../../src/base/native.ts'
import { openStore } from '../../../src/store/identity.ts'
import { encodePresence } from '../../../src/store/presence.ts'
import { Candidate, candidatePace } from '../../../src/submit/candidate.ts'
import type { Driver, Preflight } from '../../../src/submit/driver.ts'
import type { FromSubmitter, StartMessage } from '../../../src/submit/messages.ts'
import { until } from '../../support/usher-process.ts'

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup()
})

type Role = Extract<FromSubmitter, { type: 'role' }>

interface Other {
  readonly eligible: boolean
  readonly clusters?: readonly string[]
}

/**
 * A candidate on a store where another instance is there or not, and clusters that say what the test wants. Its claims wait for
 * `mayClaim`.
 */
const standing = async (other: Other | null, clusters: readonly string[], mayClaim: Promise<void> = Promise.resolve()) => {
  const root = await mkdtemp(join(tmpdir(), 'usher-candidate-'))
  cleanups.push(() => rm(root, { recursive: true, maxRetries: 5 }))
  const { store, identity } = await openStore(root, { create: true })
  if (other !== null) {
    const instance = 'other-20261123T040000-abcdef'
    await mkdir(join(root, 'hosts', instance))
    // So long an accept lease that it isn't taken for gone while the test runs.
    const presence = { instance, host: 'other', role: 'follower', eligible: other.eligible, clusters: other.clusters ?? [], acceptLeaseMs: 300_000, beat: 1, published: 0 }
    await writeFile(join(root, 'hosts', instance, 'presence'), encodePresence(presence))
  }
  const answers = new Map<string, Preflight | Promise<Preflight>>()
  let asked = 0
  /** Clusters for which jobs would have been taken. */
  const takes = new Set<string>()
  const claim = store.claim.bind(store)
  store.claim = async (...given) => {
    await mayClaim
    return claim(...given)
  }
  const driverOf = (cluster: string): Driver => ({
    kind: 'fake',
    limits: { batchJobsMax: 1, inFlightMax: 1, settleMs: 0, askEveryMs: 1000 },
    preflight: () => {
      asked += 1
      return Promise.resolve(answers.get(cluster) ?? { ok: true, detail: '' })
    },
    capacity: () => {
      takes.add(cluster)
      return 1
    },
    submit: () => Promise.resolve([]),
    find: null,
    close: () => Promise.resolve(),
  })
  const roles: Role[] = []
  const exits: number[] = []
  const start: StartMessage = {
    type: 'start',
    directory: root,
    storeUuid: identity.uuid,
    by: { host: 'one', instance: 'one-20261123T040000-abcdef', version: '0.1.0', config: 'c' },
    address: '127.0.0.1:1',
    leaseMs: 600,
    acceptLeaseMs: 600,
    clusters: Object.fromEntries(clusters.map((name) => [name, { driver: 'discard', pause: false }])),
    windowBytesMax: 65_536,
    retryMinMs: 10,
    retryMaxMs: 10,
    retentionMs: 86_400_000,
    published: 0,
  }
  const candidate = new Candidate({
    start,
    pid: process.pid,
    store,
    clock: systemClock,
    // It never is late here; what the deadline does is tested elsewhere.
    deadline: { arm: () => undefined, disarm: () => undefined },
    random: Math.random,
    pace: { ...candidatePace, preflightEveryMs: 20, preflightRetryMs: 20, resignAfterMs: 600_000 },
    createDriver: driverOf,
    createSeenIds: () => new native.SeenIds(),
    provenDead: () => false,
    clockFault: () => null,
    send: (message) => {
      if (message.type === 'role') roles.push(message)
    },
    exit: (status) => exits.push(status),
  })
  cleanups.push(() => candidate.resign())
  candidate.start()
  const role = () => roles.at(-1)
  /** The cluster says something else, and was asked so often since. */
  const say = async (said: Preflight | Promise<Preflight>, rounds: number, cluster = 'main'): Promise<void> => {
    answers.set(cluster, said)
    const before = asked
    await until('it was asked', () => asked >= before + rounds * clusters.length)
  }
  return { role, roles, say, exits, answers, takes }
}

/** One that leads. */
const leading = async (other: Other | null, clusters: readonly string[] = ['main']) => {
  const candidate = await standing(other, clusters)
  await until('it leads', () => candidate.role()?.role === 'leader')
  return candidate
}

const refused = { ok: false, kind: 'refused', reason: 'who are you?' } as const
const unreachable = { ok: false, kind: 'unreachable', reason: 'connection refused' } as const

describe('a leader whose only cluster', () => {
  it('refuses it resigns at once where another host may lead, and stands again when it is taken back', async () => {
    const { role, say, exits } = await leading({ eligible: true })
    await say(refused, 1)
    await until('it has resigned', () => role()?.role === 'ineligible')
    expect(role()).toMatchObject({ eligible: false, reason: 'cluster main: who are you?' })
    await say({ ok: true, detail: '' }, 1)
    await until('it leads again', () => role()?.role === 'leader')
    expect(role()).toMatchObject({ eligible: true, reason: '' })
    expect(exits).toEqual([])
  })

  it.each([
    ['refuses it stays where nobody else is there', refused, null],
    ['refuses it stays where the other host may not lead either', refused, { eligible: false }],
    ["can't be reached stays, since that is likely to be so for others", unreachable, { eligible: true }],
  ] as const)('%s, and shows why nothing is submitted', async (_, answer, other) => {
    const { role, say } = await leading(other)
    await say(answer, 20)
    expect(role()).toMatchObject({ role: 'leader', reason: `cluster main: ${answer.reason}` })
    await say({ ok: true, detail: '' }, 2)
    await until('the reason is gone', () => role()?.reason === '')
    expect(role()?.role).toBe('leader')
  })
})

describe('a leader that lacks one of its clusters', () => {
  it('makes room, once a while, for a host that can submit to all of its own and that one too', async () => {
    const { role, roles, say } = await leading({ eligible: true, clusters: ['main', 'second'] }, ['main', 'second'])
    expect(role()).toMatchObject({ clusters: ['main', 'second'] })
    await say(unreachable, 1, 'second')
    await until('it has made room', () => roles.some(({ reason }) => reason === 'makes room for other, which can submit to main, second'))
    // Nobody takes it here: so it leads again, and doesn't give way at once again.
    await until('it leads again', () => role()?.role === 'leader')
    const changes = roles.length
    await say(unreachable, 20, 'second')
    expect(roles.slice(changes).every((told) => told.role === 'leader')).toBe(true)
    expect(role()).toMatchObject({ role: 'leader', clusters: ['main'], reason: 'cluster second: connection refused' })
  })

  it.each([
    ['another that lacks it as well', { eligible: true, clusters: ['main'] }],
    ['another that lacks what it has itself, lest they take turns', { eligible: true, clusters: ['second'] }],
    ['another that may not lead', { eligible: false, clusters: ['main', 'second'] }],
    ['another that does not say', { eligible: true }],
  ])('goes on beside %s', async (_, other) => {
    const { roles, say } = await leading(other, ['main', 'second'])
    await say(refused, 20, 'second')
    expect(roles.slice(roles.findIndex((told) => told.role === 'leader')).every((told) => told.role === 'leader')).toBe(true)
  })
})

describe('a host that comes to lead while its clusters are being asked', () => {
  it('takes no jobs for one that has just refused it, though it has not heard of the others yet', async () => {
    let mayClaim = (): void => undefined
    let answer: (said: Preflight) => void = () => undefined
    const { role, say, answers, takes } = await standing(null, ['main', 'second'], new Promise((resolve) => (mayClaim = resolve)))
    await until('it stands', () => role()?.eligible === true)
    answers.set('main', refused)
    await say(new Promise((resolve) => (answer = resolve)), 1, 'second')
    mayClaim()
    await until('it leads and takes jobs', () => takes.has('second'))
    expect(role()?.role).toBe('leader')
    expect(takes).not.toContain('main')
    answers.clear()
    answer({ ok: true, detail: '' })
    await until('it takes jobs for both', () => takes.has('main'))
  })
})
