// Jobs in doubt: what counts as proof that a cluster doesn't have one.
import { expect, it } from 'vitest'
import type { Clock } from '../../../src/base/clock.ts'
import { Books } from '../../../src/submit/books.ts'
import { DoubtResolver } from '../../../src/submit/doubt.ts'
import type { Driver, Finding } from '../../../src/submit/driver.ts'
import type { Ledger, Unstamped } from '../../../src/submit/ledger.ts'
import type { LedgerRecord } from '../../../src/submit/records.ts'

const of = 'h-20261123T040000-3fa9c1/1'
const settleMs = 8000
const askEveryMs = 5000

/** Time that moves when everybody waits: each wait ends at once, and its time has passed. */
class PassingClock implements Clock {
  #nowMs = 1000
  nowMs(): number {
    return this.#nowMs
  }
  wallMs(): number {
    return Date.now()
  }
  after(ms: number, call: () => void): () => void {
    let cancelled = false
    setImmediate(() => {
      if (cancelled) return
      this.#nowMs += ms
      call()
    })
    return () => (cancelled = true)
  }
}

/** Resolves one job in doubt by these answers, one each time the cluster is asked; when each was asked for, and what came of it. */
const resolved = async (answers: readonly (Finding | Error)[]): Promise<{ records: string[]; askedAtMs: number[]; again: number }> => {
  const clock = new PassingClock()
  const books = new Books()
  const stamped = (record: object): LedgerRecord => ({ term: 1, at: new Date().toISOString(), of, ...record }) as LedgerRecord
  books.apply(stamped({ k: 'admit', count: 1, clusters: { main: 1 }, ids: [['00000000000000ab', '1', 1]], digests: '' }))
  books.apply(stamped({ k: 'intent', cluster: 'main', jobs: [[0, 0]] }))
  books.apply(stamped({ k: 'doubt', reason: 'no answer', jobs: [[0, 0]] }))
  const records: string[] = []
  const askedAtMs: number[] = []
  let again = 0
  const ledger = {
    append: (list: readonly Unstamped[]) => {
      records.push(...list.map(({ k }) => k))
      resolver.stop()
      return Promise.resolve({ records: list.map(stamped), point: { file: 1, bytes: 0 } })
    },
    enter: () => undefined,
  } as unknown as Ledger
  const find: Driver['find'] = () => {
    const answer = answers[askedAtMs.length]
    askedAtMs.push(clock.nowMs() - 1000)
    if (answer === undefined) resolver.stop()
    if (answer instanceof Error) return Promise.reject(answer)
    return Promise.resolve([answer ?? { kind: 'unknown', reason: 'the test is over' }])
  }
  const driver = { kind: 'scripted', limits: { settleMs, askEveryMs, batchJobsMax: 1, inFlightMax: 1 }, find } as unknown as Driver
  const resolver: DoubtResolver = new DoubtResolver({
    cluster: 'main', driver, books, ledger, clock, onWaiting: () => (again += 1), onReceipt: () => undefined, log: () => undefined,
  })
  resolver.add(of, [0])
  await resolver.run()
  return { records, askedAtMs, again }
}

const absent: Finding = { kind: 'absent' }
const unknown: Finding = { kind: 'unknown', reason: 'busy' }

it('a job that is found has its receipt at once', async () => {
  expect(await resolved([{ kind: 'found', jobId: '7' }])).toEqual({ records: ['receipt'], askedAtMs: [0], again: 0 })
})

it('a job that is absent is submitted again only after the settle time', async () => {
  expect(await resolved([absent, absent, absent])).toEqual({ records: ['absent'], askedAtMs: [0, 5000, 10_000], again: 1 })
})

it('a cluster that could not answer before must say twice that it does not have a job', async () => {
  expect(await resolved([unknown, unknown, unknown, absent, absent, absent])).toMatchObject({ records: ['absent'], askedAtMs: [0, 5000, 10_000, 15_000, 20_000, 25_000] })
  expect(await resolved([absent, new Error('away'), absent, absent, absent])).toMatchObject({ records: ['absent'], askedAtMs: [0, 5000, 10_000, 15_000, 20_000] })
})

it('a stopped cluster that goes on and takes the job after it was asked is not given it twice', async () => {
  expect(await resolved([unknown, unknown, unknown, absent, { kind: 'found', jobId: '7' }])).toMatchObject({ records: ['receipt'], again: 0 })
})

it('a cluster that takes the job only after it said for the first time that it does not have it may show it late', async () => {
  expect(await resolved([unknown, unknown, absent, absent, { kind: 'found', jobId: '7' }])).toMatchObject({ records: ['receipt'], again: 0 })
})
