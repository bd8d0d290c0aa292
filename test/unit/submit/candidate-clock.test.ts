import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { systemClock } from '../../../src/base/clock.ts'
import { native } from '../../../src/base/native.ts'
import { DirectoryStore } from '../../../src/store/directory-store.ts'
import { Candidate, candidatePace } from '../../../src/submit/candidate.ts'
import type { Driver } from '../../../src/submit/driver.ts'
import type { FromSubmitter } from '../../../src/submit/messages.ts'

const instance = 'node7-20261123T040000-3fa9c1'
const leaseMs = 600

let root: string
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'usher-candidate-'))
})
afterEach(() => rm(root, { recursive: true }))

const driver: Driver = {
  kind: 'none',
  limits: { batchJobsMax: 1, inFlightMax: 1, settleMs: 1000, askEveryMs: 500 },
  preflight: () => Promise.resolve({ ok: true, detail: 'ready' }),
  submit: () => Promise.reject(new Error('there is nothing to submit')),
  find: null,
  close: () => Promise.resolve(),
}

it('leads only while its clock is right: it resigns where that goes wrong, says why, and stands again when it is mended', async () => {
  const store = new DirectoryStore(root)
  for (const directory of ['claims', 'terms', 'hosts', 'ledger', 'requests', `hosts/${instance}`]) await store.makeDirectory(directory)
  let fault: string | null = null
  const roles: string[] = []
  let tell: () => void = () => undefined
  const is = async (wanted: string): Promise<void> => {
    while (roles.at(-1) !== wanted) await new Promise<void>((resolve) => (tell = resolve))
  }
  const exits: number[] = []
  const candidate = new Candidate({
    start: {
      type: 'start',
      directory: root,
      storeUuid: 'e35691c8-27ce-4d87-bc4e-fb143225f199',
      by: { host: 'node7', instance, version: '0', config: '00000000' },
      address: '127.0.0.1:7433',
      leaseMs,
      acceptLeaseMs: 5000,
      clusters: { main: { driver: 'discard', pause: false } },
      windowBytesMax: 1 << 20,
      retryMinMs: 10,
      retryMaxMs: 100,
      retentionMs: 86_400_000,
      published: 0,
    },
    pid: process.pid,
    store,
    clock: systemClock,
    deadline: { arm: () => undefined, disarm: () => undefined },
    random: Math.random,
    pace: { ...candidatePace, preflightEveryMs: 50, preflightRetryMs: 50, clockEveryMs: 20 },
    createDriver: () => driver,
    createSeenIds: () => new native.SeenIds(),
    provenDead: () => false,
    clockFault: () => fault,
    send: (message: FromSubmitter) => {
      if (message.type === 'role') {
        roles.push(`${message.role} ${message.reason}`)
        tell()
      }
    },
    exit: (status) => void exits.push(status),
  })
  candidate.start()
  await is('leader ')
  fault = 'this clock runs 12 % fast'
  await is('ineligible this clock runs 12 % fast')
  // It says so before its last claim is made.
  const newestLease = async (): Promise<number> => {
    const newest = (await store.list('claims')).at(-1)!
    return (JSON.parse((await store.read(`claims/${newest}`)).toString()) as { leaseMs: number }).leaseMs
  }
  await vi.waitUntil(async () => (await newestLease()) === 0, { timeout: 10_000 })
  fault = null
  await is('leader ')
  await candidate.resign()
  expect(exits).toEqual([0])
})
