// Handing over: no job is in two batches, whatever comes back when, and nothing is handed over that may not be.
import { describe, expect, it } from 'vitest'
import { systemClock } from '../../../src/base/clock.ts'
import { Books, state } from '../../../src/submit/books.ts'
import { Dispatcher } from '../../../src/submit/dispatcher.ts'
import type { Driver, Outcome, Submission } from '../../../src/submit/driver.ts'
import type { Ledger, Unstamped } from '../../../src/submit/ledger.ts'
import { Lines } from '../../../src/submit/lines.ts'
import type { LedgerRecord } from '../../../src/submit/records.ts'
import { seeded, seedOf } from '../../support/random.ts'

const of = 'h-20261123T040000-3fa9c1/1'
const at = '2026-11-23T04:00:00.000Z'
const producer = '00000000000000aa'
const tick = (ms = 0): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

const linesOf = (count: number): Lines => {
  const provenance = '{"store":"s","host":"h","instance":"h-20261123T040000-3fa9c1","pid":1,"version":"0","config":"x","segment":1,"index":0}'
  const line = (index: number): string =>
    `{"id":"${producer}-${index}","digest":"0123456789abcdef","accepted":"2026-11-23T04:00:00.124Z","cluster":"c","spec":{"executable":"/bin/true"},"provenance":${provenance}}\n`
  return new Lines(Buffer.from(Array.from({ length: count }, (_, index) => line(index)).join('')))
}

const setUp = (count: number, options: { submit: (ids: string[]) => Promise<Outcome[]>; capacity?: () => number; mayAct?: () => boolean; fail?: () => boolean; limits?: Partial<Driver['limits']> }) => {
  const books = new Books()
  const stamp = (record: object): LedgerRecord => ({ ...record, term: 1, at: new Date().toISOString() }) as LedgerRecord
  const apply = (record: object): void => books.apply(stamp(record))
  apply({ k: 'admit', of, count, clusters: { c: count }, ids: [[producer, '0', count]], digests: '' })
  const ledger = {
    append: async (records: readonly Unstamped[]) => {
      await tick(1)
      if (options.fail?.() === true) throw new Error('the ledger failed')
      return { records: records.map(stamp), point: { file: 1, bytes: 0 } }
    },
    enter: () => undefined,
  } as unknown as Ledger
  const doubts: number[] = []
  const driver: Driver = {
    kind: 'test',
    limits: { batchJobsMax: 7, inFlightMax: 4, settleMs: 0, askEveryMs: 1, ...options.limits },
    preflight: () => Promise.resolve({ ok: true, detail: '' }),
    submit: (jobs: readonly Submission[]) => options.submit(jobs.map(({ id }) => id)),
    find: null,
    close: () => Promise.resolve(),
    ...(options.capacity === undefined ? {} : { capacity: options.capacity }),
  }
  const dispatcher = new Dispatcher({
    cluster: 'c',
    driver,
    books,
    ledger,
    clock: systemClock,
    random: () => 0,
    mayAct: options.mayAct ?? (() => true),
    origin: { term: 1, host: 'h', instance: 'i', version: '0' },
    read: () => Promise.resolve(linesOf(count)),
    windowBytesMax: 1 << 20,
    retryMinMs: 1,
    retryMaxMs: 2,
    onDoubt: (_, indexes) => doubts.push(...indexes),
    onReceipt: () => undefined,
    log: () => undefined,
  })
  return { books, apply, dispatcher, doubts }
}

