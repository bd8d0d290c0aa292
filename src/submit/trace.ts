// Everything that happened to one job, and who did it: from the segment it was written to, the journals of those who
// transformed it, and the ledgers. Not from logs.

import { native } from '../base/native.ts'
import { partsOfJobId } from '../protocol/job-id.ts'
import { hostsDirectory, journalName, parseInstance, parseSegmentFile, segmentName, segmentsDirectory } from '../store/layout.ts'
import { isMissing } from '../store/store-error.ts'
import type { Store } from '../store/store.ts'
import { parseRef, state, stateNames } from './books.ts'
import type { Books } from './books.ts'
import type { JobSpec } from './driver.ts'
import { Lines } from './lines.ts'
import { readHistory } from './history.ts'
import { isJobsRecord } from './records.ts'
import type { AdmitRecord, AsideRecord, Author, JobsRecord, LedgerRecord, Runs } from './records.ts'

export interface TraceStep {
  readonly step: string
  readonly at: string
  readonly host: string
  readonly instance: string
  readonly pid: number
  readonly version: string
  readonly configDigest: string
  readonly term?: number
  readonly segment?: string
  readonly detail?: string
}

export interface Trace {
  readonly id: string
  readonly state: string
  readonly cluster: { readonly name: string; readonly jobId: string | null } | null
  readonly steps: readonly TraceStep[]
  readonly spec: JobSpec | null
}

interface Line {
  readonly accepted: string
  readonly cluster: string
  readonly spec: JobSpec
  readonly provenance: { host: string; instance: string; pid: number; version: string; config: string }
}

/** One time that the job was accepted: its place, and the ledger's records about it. */
interface Occurrence {
  readonly of: string
  /** Unknown for a job that isn't admitted yet. */
  index: number
  readonly admitted: LedgerRecord | null
  readonly records: { readonly record: JobsRecord; readonly position: number }[]
  verdict: 'new' | 'duplicate' | 'conflict' | 'aside'
}

const noAuthor: Author = { host: '', instance: '', pid: 0, version: '', config: '' }

/** Null: no such job in this store, or one that was finished longer than the retention ago. */
export const trace = async (store: Store, id: string): Promise<Trace | null> => {
  const found = await searchLedgers(store, id)
  const occurrences = [...found.occurrences, ...(await searchSegments(store, id, found.books))]
  const first = occurrences.find(({ verdict }) => verdict === 'new') ?? occurrences[0]
  if (first === undefined) return null
  const steps: TraceStep[] = []
  const journals = await readJournals(store, new Set(occurrences.map(({ of }) => of)))
  let main: Line | null = null
  for (const occurrence of occurrences) {
    const line = await readLine(store, occurrence, id)
    if (occurrence === first) main = line
    steps.push(...acceptedSteps(occurrence, line, journals), ...ledgerSteps(occurrence, found.authors))
  }
  // Steps of one job follow each other through several hosts: wall clocks order them well enough for people, and
  // where they are equal the order of the stages does.
  steps.sort((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : 0))
  const ended = first.records.some(({ record }) => record.k === 'ended')
  const jobState = found.stateOf(first)
  return {
    id,
    state: jobState === 'submitted' && ended ? 'ended' : jobState,
    cluster: clusterOf(first, main),
    steps,
    spec: main?.spec ?? null,
  }
}

const clusterOf = (occurrence: Occurrence, line: Line | null): Trace['cluster'] => {
  let jobId: string | null = null
  // Its segment's file may have been removed, the ledger's not yet.
  let name = line?.cluster ?? null
  for (const { record, position } of occurrence.records) {
    if (record.k === 'intent') name ??= record.cluster
    if (record.k === 'receipt') jobId = record.ids?.[position] ?? null
    if (record.k === 'decision' && record.as === 'submitted') jobId = record.jobId ?? jobId
    if (record.k === 'forgotten' || record.k === 'absent') jobId = null
  }
  return name === null ? null : { name, jobId }
}

