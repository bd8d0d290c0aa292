// The books: every state a job can be in, and that the sums always add up.
import { describe, expect, it } from 'vitest'
import { Books, state } from '../../../src/submit/books.ts'
import type { LedgerRecord } from '../../../src/submit/records.ts'
import { seeded, seedOf } from '../../support/random.ts'

const of = 'h-20261123T040000-3fa9c1/1'
const at = '2026-11-23T04:00:00.000Z'

const admit = (count: number, extra: Partial<Extract<LedgerRecord, { k: 'admit' }>> = {}): LedgerRecord => ({
  k: 'admit',
  term: 1,
  at,
  of,
  count,
  clusters: { main: count },
  ids: [['00000000000000ab', '10', count]],
  digests: '',
  ...extra,
})

const jobs = (record: Record<string, unknown>): LedgerRecord => ({ term: 1, at, of, ...record }) as unknown as LedgerRecord

const total = (books: Books): number => Object.values(books.audit()).reduce((sum, count) => sum + count, 0)

describe('the books', () => {
  it('move a job from waiting over intent to submitted', () => {
    const books = new Books()
    books.apply(admit(3))
    expect(books.audit().waiting).toBe(3)
    books.apply(jobs({ k: 'intent', cluster: 'main', jobs: [[0, 1]] }))
    books.apply(jobs({ k: 'receipt', jobs: [[0, 1]], ids: ['7', '8'] }))
    expect(books.audit()).toMatchObject({ submitted: 2, waiting: 1 })
    const segment = books.segments.get(of)!
    expect(books.idAt(segment, 2)).toBe('00000000000000ab-12')
  })

  it('let go of a segment once nothing of it can change', () => {
    const books = new Books()
    books.apply(admit(2))
    books.apply(jobs({ k: 'intent', cluster: 'main', jobs: [[0, 1]] }))
    books.apply(jobs({ k: 'receipt', jobs: [[0, 1]] }))
    expect(books.segments.has(of)).toBe(false)
    expect(books.audit().submitted).toBe(2)
    // Admitted again by a record that came late: known, and not counted twice.
    books.apply(admit(2))
    expect(books.audit()).toMatchObject({ submitted: 2, waiting: 0 })
    expect(books.anomalies).toBe(1)
  })

  it('hold on to jobs that are to be confirmed, released or watched', () => {
    const books = new Books()
    books.apply(admit(1))
    books.apply(jobs({ k: 'intent', cluster: 'main', jobs: [[0, 0]] }))
    books.apply(jobs({ k: 'receipt', jobs: [[0, 0]], ids: ['7'], held: true, unconfirmed: true }))
    expect(books.segments.get(of)!.followUps.get(0)).toMatchObject({ jobId: '7', held: true, unconfirmed: true })
    books.apply(jobs({ k: 'released', jobs: [[0, 0]] }))
    books.apply(jobs({ k: 'forgotten', jobs: [[0, 0]] }))
    expect(books.audit()).toMatchObject({ submitted: 0, waiting: 1 })
  })

  it('doubt a submitted job only while its cluster is still to confirm it', () => {
    const books = new Books()
    books.apply(admit(2))
    books.apply(jobs({ k: 'intent', cluster: 'main', jobs: [[0, 1]] }))
    books.apply(jobs({ k: 'receipt', jobs: [[0, 1]], ids: ['7', '8'], unconfirmed: true, unended: true }))
    books.apply(jobs({ k: 'confirmed', jobs: [[0, 0]] }))
    books.apply(jobs({ k: 'doubt', jobs: [[0, 1]], reason: 'it was away for too long' }))
    expect(books.anomalies).toBe(1)
    expect(books.audit()).toMatchObject({ submitted: 1, inDoubt: 1 })
  })

  it('call what an ended term had only intended in doubt', () => {
    const books = new Books()
    books.apply(admit(2))
    books.apply(jobs({ k: 'intent', cluster: 'main', jobs: [[0, 0]] }))
    expect(books.audit(true)).toMatchObject({ waiting: 1, inDoubt: 1 })
    books.endTerm(at, 'it ended')
    expect(books.audit()).toMatchObject({ waiting: 1, inDoubt: 1 })
    books.apply(jobs({ k: 'absent', jobs: [[0, 0]] }))
    expect(books.audit()).toMatchObject({ waiting: 2, inDoubt: 0 })
  })

  it('count duplicates and conflicts apart, and never submit them', () => {
    const books = new Books()
    books.apply(admit(4, { duplicates: [[1, 1]], conflicts: [[2, 2]] }))
    expect(books.audit()).toMatchObject({ waiting: 2, duplicates: 1, dead: 1 })
    books.apply(jobs({ k: 'intent', cluster: 'main', jobs: [[1, 2]] }))
    expect(books.anomalies).toBe(2)
    expect(books.audit()).toMatchObject({ waiting: 2, duplicates: 1, dead: 1 })
  })

  it('leave out what follows on nothing', () => {
    const books = new Books()
    books.apply(admit(1))
    books.apply(jobs({ k: 'receipt', jobs: [[0, 0]] }))
    books.apply(admit(1))
    books.apply(jobs({ k: 'intent', of: 'h-20261123T040000-3fa9c1/2', cluster: 'main', jobs: [[0, 0]] }))
    expect(books.anomalies).toBe(3)
    expect(books.audit()).toMatchObject({ waiting: 1, submitted: 0 })
  })

  it('balance after any records whatever', () => {
    const seed = seedOf()
    const random = seeded(seed)
    const books = new Books()
    const count = 50
    books.apply(admit(count, { clusters: { main: 30, other: 20 } }))
    const kinds = ['intent', 'receipt', 'refused', 'later', 'doubt', 'absent', 'forgotten', 'released', 'confirmed', 'ended', 'decision'] as const
    for (let round = 0; round < 5000; round += 1) {
      const first = Math.floor(random() * count)
      const last = Math.min(count - 1, first + Math.floor(random() * 3))
      const k = kinds[Math.floor(random() * kinds.length)]!
      const as = ['retry', 'discard', 'submitted', 'absent'][Math.floor(random() * 4)]
      books.apply(jobs({ k, jobs: [[first, last]], cluster: 'main', reason: 'r', as, unconfirmed: random() < 0.5 ? true : undefined, ends: [] }))
      if (random() < 0.01) books.endTerm(at, 'ended')
      expect(total(books), `seed ${seed}, round ${round}`).toBe(count)
      const segment = books.segments.get(of)
      if (segment === undefined || segment.states === null) break
      const waiting = segment.states.filter((value) => value === state.waiting).length
      expect(segment.waiting, `seed ${seed}, round ${round}`).toBe(waiting)
    }
  })
})
