// What the ledger tells of each job, record by record, as `usher trace` would show it.
import { formatId } from '../../src/submit/books.ts'
import type { AdmitRecord, LedgerRecord, Runs } from '../../src/submit/records.ts'

export interface Trace {
  readonly id: string
  /** When it was admitted, by the wall clock of that leader. */
  readonly admittedMs: number
  /** Kinds of the records about it, in order. */
  readonly steps: string[]
  /** What its last receipt says is still to be done. */
  readonly due: Set<'released' | 'confirmed' | 'ended'>
}

/** Segment → what is told of its jobs. */
export type Traces = Map<string, Trace[]>

const each = (runs: Runs, call: (index: number) => void): void => {
  for (const [first, last] of runs) for (let at = first; at <= last; at += 1) call(at)
}

const admitted = ({ at, ids, duplicates, conflicts }: AdmitRecord): Trace[] => {
  const traces: Trace[] = []
  const admittedMs = Date.parse(at)
  for (const [producer, first, count] of ids) {
    for (let next = 0n; next < BigInt(count); next += 1n) traces.push({ id: formatId(BigInt(`0x${producer}`), BigInt(first) + next), admittedMs, steps: [], due: new Set() })
  }
  each(duplicates ?? [], (index) => traces[index]?.steps.push('duplicate'))
  each(conflicts ?? [], (index) => traces[index]?.steps.push('conflict'))
  return traces
}

/** Adds a record, each in its turn. Those about a segment whose admission isn't there any more say nothing. */
export const follow = (traces: Traces, record: LedgerRecord): void => {
  if (record.k === 'admit') {
    traces.set(record.of, admitted(record))
    return
  }
  if (!('jobs' in record)) return
  const segment = traces.get(record.of)
  if (segment === undefined) return
  each(record.jobs, (index) => {
    const trace = segment[index]
    if (trace === undefined) return
    trace.steps.push(record.k === 'decision' ? record.as : record.k)
    if (record.k === 'released' || record.k === 'confirmed' || record.k === 'ended') trace.due.delete(record.k)
    else trace.due.clear()
    if (record.k !== 'receipt') return
    if (record.held) trace.due.add('released')
    if (record.unconfirmed) trace.due.add('confirmed')
    if (record.unended) trace.due.add('ended')
  })
}

/** The last thing that decided what became of it. */
export const outcomeOf = ({ steps }: Trace): string | undefined => steps.filter((step) => step !== 'confirmed' && step !== 'released' && step !== 'ended').at(-1)