const searchLedgers = async (store: Store, id: string) => {
  const { producer, sequence } = partsOfJobId(id)
  const occurrences: Occurrence[] = []
  const bySegment = new Map<string, Occurrence[]>()
  const { books } = await readHistory(store, {
    everything: true,
    tolerateDamage: true,
    onBegin: () => {
      occurrences.length = 0
      bySegment.clear()
    },
    onRecord: (record) => {
      if (record.k === 'admit') {
        const list = occurrencesIn(record, producer, sequence)
        if (list.length > 0) bySegment.set(record.of, list)
        occurrences.push(...list)
      }
      if (!isJobsRecord(record)) return
      for (const occurrence of bySegment.get(record.of) ?? []) {
        const position = positionIn(record.jobs, occurrence.index)
        if (position >= 0) occurrence.records.push({ record, position })
      }
    },
  })
  const stateOf = (occurrence: Occurrence): string => {
    if (occurrence.admitted === null) return 'waiting'
    if (occurrence.verdict === 'aside') return 'set aside'
    const states = books.segments.get(occurrence.of)?.states
    if (states === null || states === undefined) return lastState(occurrence)
    const value = states[occurrence.index] ?? state.waiting
    return value === state.intent ? 'submitting' : (stateNames[value] ?? 'waiting')
  }
  return { occurrences, books, authors: new Map(books.terms.map(({ term, by }) => [term, by])), stateOf }
}

const occurrencesIn = (record: AdmitRecord, producer: string, sequence: bigint): Occurrence[] => {
  const found: Occurrence[] = []
  let at = 0
  for (const [owner, first, count] of record.ids) {
    const offset = owner === producer ? sequence - BigInt(first) : -1n
    if (offset >= 0n && offset < BigInt(count)) {
      const index = at + Number(offset)
      const verdict = includes(record.duplicates, index) ? 'duplicate' : includes(record.conflicts, index) ? 'conflict' : 'new'
      found.push({ of: record.of, index, admitted: record, records: [], verdict })
    }
    at += count
  }
  return found
}

/** The state of a job in a segment that is done with. */
const lastState = (occurrence: Occurrence): string => {
  if (occurrence.verdict === 'duplicate') return 'duplicate'
  const discarded = occurrence.records.some(({ record }) => record.k === 'decision' && record.as === 'discard')
  return discarded ? 'discarded' : 'submitted'
}

const includes = (runs: Runs | undefined, index: number): boolean => (runs ?? []).some(([first, last]) => index >= first && index <= last)

const positionIn = (runs: Runs, index: number): number => {
  let position = 0
  for (const [first, last] of runs) {
    if (index >= first && index <= last) return position + index - first
    position += last - first + 1
  }
  return -1
}

/** Jobs that the ledger doesn't know by their ids: only their segments do. Not admitted yet, or in a segment that was set aside. */
const searchSegments = async (store: Store, id: string, books: Books): Promise<Occurrence[]> => {
  const needle = Buffer.from(` id="${id}"`)
  const found: Occurrence[] = []
  for (const instance of (await store.list(hostsDirectory)).filter((name) => parseInstance(name) !== null)) {
    for (const file of await store.list(segmentsDirectory(instance))) {
      const parsed = parseSegmentFile(file)
      if (parsed === null || (parsed.kind !== 'xml' && parsed.kind !== 'part')) continue
      const of = `${instance}/${parsed.number}`
      const aside = books.setAside.get(of) ?? null
      const known = aside === null && parsed.number <= (books.cursors.get(instance) ?? 0)
      if (known || found.some((one) => one.of === of)) continue
      const bytes = await readSegment(store, of)
      if (!bytes?.includes(needle)) continue
      const admitted: AsideRecord | null = aside === null ? null : { k: 'aside', of, ...aside }
      found.push({ of, index: -1, admitted, records: [], verdict: aside === null ? 'new' : 'aside' })
    }
  }
  return found
}

