// Which of the jobs that wait are in memory.
import { expect, it } from 'vitest'
import type { Clock } from '../../../src/base/clock.ts'
import { Books } from '../../../src/submit/books.ts'
import { Lines } from '../../../src/submit/lines.ts'
import type { LedgerRecord } from '../../../src/submit/records.ts'
import { Window } from '../../../src/submit/window.ts'

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
