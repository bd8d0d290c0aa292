// Which of the jobs that wait are in memory.
import { expect, it } from 'vitest'
import type { Clock } from '../../../src/base/clock.ts'
import { Books } from '../../../src/submit/books.ts'
import { Lines } from '../../../src/submit/lines.ts'
import type { Submission } from '../../../src/submit/driver.ts'
import type { LedgerRecord } from '../../../src/submit/records.ts'
import { Window } from '../../../src/submit/window.ts'
import { seeded, seedOf } from '../../support/random.ts'

const producer = '00000000000000aa'
const of = 'h-20261123T040000-3fa9c1/1'
const provenance = '{"store":"s","host":"h","instance":"h-20261123T040000-3fa9c1","pid":1,"version":"0","config":"x","segment":1,"index":0}'

const linesOf = (count: number): Lines => {
  const line = (index: number): string =>
    `{"id":"${producer}-${index}","digest":"0123456789abcdef","accepted":"2026-11-23T04:00:00.124Z","cluster":"c","spec":{"executable":"/bin/true"},"provenance":${provenance}}\n`
  return new Lines(Buffer.from(Array.from({ length: count }, (_, index) => line(index)).join('')))
}

it('a segment that can not be read whole is tried each second, complained of once until that changes, and read when it shows', async () => {
  const books = new Books()
  books.apply({ k: 'admit', of, count: 4, clusters: { c: 4 }, ids: [[producer, '0', 4]], digests: '', term: 1, at: '2026-11-23T04:00:00.000Z' } as LedgerRecord)
  let now = 0
  let shown: number | Error = 2
  const said: string[] = []
  const window = new Window({
    cluster: 'c',
    books,
    clock: { nowMs: () => now, wallMs: () => now, after: () => () => undefined } satisfies Clock,
    read: () => (shown instanceof Error ? Promise.reject(shown) : Promise.resolve(linesOf(shown))),
    bytesMax: 1 << 20,
    log: (_, message) => said.push(message),
  })
  window.offer(books.segments.get(of)!)
  const loadFor = async (seconds: number): Promise<boolean> => {
    let loaded = false
    for (let second = 0; second < seconds; second += 1, now += 1000) loaded = (await window.load()) || (await window.load()) || loaded
    return loaded
  }
  expect(await loadFor(5)).toBe(false)
  expect(said).toEqual([`segment ${of} shows 2 of the 4 jobs that were admitted: they wait`])
  shown = 3
  expect(await loadFor(5)).toBe(false)
  shown = new Error('stale file handle')
  expect(await loadFor(5)).toBe(false)
  expect(said.slice(1)).toEqual([`segment ${of} shows 3 of the 4 jobs that were admitted: they wait`, `segment ${of} can't be read: stale file handle`])
  shown = 4
  expect(await loadFor(1)).toBe(true)
  expect(window.take(10)?.indexes).toEqual([0, 1, 2, 3])
  expect(said).toHaveLength(3)
})

it('gathers what goes together, wherever it stands and however it came back; each job is taken once, none is left, none is in two', async () => {
  const seed = seedOf()
  const random = seeded(seed)
  for (let round = 0; round < 60; round += 1) {
    const count = 1 + Math.floor(random() * 120)
    const stamp = { term: 1, at: '2026-11-23T04:00:00.000Z' }
    const books = new Books()
    books.apply({ k: 'admit', of, count, clusters: { c: count }, ids: [[producer, '0', count]], digests: '', ...stamp } as LedgerRecord)
    const lines = linesOf(count)
    const kinds = Array.from({ length: count }, () => Math.floor(random() * 4))
    const kindOf = ({ id }: Submission): number => kinds[Number(id.split('-')[1])]!
    const asked = new Map<string, number>()
    const fitting = 1 + Math.floor(random() * 30)
    let now = 0
    const window = new Window({
      cluster: 'c',
      books,
      clock: { nowMs: () => now, wallMs: () => now, after: () => () => undefined } satisfies Clock,
      read: () => Promise.resolve(lines),
      bytesMax: 1 << 20,
      gathering: {
        keyOf: (job) => {
          asked.set(job.id, (asked.get(job.id) ?? 0) + 1)
          return kindOf(job) === 0 ? null : `kind ${kindOf(job)}`
        },
        begin: () => {
          let taken = 0
          return () => (taken += 1) <= fitting
        },
      },
      log: () => undefined,
    })
    window.offer(books.segments.get(of)!, lines)
    const done = new Set<number>()
    const out = new Map<number, ReturnType<Window['take']>>()
    const jobsMax = 1 + Math.floor(random() * 40)
    let largest = 0
    for (let step = 0; done.size < count; step += 1) {
      expect(step, `seed ${seed}, round ${round}: ${done.size} of ${count}`).toBeLessThan(20_000)
      now += 1
      const batch = random() < 0.6 ? window.take(jobsMax) : null
      if (batch !== null) {
        largest = Math.max(largest, batch.indexes.length)
        expect(batch.indexes.length).toBeLessThanOrEqual(Math.min(jobsMax, fitting))
        const first = kinds[batch.indexes[0]!]
        expect(batch.indexes.every((index) => kinds[index] === first), `seed ${seed}`).toBe(true)
        if (first === 0) expect(batch.indexes).toHaveLength(1)
        for (const index of batch.indexes) expect(done.has(index) || [...out.values()].some((other) => other!.indexes.includes(index)), `seed ${seed}`).toBe(false)
        out.set(step, batch)
        continue
      }
      const [key] = [...out.keys()]
      const ended = key === undefined ? null : out.get(key)!
      if (ended === null) {
        // Nothing in memory can be tried now: what was put off is read again.
        await window.load()
        continue
      }
      out.delete(key!)
      const jobs = ended.indexes.map((index): [number, number] => [index, index])
      books.apply({ k: 'intent', of, cluster: 'c', jobs, ...stamp } as LedgerRecord)
      const draw = random()
      if (draw < 0.5) {
        books.apply({ k: 'receipt', of, jobs, ...stamp } as LedgerRecord)
        for (const index of ended.indexes) done.add(index)
      } else books.apply({ k: 'later', of, jobs, reason: 'busy', ...stamp } as LedgerRecord)
      window.settle(ended)
      if (draw >= 0.75) for (const index of ended.indexes) window.delay(of, index, now + Math.floor(random() * 20))
      else if (draw >= 0.5) {
        const book = books.segments.get(of)!
        window.waitingAgain(book, ended.indexes)
      }
    }
    expect([...asked.values()].filter((times) => times > 1 + 20), `seed ${seed}`).toEqual([])
    if (count > 100 && jobsMax > 10 && fitting > 10) expect(largest, `seed ${seed}`).toBeGreaterThan(5)
  }
})