/** The XML of a segment, sealed or not; its whole commits only. Null: it is gone. */
export const readSegment = async (store: Store, ref: string): Promise<Buffer | null> => {
  const { instance, number } = parseRef(ref)
  for (const kind of ['xml', 'part', 'xml'] as const) {
    try {
      const bytes = await store.read(segmentName(instance, number, kind))
      if (kind === 'xml') return bytes
      const whole = native.recoverSegment(bytes)
      return whole.jobs === 0 ? null : Buffer.concat([bytes.subarray(0, whole.bytes), Buffer.from('</segment>\n')])
    } catch (error) {
      if (!isMissing(error)) throw error
    }
  }
  return null
}

const readLine = async (store: Store, occurrence: Occurrence, id: string): Promise<Line | null> => {
  const xml = await readSegment(store, occurrence.of)
  if (xml === null) return null
  const { failure, jsonl } = native.transform(xml)
  if (failure !== null) return null
  const lines = new Lines(jsonl)
  if (occurrence.index < 0) {
    for (let at = 0; at < lines.index.count && occurrence.index < 0; at += 1) if (lines.id(at) === id) occurrence.index = at
  }
  return occurrence.index < 0 || occurrence.index >= lines.index.count ? null : (JSON.parse(lines.line(occurrence.index)) as Line)
}

interface JournalLine {
  readonly by: Author
  readonly at: string
  readonly step: string
  readonly segment: string
  readonly detail?: string
}

const readJournals = async (store: Store, segments: ReadonlySet<string>): Promise<JournalLine[]> => {
  const found: JournalLine[] = []
  for (const instance of (await store.list(hostsDirectory)).filter((name) => parseInstance(name) !== null)) {
    let text = ''
    try {
      text = (await store.read(journalName(instance))).toString('utf8')
    } catch (error) {
      if (!isMissing(error)) throw error
    }
    let by = noAuthor
    for (const line of text.split('\n')) {
      if (line === '') continue
      let entry: Partial<JournalLine>
      try {
        entry = JSON.parse(line) as Partial<JournalLine>
      } catch {
        // The torn last line of a crash.
        continue
      }
      if (entry.by !== undefined) by = entry.by
      else if (entry.segment !== undefined && segments.has(entry.segment)) found.push({ ...(entry as JournalLine), by })
    }
  }
  return found
}

const who = (by: Author): Omit<TraceStep, 'step' | 'at'> => ({
  host: by.host,
  instance: by.instance,
  pid: by.pid,
  version: by.version,
  configDigest: by.config,
})

const acceptedSteps = (occurrence: Occurrence, line: Line | null, journals: readonly JournalLine[]): TraceStep[] => {
  const steps: TraceStep[] = []
  const { of } = occurrence
  if (line !== null) steps.push({ step: 'accepted', at: line.accepted, ...who(line.provenance), segment: of, detail: `to be run on cluster ${line.cluster}` })
  const names: Readonly<Record<string, string>> = { published: 'written', transformed: 'transformed', aside: 'set aside' }
  for (const entry of journals) {
    const step = names[entry.step]
    if (entry.segment !== of || step === undefined) continue
    steps.push({ step, at: entry.at, ...who(entry.by), segment: of, ...(entry.detail === undefined ? {} : { detail: entry.detail }) })
  }
  return steps
}

