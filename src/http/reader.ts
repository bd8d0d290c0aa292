// Runs in a thread of its own: reads what needs the ledger, one thing at a time. Failures are returned, since what makes an
// error one of ours doesn't outlive the way between threads.

import { messageOf, UsherError } from '../base/errors.ts'
import type { Code } from '../base/errors.ts'
import { lookAtInstances } from '../hosts/present.ts'
import { DirectoryStore } from '../store/directory-store.ts'
import { readHistory } from '../submit/history.ts'
import { findLeader, survey } from '../submit/survey.ts'
import { trace } from '../submit/trace.ts'
import { explain } from '../submit/why.ts'
import type { Jobs, JobStatus, TermStatus } from './store-view.ts'

interface OfStore {
  readonly directory: string
  readonly storeUuid: string
}

export type ReaderTask =
  | (OfStore & { readonly kind: 'survey' })
  | (OfStore & { readonly kind: 'terms' })
  | (OfStore & { readonly kind: 'job'; readonly id: string; readonly retryMinMs: number; readonly retryMaxMs: number })

export type ReaderReply =
  | { readonly kind: 'survey'; readonly jobs: Jobs }
  | { readonly kind: 'terms'; readonly terms: readonly TermStatus[] }
  | { readonly kind: 'job'; readonly job: JobStatus | null }
  | { readonly kind: 'failed'; readonly code: Code; readonly message: string }

export const read = async (task: ReaderTask): Promise<ReaderReply> => {
  try {
    return await readFor(task)
  } catch (error) {
    if (error instanceof UsherError) return { kind: 'failed', code: error.code, message: error.message }
    return { kind: 'failed', code: 'internal', message: error instanceof Error ? (error.stack ?? messageOf(error)) : messageOf(error) }
  }
}

const readFor = async (task: ReaderTask): Promise<ReaderReply> => {
  const store = new DirectoryStore(task.directory)
  switch (task.kind) {
    case 'survey': {
      const { audit, warnings, setAside } = await survey(store, task.storeUuid)
      return { kind: 'survey', jobs: { audit, warnings, setAside } }
    }
    case 'terms': {
      const { books } = await readHistory(store, { tolerateDamage: true })
      const terms = books.terms.map(({ term, at, by }) => ({ term, at, host: by.host, instance: by.instance, pid: by.pid, version: by.version, configDigest: by.config }))
      return { kind: 'terms', terms: terms.toReversed() }
    }
    case 'job': {
      const found = await trace(store, task.id)
      if (found === null) return { kind: 'job', job: null }
      const instances = await lookAtInstances(store)
      const { retryMinMs, retryMaxMs } = task
      const world = { leader: await findLeader(store, instances), instances, nowMs: Date.now(), retryMinMs, retryMaxMs }
      return { kind: 'job', job: { trace: found, why: explain(found, world) } }
    }
  }
}
