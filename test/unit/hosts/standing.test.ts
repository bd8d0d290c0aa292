import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { systemClock } from '../../../src/base/clock.ts'
import { decide } from '../../../src/hosts/admission.ts'
import { requestDrain } from '../../../src/hosts/drains.ts'
import { Standing } from '../../../src/hosts/standing.ts'
import { ownProcess } from '../../../src/observe/instance.ts'
import type { CheckResult } from '../../../src/store/checks.ts'
import { realFiles } from '../../../src/store/file-operations.ts'
import { openStore } from '../../../src/store/identity.ts'
import type { Store } from '../../../src/store/store.ts'
import { until } from '../../support/usher-process.ts'

let root: string
let store: Store
const ended: (() => void)[] = []

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'usher-standing-'))
  store = (await openStore(root, { create: true })).store
})

afterEach(async () => {
  for (const end of ended.splice(0)) end()
  await rm(root, { recursive: true })
})

const decision = (what: 'admit' | 'expel', host: string) => decide(store, { decision: what, hosts: [host], by: 'ops@console', at: '2026-11-23T04:00:00.000Z' })

const start = async (options: { recheck?: () => Promise<CheckResult[]>; store?: Store; mode?: 'open' | 'listed' } = {}) => {
  const refusals: (string | null)[] = []
  const drains: string[] = []
  const logged: string[] = []
  const standing = new Standing({
    store: options.store ?? store,
    host: 'node1',
    mode: options.mode ?? 'open',
    clock: { ...systemClock, after: (ms, call) => systemClock.after(ms / 50, call) },
    process: ownProcess(),
    instances: new Set(['node1-a']),
    recheck: options.recheck ?? (() => Promise.resolve([])),
    onRefusal: (reason) => refusals.push(reason),
    onDrain: ({ id }) => drains.push(id),
    log: (_, message) => logged.push(message),
  })
  ended.push(() => standing.stop())
  await standing.start()
  return { standing, refusals, drains, logged }
}

describe('the standing of a host', () => {
  it('follows what operators decide', async () => {
    const { standing, refusals, drains } = await start({ mode: 'listed' })
    expect(standing.refusal).toMatch(/^waiting for admission/)
    await decision('admit', 'node1')
    await until('it is let in', () => refusals.length === 1)
    await decision('expel', 'node1')
    await until('it is expelled', () => refusals.length === 2)
    expect(refusals).toEqual([null, expect.stringMatching(/^expelled by ops@console/)])
    const { id } = await requestDrain(store, [{ ...ownProcess(), instance: 'node1-a' }], 'ops@console')
    await until('it is asked to end', () => drains.length > 0)
    expect(drains).toEqual([id])
  })

  it('loses it when a check of the store fails twice, and has it back when it passes', async () => {
    // The failures come in this order; one alone is taken for a moment's.
    const bad: CheckResult = { name: 'mount', ok: false, detail: 'mounted with soft', remedy: 'mount it hard' }
    const results: CheckResult[][] = [[], [bad], [], [bad], [bad], [bad], []]
    let looks = 0
    const { standing, refusals } = await start({ recheck: () => Promise.resolve(results[looks++] ?? []) })
    await until('it was refused and let in again', () => refusals.length === 2 && looks >= 7)
    expect(refusals).toEqual(['store check mount: mounted with soft (mount it hard)', null])
    expect(standing.refusal).toBeNull()
  })

  it('keeps what it knew while the store fails, and says so once', async () => {
    let failing = false
    const files = {
      ...realFiles,
      readdir: (path: string) => (failing ? Promise.reject(Object.assign(new Error('EIO'), { code: 'EIO' })) : realFiles.readdir(path)),
    }
    const failed = (await openStore(root, { create: false, files })).store
    const { standing, refusals, logged } = await start({ store: failed })
    failing = true
    await decision('expel', 'node1')
    await until('it was noticed', () => logged.length > 0)
    expect(standing.refusal).toBeNull()
    failing = false
    await until('the decision shows', () => refusals.length === 1)
    expect(logged).toHaveLength(1)
    expect(logged[0]).toContain("what operators decided about this host can't be read")
    // A process that begins must know where it stands.
    failing = true
    await expect(start({ store: failed })).rejects.toMatchObject({ code: 'store_unavailable' })
  })
})