const ledgerSteps = (occurrence: Occurrence, authors: ReadonlyMap<number, Author>): TraceStep[] => {
  const at = (record: LedgerRecord, step: string, detail?: string): TraceStep => ({
    step,
    at: record.at,
    ...who(authors.get(record.term) ?? noAuthor),
    term: record.term,
    segment: occurrence.of,
    ...(detail === undefined ? {} : { detail }),
  })
  const steps: TraceStep[] = []
  const { admitted, verdict } = occurrence
  if (admitted !== null) {
    if (verdict === 'new') steps.push(at(admitted, 'admitted'))
    if (admitted.k === 'aside') steps.push(at(admitted, 'set aside', admitted.reason))
    if (verdict === 'duplicate') steps.push(at(admitted, 'duplicate', 'accepted before with the same content: submitted once'))
    if (verdict === 'conflict') steps.push(at(admitted, 'refused', 'id_conflict: a job with this id and another content was accepted before'))
  }
  for (const { record, position } of occurrence.records) {
    switch (record.k) {
      case 'intent':
        steps.push(at(record, 'intent', `for cluster ${record.cluster}`))
        break
      case 'receipt': {
        const jobId = record.ids?.[position] ?? null
        const how = record.found ? 'found by asking the cluster' : (record.detail ?? '')
        const detail = [jobId === null ? '' : `the cluster calls it ${jobId}`, record.held ? 'held' : '', how].filter((part) => part !== '').join('; ')
        steps.push(at(record, record.found ? 'resolved' : 'submitted', detail === '' ? undefined : detail))
        break
      }
      case 'refused':
        steps.push(at(record, 'refused', record.reason))
        break
      case 'later':
        steps.push(at(record, 'postponed', record.reason))
        break
      case 'doubt':
        steps.push(at(record, 'in doubt', record.reason))
        break
      case 'absent':
        steps.push(at(record, 'resolved', "the cluster provably doesn't have it: submitted again"))
        break
      case 'forgotten':
        steps.push(at(record, 'forgotten', 'the cluster had acknowledged it and lost it: submitted again'))
        break
      case 'released':
        steps.push(at(record, 'released'))
        break
      case 'confirmed':
        steps.push(at(record, 'confirmed', 'the cluster still knows it after its state was saved'))
        break
      case 'ended': {
        const end = record.ends[position]
        const how = end?.exitCode != null ? `exit status ${end.exitCode}` : end?.signal != null ? `signal ${end.signal}` : ''
        const times = end?.startedAt == null ? '' : `started ${end.startedAt}, ended ${end.endedAt}`
        steps.push(at(record, 'ended', [how, end?.reason ?? '', times].filter((part) => part !== '').join('; ')))
        break
      }
      case 'decision':
        steps.push(at(record, record.as === 'retry' ? 'retried' : record.as === 'discard' ? 'discarded' : 'resolved', `decided by ${record.by}: ${record.as}`))
        break
    }
  }
  return steps
}

export interface NotedJob {
  readonly id: string
  readonly cluster: string
  readonly segment: string
  readonly index: number
  readonly reason: string
  readonly at: string
}

/** Lists the jobs that have a note: dead letters, or jobs in doubt. */
export const listNoted = async (
  store: Store,
  which: 'dead' | 'doubt',
): Promise<NotedJob[]> => {
  const { books } = await readHistory(store, { tolerateDamage: true })
  const wanted = which === 'dead' ? [state.dead] : [state.doubt]
  const found: NotedJob[] = []
  for (const segment of books.segments.values()) {
    for (const [index, note] of segment.notes) {
      if (!wanted.includes(segment.states?.[index] as never)) continue
      found.push({ id: books.idAt(segment, index), cluster: books.clusterAt(segment, index), segment: segment.ref, index, reason: note.reason, at: note.at })
    }
  }
  return found
}

/** Those of the ids that this store has certainly never seen, or whose jobs were finished longer than the retention ago. */
export const unknownAmong = async (store: Store, ids: readonly string[]): Promise<string[]> => {
  const left = new Map<string, { readonly producer: string; readonly sequence: bigint }>()
  const { books, damaged } = await readHistory(store, {
    everything: true,
    tolerateDamage: true,
    onBegin: () => {
      for (const id of ids) left.set(id, partsOfJobId(id))
    },
    onRecord: (record) => {
      if (record.k !== 'admit') return
      for (const [id, { producer, sequence }] of left) if (occurrencesIn(record, producer, sequence).length > 0) left.delete(id)
    },
  })
  // What can't be read may be about any of them.
  if (damaged.length > 0) return []
  // The record of an admission may be gone, and a snapshot tell of it.
  for (const segment of left.size === 0 ? [] : books.segments.values()) {
    for (let index = 0; index < (segment.producers?.length ?? 0); index += 1) left.delete(books.idAt(segment, index))
  }
  const unknown: string[] = []
  for (const id of left.keys()) if ((await searchSegments(store, id, books)).length === 0) unknown.push(id)
  return unknown
}
