import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { ElectorOptions, Leading, Lost } from '../../../src/election/elector.ts'
import { Elector } from '../../../src/election/elector.ts'
import { DirectoryStore } from '../../../src/store/directory-store.ts'
import type { FileOperations } from '../../../src/store/file-operations.ts'
import { realFiles } from '../../../src/store/file-operations.ts'
import { claimsDirectory, parseClaimNumber, termsDirectory } from '../../../src/store/layout.ts'

class RecordingDeadline {
  readonly calls: (number | null)[] = []
  arm(atMs: number): void {
    this.calls.push(atMs)
  }
  disarm(): void {
    this.calls.push(null)
  }
}

const leaseMs = 300

let root: string
let electors: Elector[]

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'usher-elector-'))
  electors = []
  const store = new DirectoryStore(root)
  for (const directory of [claimsDirectory, termsDirectory, 'hosts']) await store.makeDirectory(directory)
})

afterEach(async () => {
  for (const elector of electors) await elector.stop()
  await rm(root, { recursive: true })
})

const elect = (
  instance: string,
  options: Partial<ElectorOptions> & { files?: FileOperations } = {},
): { elector: Elector; deadline: RecordingDeadline } => {
  const deadline = new RecordingDeadline()
  const { files, ...rest } = options
  const elector = new Elector({
    store: new DirectoryStore(root, files ?? realFiles),
    instance,
    host: instance,
    address: '',
    leaseMs,
    clock: () => performance.now(),
    deadline,
    eligible: true,
    ...rest,
  })
  electors.push(elector)
  return { elector, deadline }
}

const leads = (elector: Elector): Promise<Leading> => new Promise((resolve) => elector.once('leading', resolve))
const loses = (elector: Elector): Promise<Lost> => new Promise((resolve) => elector.once('lost', resolve))

const until = async (condition: () => boolean | Promise<boolean>): Promise<void> => {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 5))
}

const numbers = async (directory: string): Promise<number[]> =>
  (await new DirectoryStore(root).list(directory)).map((name) => parseClaimNumber(name)!)

