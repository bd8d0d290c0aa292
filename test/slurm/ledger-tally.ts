// What the ledger of a store says, counted: for tests that compare it with what Slurm knows.
import { DirectoryStore } from '../../src/store/directory-store.ts'
import { readHistory } from '../../src/submit/history.ts'
import { countOf, isJobsRecord } from '../../src/submit/records.ts'

export interface TermTally {
  readonly term: number
  readonly host: string
  /** When its ledger was opened, and when jobs were about to be handed to the cluster for the first and the last time. */
  readonly openedMs: number
  firstIntentMs: number | null
  lastIntentMs: number | null
}

export interface LedgerTally {
  readonly terms: readonly TermTally[]
  /** Receipts that are still to be confirmed, and held jobs still to be released. */
  readonly unconfirmed: number
  readonly held: number
  readonly anomalies: number
  /** Jobs in records, by kind of record; `found`: receipts learnt by asking. */
  readonly jobs: Readonly<Record<string, number>>
}

export const tallyLedger = async (directory: string): Promise<LedgerTally> => {
  const jobs: Record<string, number> = {}
  const terms: TermTally[] = []
  const { books } = await readHistory(new DirectoryStore(directory), {
    everything: true,
    leads: true,
    onRecord: (record) => {
      const atMs = Date.parse(record.at)
      if (record.k === 'open' && terms.at(-1)?.term !== record.term) {
        terms.push({ term: record.term, host: record.by.host, openedMs: atMs, firstIntentMs: null, lastIntentMs: null })
      }
      if (!isJobsRecord(record)) return
      const term = terms.at(-1)
      if (record.k === 'intent' && term !== undefined) {
        term.firstIntentMs ??= atMs
        term.lastIntentMs = atMs
      }
      const kind = record.k === 'receipt' && record.found === true ? 'found' : record.k
      jobs[kind] = (jobs[kind] ?? 0) + countOf(record.jobs)
    },
  })
  const followUps = [...books.segments.values()].flatMap((segment) => [...segment.followUps.values()])
  return {
    terms,
    unconfirmed: followUps.filter((followUp) => followUp.unconfirmed).length,
    held: followUps.filter((followUp) => followUp.held).length,
    anomalies: books.anomalies,
    jobs,
  }
}
