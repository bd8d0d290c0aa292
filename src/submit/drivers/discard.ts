// Receipts without a cluster, for benchmarks and tests of everything in front of one. What it takes is gone:
// it never pretends to know what became of a job.
import type { Driver } from '../driver.ts'
import type { DiscardOptions } from './registry.ts'

const taken = { kind: 'submitted', jobId: null } as const

export const createDiscardDriver = (options: DiscardOptions): Driver => ({
  kind: 'discard',
  limits: { batchJobsMax: 4096, inFlightMax: 4, settleMs: 0, askEveryMs: 1000 },
  preflight: () => Promise.resolve({ ok: true, detail: options.pause === true ? 'takes no jobs (pause)' : 'takes everything' }),
  submit: (jobs) => Promise.resolve(jobs.map(() => taken)),
  // There is nothing that a submission could have changed, so an unanswered one is as good as none.
  find: (ids) => Promise.resolve(ids.map(() => ({ kind: 'absent' as const }))),
  ...(options.pause === true ? { capacity: () => 0 } : {}),
  close: () => Promise.resolve(),
})