describe('elector', () => {
  it('leads an empty store at once, renews, and keeps the first claim of its term', async () => {
    const { elector, deadline } = elect('a')
    const leading = leads(elector)
    elector.start()
    const { term, validUntil } = await leading
    expect(term).toBe(1)
    const first = validUntil()
    expect(first).toBeGreaterThan(performance.now())
    await until(() => validUntil() > first)
    await until(async () => (await numbers(termsDirectory)).length > 0)
    expect(await numbers(termsDirectory)).toEqual([1])
    expect((await numbers(claimsDirectory)).length).toBeGreaterThanOrEqual(2)
    // Armed before the first link, and moved to each new claim's end.
    expect(deadline.calls[0]).toBe(first)
    expect(deadline.calls.every((call, i) => call !== null && (i === 0 || call > deadline.calls[i - 1]!))).toBe(true)
  })

  it('lets one of two lead, and the other take over after the lease when it is gone', async () => {
    const { elector: a } = elect('a')
    const { elector: b } = elect('b')
    const first = Promise.race([
      leads(a).then((leading) => ({ leading, who: a, other: b })),
      leads(b).then((leading) => ({ leading, who: b, other: a })),
    ])
    a.start()
    b.start()
    const { leading, who, other } = await first
    await until(() => other.state.role === 'follower' && other.state.leader?.term === leading.term)
    const overtaking = leads(other)
    // As if it died: it renews no more.
    await who.stop()
    const validUntil = leading.validUntil()
    const next = await overtaking
    expect(performance.now()).toBeGreaterThan(validUntil)
    expect(next.term).toBeGreaterThan(leading.term)
    await until(async () => (await numbers(termsDirectory)).length === 2)
  })

  it('hands over on resigning, after it has drained, and does not stand again before it may', async () => {
    const steps: string[] = []
    const { elector: a } = elect('a', { drain: async () => void steps.push(`drained as ${a.state.role}`) })
    const { elector: b } = elect('b')
    const first = leads(a)
    a.start()
    const { term, validUntil } = await first
    b.start()
    await until(() => b.state.role === 'follower' && b.state.leader !== null)
    const second = leads(b)
    await a.resign()
    expect(validUntil()).toBe(0)
    expect(a.state.role).toBe('follower')
    expect(steps).toEqual(['drained as leader'])
    expect((await second).term).toBeGreaterThan(term)
    expect(a.eligibility).toEqual({ eligible: false, reason: 'resigned' })
    const again = leads(a)
    await a.setEligible(true, 'preflight passed')
    await b.resign()
    expect((await again).term).toBeGreaterThan(term + 1)
  })

  it('says that it lost when the next claim is taken by another', async () => {
    const { elector } = elect('a')
    const leading = leads(elector)
    const lost = loses(elector)
    elector.start()
    const { term, validUntil } = await leading
    const store = new DirectoryStore(root)
    await store.publish('hosts/intruder', Buffer.from('not a'))
    // Some number that it will come to.
    const next = Math.max(...(await numbers(claimsDirectory))) + 2
    expect(await store.claim(`claims/${String(next).padStart(16, '0')}`, 'hosts/intruder')).toBe('won')
    expect(await lost).toEqual({ term, reason: `claim ${next} was taken by another` })
    expect(validUntil()).toBe(0)
  })

  it('says that it lost when nobody can tell what became of a renewal', async () => {
    let failing = false
    const files: FileOperations = {
      ...realFiles,
      link: (existing, path) => {
        if (!failing) return realFiles.link(existing, path)
        return Promise.reject(Object.assign(new Error('input/output error'), { code: 'EIO' }))
      },
    }
    const { elector } = elect('a', { files })
    const leading = leads(elector)
    const lost = loses(elector)
    elector.start()
    await leading
    failing = true
    expect((await lost).reason).toMatch(/^nobody knows whose claim/)
  })

  it('goes on leading when a renewal is reported as failed and was done', async () => {
    let failures = 0
    const files: FileOperations = {
      ...realFiles,
      link: async (existing, path) => {
        await realFiles.link(existing, path)
        failures += 1
        throw Object.assign(new Error('the reply was lost'), { code: failures % 2 === 0 ? 'EEXIST' : 'EIO' })
      },
    }
    const { elector } = elect('a', { files })
    const leading = leads(elector)
    elector.start()
    const { validUntil } = await leading
    const first = validUntil()
    await until(() => validUntil() > first + leaseMs)
    expect(failures).toBeGreaterThan(3)
  })

  it('goes on renewing while a file server keeps it waiting for the removal of one old claim, and asks for no other meanwhile', async () => {
    const waiting: string[] = []
    let goOn = (): void => undefined
    const held = new Promise<void>((resolve) => (goOn = resolve))
    const files: FileOperations = {
      ...realFiles,
      unlink: async (path) => {
        if (path.includes(`/${claimsDirectory}/`)) {
          waiting.push(path)
          await held
        }
        await realFiles.unlink(path)
      },
    }
    const { elector } = elect('a', { files, chain: { retainMs: 1 } })
    const leading = leads(elector)
    elector.start()
    const { validUntil } = await leading
    for (let renewals = 0; renewals < 4; renewals += 1) {
      const before = validUntil()
      await until(() => validUntil() > before)
    }
    expect(waiting).toHaveLength(1)
    goOn()
    await until(async () => !(await numbers(claimsDirectory)).includes(1))
  })

  it('ends when draining fails, for what is in flight is unknown', async () => {
    const { elector } = elect('a', { drain: () => Promise.reject(new Error('the cluster does not answer')) })
    const leading = leads(elector)
    const lost = loses(elector)
    elector.start()
    await leading
    await elector.resign()
    expect((await lost).reason).toMatch(/the cluster does not answer/)
  })

  it('never stands while it is not eligible', async () => {
    const { elector } = elect('a', { eligible: false })
    elector.start()
    await until(() => elector.operations > 3)
    expect(await numbers(claimsDirectory)).toEqual([])
    const leading = leads(elector)
    await elector.setEligible(true, 'preflight passed')
    expect((await leading).term).toBe(1)
  })
})
