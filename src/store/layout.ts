// The names of docs/store.md: made and read here and nowhere else. Pure.
import { UsherError } from '../base/errors.ts'

export const identityName = 'store.json'
export const claimsDirectory = 'claims'
export const termsDirectory = 'terms'
export const hostsDirectory = 'hosts'
export const ledgerDirectory = 'ledger'
export const requestsDirectory = 'requests'
export const admissionDirectory = 'admission'
export const drainsDirectory = 'drains'

const claimDigits = 16
const segmentDigits = 10

const padded = (value: number, digits: number): string => {
  if (!Number.isSafeInteger(value) || value < 0) throw new UsherError('internal', `${value} can't be the number of a file`)
  return String(value).padStart(digits, '0')
}

/** A number as it stands in a name; null for anything that this version wouldn't write. */
const parsePadded = (text: string, digits: number): number | null => {
  if (text.length !== digits || !/^[0-9]+$/.test(text)) return null
  const value = Number(text)
  return Number.isSafeInteger(value) && value > 0 ? value : null
}

export const formatClaimNumber = (n: number): string => padded(n, claimDigits)
export const parseClaimNumber = (text: string): number | null => parsePadded(text, claimDigits)
export const claimName = (n: number): string => `${claimsDirectory}/${formatClaimNumber(n)}`
export const termName = (term: number): string => `${termsDirectory}/${formatClaimNumber(term)}`

const instancePattern = /^([A-Za-z0-9._-]+)-([0-9]{8}T[0-9]{6})-([0-9a-f]{6})$/

export interface InstanceParts {
  readonly host: string
  /** UTC, yyyymmddThhmmss */
  readonly started: string
  readonly random: string
}

/** The parts of an instance id, or null for a text that isn't one. */
export const parseInstance = (instance: string): InstanceParts | null => {
  const match = instancePattern.exec(instance)
  // A leading dot would make the directory a private name, which listings leave out.
  if (match === null || instance.startsWith('.') || instance.length > 200) return null
  return { host: match[1]!, started: match[2]!, random: match[3]! }
}

/** A new instance id. `random` is six hexadecimal digits; a host name's other characters become `_`. */
export const mintInstance = (host: string, startedAt: Date, random: string): string => {
  const name = host.replace(/[^A-Za-z0-9._-]/g, '_').replace(/^\.+/, '_').slice(0, 128) || 'host'
  const started = startedAt.toISOString().replace(/[-:]/g, '').slice(0, 15)
  const instance = `${name}-${started}-${random}`
  if (parseInstance(instance) === null) throw new UsherError('internal', `${instance} isn't an instance id`)
  return instance
}

export const hostDirectory = (instance: string): string => `${hostsDirectory}/${instance}`
export const presenceName = (instance: string): string => `${hostDirectory(instance)}/presence`
export const journalName = (instance: string): string => `${hostDirectory(instance)}/journal.jsonl`
export const claimFileName = (instance: string, nonce: string): string => `${hostDirectory(instance)}/claim-${nonce}`

export const segmentsDirectory = (instance: string): string => `${hostDirectory(instance)}/segments`
export const adoptedDirectory = (instance: string, of: string): string => `${hostDirectory(instance)}/adopted/${of}`

const segmentSuffixes = { part: '.xml.part', xml: '.xml', jsonl: '.jsonl', aside: '.aside.json' } as const
export type SegmentFileKind = keyof typeof segmentSuffixes

export const formatSegmentNumber = (n: number): string => padded(n, segmentDigits)
/** The file's name within its directory. */
export const segmentFile = (n: number, kind: SegmentFileKind): string => `${formatSegmentNumber(n)}${segmentSuffixes[kind]}`
export const segmentName = (instance: string, n: number, kind: SegmentFileKind): string =>
  `${segmentsDirectory(instance)}/${segmentFile(n, kind)}`
export const adoptedName = (instance: string, of: string, n: number, kind: 'jsonl' | 'aside'): string =>
  `${adoptedDirectory(instance, of)}/${segmentFile(n, kind)}`

/** What a name in a segments or adopted directory is, or null for anything else. */
export const parseSegmentFile = (file: string): { readonly number: number; readonly kind: SegmentFileKind } | null => {
  const number = parsePadded(file.slice(0, segmentDigits), segmentDigits)
  if (number === null) return null
  const suffix = file.slice(segmentDigits)
  for (const kind of Object.keys(segmentSuffixes) as SegmentFileKind[]) {
    if (segmentSuffixes[kind] === suffix) return { number, kind }
  }
  return null
}

/** A segment as people and records name it: `node7-20261123T040000-3fa9c1/17`. */
export const formatSegment = (instance: string, n: number): string => `${instance}/${n}`
export const parseSegment = (text: string): { readonly instance: string; readonly number: number } | null => {
  const slash = text.lastIndexOf('/')
  const instance = text.slice(0, Math.max(slash, 0))
  const digits = text.slice(slash + 1)
  if (parseInstance(instance) === null || !/^[1-9][0-9]{0,9}$/.test(digits)) return null
  return { instance, number: Number(digits) }
}

export const ledgerTermDirectory = (term: number): string => `${ledgerDirectory}/${formatClaimNumber(term)}`
export const ledgerFile = (n: number): string => `${padded(n, segmentDigits)}.log`
export const ledgerName = (term: number, n: number): string => `${ledgerTermDirectory(term)}/${ledgerFile(n)}`
export const parseLedgerFile = (file: string): number | null =>
  file.endsWith('.log') ? parsePadded(file.slice(0, -'.log'.length), segmentDigits) : null

/** What everything before it adds up to, beside the ledger's files of its term. */
export const snapshotName = (term: number, n: number): string => `${ledgerTermDirectory(term)}/${padded(n, segmentDigits)}.snapshot`
export const parseSnapshotFile = (file: string): number | null =>
  file.endsWith('.snapshot') ? parsePadded(file.slice(0, -'.snapshot'.length), segmentDigits) : null

/** An id that commands mint, as it stands in the name of a file that asks for something. */
const requestPattern = /^([A-Za-z0-9_][A-Za-z0-9._-]{0,199})\.json$/
const requestFile = (directory: string, id: string): string => {
  const file = `${id}.json`
  if (!requestPattern.test(file)) throw new UsherError('internal', `${id} can't be the id of a request`)
  return `${directory}/${file}`
}
export const requestName = (id: string): string => requestFile(requestsDirectory, id)
export const parseRequestFile = (file: string): string | null => requestPattern.exec(file)?.[1] ?? null
export const drainName = (id: string): string => requestFile(drainsDirectory, id)

export const admissionName = (n: number): string => `${admissionDirectory}/${padded(n, segmentDigits)}.json`
export const parseAdmissionFile = (file: string): number | null =>
  file.endsWith('.json') ? parsePadded(file.slice(0, -'.json'.length), segmentDigits) : null