describe('the dispatcher', () => {
  it('hands a job that was proven absent over once, though its cursor has not come to it yet', async () => {
    const submitted: string[] = []
    let room = 3
    const { books, apply, dispatcher } = setUp(10, {
      capacity: () => room,
      submit: (ids) => {
        room -= ids.length
        submitted.push(...ids)
        return Promise.resolve(ids.map(() => ({ kind: 'submitted', jobId: null })))
      },
    })
    apply({ k: 'intent', of, cluster: 'c', jobs: [[5, 5]] })
    books.endTerm(at, 'it ended')
    const book = books.segments.get(of)!
    dispatcher.offer(book)
    const run = dispatcher.run()
    while (submitted.length < 3) await tick(1)
    apply({ k: 'absent', of, jobs: [[5, 5]] })
    dispatcher.waitingAgain(book, [5])
    room = 100
    dispatcher.wake()
    while (submitted.length < 10) await tick(1)
    await dispatcher.drain()
    await run
    expect(submitted.toSorted()).toEqual(Array.from({ length: 10 }, (_, index) => `${producer}-${index}`))
  })

  it('never has a job at the cluster twice, whatever the cluster answers and whoever says that it waits again', async () => {
    const seed = seedOf()
    const random = seeded(seed)
    const count = 60
    const there = new Map<string, number>()
    const most = new Map<string, number>()
    const setup = setUp(count, {
      submit: async (ids) => {
        for (const id of ids) {
          there.set(id, (there.get(id) ?? 0) + 1)
          most.set(id, Math.max(most.get(id) ?? 0, there.get(id)!))
        }
        await tick(random() * 3)
        return ids.map((id) => {
          const draw = random()
          if (draw < 0.4) return { kind: 'submitted', jobId: null }
          // Not taken after all: it isn't there any more.
          there.set(id, there.get(id)! - 1)
          return draw < 0.7 ? { kind: 'later', reason: 'busy' } : { kind: 'doubt', reason: 'who knows' }
        })
      },
    })
    const { books, apply, dispatcher, doubts } = setup
    const book = books.segments.get(of)!
    dispatcher.offer(book, linesOf(count))
    const run = dispatcher.run()
    while (books.audit().submitted < count) {
      await tick(1)
      // The resolver proves some absent, an operator says so of others, and says it twice.
      for (const index of doubts.splice(0)) {
        if (book.states?.[index] !== state.doubt) continue
        apply({ k: 'absent', of, jobs: [[index, index]] })
        dispatcher.waitingAgain(book, [index])
        if (random() < 0.5) dispatcher.waitingAgain(book, [index])
      }
    }
    await dispatcher.drain()
    await run
    expect([...most.values()].filter((times) => times > 1), `seed ${seed}`).toEqual([])
    expect(books.anomalies, `seed ${seed}`).toBe(0)
  })

  it('submits nothing on an intent that could not be synced, nor after the lease', async () => {
    for (const how of ['ledger', 'lease'] as const) {
      const submitted: string[] = []
      const { books, dispatcher } = setUp(5, {
        submit: (ids) => {
          submitted.push(...ids)
          return Promise.resolve(ids.map(() => ({ kind: 'submitted', jobId: null })))
        },
        fail: () => how === 'ledger',
        mayAct: () => how !== 'lease',
      })
      dispatcher.offer(books.segments.get(of)!)
      await expect(dispatcher.run()).rejects.toThrow(how === 'ledger' ? 'the ledger failed' : 'the lease is over')
      expect(submitted).toEqual([])
    }
  })

  it('writes intents ahead of the calls, never makes more calls at a time than the cluster takes, and fewer when it pushes back', async () => {
    const count = 400
    let underWay = 0
    let most = 0
    let busy = true
    const seen: number[] = []
    const done = new Set<string>()
    const { books, dispatcher } = setUp(count, {
      limits: { batchJobsMax: 1, inFlightMax: 8, takenMax: 24 },
      submit: async (ids) => {
        underWay += 1
        most = Math.max(most, underWay)
        seen.push(underWay)
        const isPushedBack = busy && underWay > 3
        await tick(isPushedBack ? 0 : 3)
        underWay -= 1
        if (isPushedBack) return ids.map(() => ({ kind: 'later', reason: 'busy' }))
        for (const id of ids) {
          expect(done.has(id)).toBe(false)
          done.add(id)
        }
        return ids.map(() => ({ kind: 'submitted', jobId: null }))
      },
    })
    const book = books.segments.get(of)!
    dispatcher.offer(book)
    const run = dispatcher.run()
    let intended = 0
    const intents = (): number => (book.states ?? []).filter((value) => value === state.intent).length
    while (done.size < count / 2) {
      intended = Math.max(intended, intents())
      await tick(1)
    }
    // It keeps trying for one more, and is told so.
    const whenBusy = seen.slice(seen.length / 2)
    expect(whenBusy.reduce((sum, value) => sum + value, 0) / whenBusy.length).toBeLessThan(4.5)
    expect(intended).toBeGreaterThan(4)
    busy = false
    while (done.size < count) await tick(1)
    await dispatcher.drain()
    await run
    expect(most).toBeGreaterThan(3)
    expect(most).toBeLessThanOrEqual(8)
    expect(books.audit()).toMatchObject({ submitted: count, waiting: 0 })
    expect(books.anomalies).toBe(0)
  })

  it('holds everything back while the preflight fails', async () => {
    const submitted: string[] = []
    const { books, dispatcher } = setUp(5, {
      submit: (ids) => {
        submitted.push(...ids)
        return Promise.resolve(ids.map(() => ({ kind: 'submitted', jobId: null })))
      },
    })
    dispatcher.hold('the token was revoked')
    dispatcher.offer(books.segments.get(of)!)
    const run = dispatcher.run()
    await tick(20)
    expect(submitted).toEqual([])
    dispatcher.hold(null)
    while (submitted.length < 5) await tick(1)
    await dispatcher.drain()
    await run
  })

  it('hands over all others while some are put off, however little fits into memory', async () => {
    const submitted = new Set<string>()
    const stuck = new Set<string>()
    let open = false
    const segments = 12
    const count = 20
    const books = new Books()
    const stamp = (record: object): LedgerRecord => ({ ...record, term: 1, at: new Date().toISOString() }) as LedgerRecord
    const ref = (number: number): string => `h-20261123T040000-3fa9c1/${number}`
    const ledger = {
      append: (records: readonly Unstamped[]) => Promise.resolve({ records: records.map(stamp), point: { file: 1, bytes: 0 } }),
      enter: () => undefined,
    } as unknown as Ledger
    const ids = (number: number): LedgerRecord =>
      stamp({ k: 'admit', of: ref(number), count, clusters: { c: count }, ids: [[number.toString(16).padStart(16, '0'), '0', count]], digests: '' })
    const linesFor = (number: number): Lines => new Lines(Buffer.from(linesOf(count).bytes.toString().replaceAll(producer, number.toString(16).padStart(16, '0'))))
    let reads = 0
    const dispatcher = new Dispatcher({
      cluster: 'c',
      driver: {
        kind: 'test',
        limits: { batchJobsMax: 4, inFlightMax: 3, settleMs: 0, askEveryMs: 1 },
        preflight: () => Promise.resolve({ ok: true, detail: '' }),
        submit: (jobs) =>
          Promise.resolve(
            jobs.map(({ id }): Outcome => {
              // One job in ten, in every segment, is for a queue that is closed.
              if (!open && id.endsWith('7')) {
                stuck.add(id)
                return { kind: 'later', reason: 'the queue is closed' }
              }
              expect(submitted.has(id)).toBe(false)
              submitted.add(id)
              return { kind: 'submitted', jobId: null }
            }),
          ),
        find: null,
        close: () => Promise.resolve(),
      },
      books,
      ledger,
      clock: systemClock,
      random: () => 0.5,
      mayAct: () => true,
      origin: { term: 1, host: 'h', instance: 'i', version: '0' },
      read: (segment) => {
        reads += 1
        return Promise.resolve(linesFor(Number(segment.split('/')[1])))
      },
      windowBytesMax: 1,
      retryMinMs: 20,
      retryMaxMs: 40,
      onDoubt: () => undefined,
      onReceipt: () => undefined,
      log: () => undefined,
    })
    for (let number = 1; number <= segments; number += 1) {
      books.apply(ids(number))
      dispatcher.offer(books.segments.get(ref(number))!)
    }
    const run = dispatcher.run()
    const others = segments * (count - 2)
    for (let waited = 0; submitted.size < others && waited < 5000; waited += 1) await tick(1)
    expect(submitted.size).toBe(others)
    expect(stuck.size).toBe(segments * 2)
    open = true
    for (let waited = 0; submitted.size < segments * count && waited < 5000; waited += 1) await tick(1)
    await dispatcher.drain()
    await run
    expect(submitted.size).toBe(segments * count)
    expect(books.audit()).toMatchObject({ submitted: segments * count, waiting: 0 })
    expect(books.anomalies).toBe(0)
    expect(reads).toBeGreaterThanOrEqual(segments)
  })
})
