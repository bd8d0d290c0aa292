// Decisions of operators: `usher dead retry|discard` and `usher resolve` put them into the store as files, from any
// host, and the leader carries them out. A request is done once the ledger says so; only then may its file go.

import { messageOf, UsherError } from '../base/errors.ts'
import { parseRequestFile, requestName, requestsDirectory } from '../store/layout.ts'
import type { Store } from '../store/store.ts'
import { conflictReason, state } from './books.ts'
import type { Books, SegmentBook } from './books.ts'
import { enter } from './ledger.ts'
import type { Ledger, Unstamped } from './ledger.ts'
import { runsOf } from './records.ts'

export type DecisionKind = 'retry' | 'discard' | 'submitted' | 'absent'

export interface Request {
  readonly id: string
  readonly as: DecisionKind
  /** Which jobs, by id; 'all': every dead letter, or every job in doubt. */
  readonly jobs: readonly string[] | 'all'
  /** Only dead letters whose reason contains this. */
  readonly reason?: string
  /** The cluster's name for the job (as: submitted). */
  readonly jobId?: string
  /** user@host */
  readonly by: string
  readonly at: string
}

/** Puts a request into the store; the leader will find it. */
export const sendRequest = async (store: Store, request: Request): Promise<void> => {
  await store.publish(requestName(request.id), Buffer.from(`${JSON.stringify(request)}\n`))
}

const parseRequest = (id: string, bytes: Buffer): Request => {
  const value = JSON.parse(bytes.toString('utf8')) as Partial<Request>
  const kinds: readonly string[] = ['retry', 'discard', 'submitted', 'absent']
  const jobsFit = value.jobs === 'all' || (Array.isArray(value.jobs) && value.jobs.every((job) => typeof job === 'string'))
  if (value.id !== id || !kinds.includes(value.as ?? '') || !jobsFit || typeof value.by !== 'string') {
    throw new UsherError('input_invalid', `request ${id} isn't one that this version of usher writes`)
  }
  return value as Request
}

export interface RequestsOptions {
  readonly store: Store
  readonly books: Books
  readonly ledger: Ledger
  readonly onWaiting: (segment: SegmentBook, indexes: readonly number[]) => void
  readonly log: (level: 'info' | 'warn', message: string) => void
}

/** Carries out what lies in requests/. Rejects when the ledger fails. */
export const carryOutRequests = async (options: RequestsOptions): Promise<void> => {
  const { store, books, ledger, log, onWaiting } = options
  for (const file of await store.list(requestsDirectory)) {
    const id = parseRequestFile(file)
    if (id === null) continue
    if (books.requests.has(id)) {
      await store.remove(requestName(id))
      continue
    }
    let request: Request
    try {
      request = parseRequest(id, await store.read(requestName(id)))
    } catch (error) {
      log('warn', `request ${id} is refused: ${messageOf(error)}`)
      await enter(ledger, books, [{ k: 'request', request: id, result: `refused: ${messageOf(error)}` }])
      continue
    }
    const chosen = choose(books, request)
    const records: Unstamped[] = [...chosen].map(([segment, indexes]) => ({
      k: 'decision',
      request: id,
      as: request.as,
      by: request.by,
      of: segment.ref,
      jobs: runsOf(indexes),
      ...(request.jobId === undefined ? {} : { jobId: request.jobId }),
    }))
    const count = [...chosen.values()].reduce((sum, indexes) => sum + indexes.length, 0)
    const unfit = unfitOf(books, request, chosen)
    const result = `${request.as}: ${count} ${count === 1 ? 'job' : 'jobs'}`
    records.push({ k: 'request', request: id, result, ...(unfit.length > 0 ? { unfit } : {}) })
    await enter(ledger, books, records)
    await store.remove(requestName(id))
    log('info', `request ${id} of ${request.by}: ${request.as} for ${count} jobs`)
    if (request.as === 'retry' || request.as === 'absent') for (const [segment, indexes] of chosen) onWaiting(segment, indexes)
  }
}

/** Jobs that the request names and that nothing was decided on. */
const unfitOf = (books: Books, request: Request, chosen: ReadonlyMap<SegmentBook, readonly number[]>): string[] => {
  if (request.jobs === 'all') return []
  const fit = new Set<string>()
  for (const [segment, indexes] of chosen) for (const index of indexes) fit.add(books.idAt(segment, index))
  return request.jobs.filter((id) => !fit.has(id))
}

const choose = (books: Books, request: Request): Map<SegmentBook, number[]> => {
  const wanted = request.jobs === 'all' ? null : new Set(request.jobs)
  const from = request.as === 'retry' || request.as === 'discard' ? state.dead : state.doubt
  const chosen = new Map<SegmentBook, number[]>()
  for (const segment of books.segments.values()) {
    // Every dead letter and every job in doubt has a note.
    for (const [index, note] of segment.notes) {
      if (segment.states?.[index] !== from) continue
      if (wanted !== null && !wanted.has(books.idAt(segment, index))) continue
      if (request.reason !== undefined && !note.reason.includes(request.reason)) continue
      if (request.as === 'retry' && note.reason === conflictReason) continue
      const list = chosen.get(segment)
      if (list === undefined) chosen.set(segment, [index])
      else list.push(index)
    }
  }
  return chosen
}
