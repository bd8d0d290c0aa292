// What a store holds at this moment, as any host sees it: who is there, who leads, and the audit. Reads only; used by
// `usher status`, which needs no running server. The ledger is read before the segments, and segments never
// change once they are in it: so the sum is right while jobs pour in.

import { native } from '../base/native.ts'
import { decodeClaim } from '../election/claim.ts'
import { lookAtInstances } from '../hosts/present.ts'
import type { Looked } from '../hosts/present.ts'
import { provenDead } from '../observe/instance.ts'
import type { InstancePresence } from '../observe/instance.ts'
import {
  claimName,
  claimsDirectory,
  formatSegment,
  parseClaimNumber,
  parseInstance,
  parseSegmentFile,
  segmentName,
  segmentsDirectory,
} from '../store/layout.ts'
import { isMissing } from '../store/store-error.ts'
import type { Store } from '../store/store.ts'
import type { Books } from './books.ts'
import { readHistory } from './history.ts'

export interface InstanceStatus {
  readonly instance: string
  readonly host: string
  readonly pid: number
  readonly user: string
  readonly version: string
  readonly configDigest: string
  readonly role: string
  readonly eligible: boolean
  readonly reason: string
  readonly listen: string
  readonly accepting: boolean
  /** By the wall clocks of both hosts: for people. Null: it never wrote its presence. */
  readonly heartbeatAgeMs: number | null
}

export interface AuditStatus {
  readonly accepted: number
  readonly submitted: number
  readonly waiting: number
  readonly inDoubt: number
  readonly dead: number
  readonly discarded: number
  readonly duplicates: number
  readonly setAside: number
  readonly balanced: boolean
}

export interface Leader {
  readonly instance: string
  readonly host: string
  readonly term: number
  readonly leaseMs: number
  readonly until: string
}

export interface StoreStatus {
  readonly store: string
  readonly leader: Leader | null
  /** Of each living instance, why it doesn't lead; empty while one does. */
  readonly whyNobodyLeads: readonly string[]
  readonly instances: readonly InstanceStatus[]
  readonly audit: AuditStatus
  readonly warnings: readonly string[]
  readonly setAside: readonly { readonly segment: string; readonly jobs: number; readonly reason: string }[]
}

export const survey = async (store: Store, storeUuid: string, options: { readonly ended?: boolean } = {}): Promise<StoreStatus> => {
  const read = await readHistory(store, { tolerateDamage: true })
  const { books } = read
  const warnings: string[] = [...read.damaged, ...read.warnings]
  if (books.anomalies > 0) warnings.push(`${books.anomalies} records of the ledger follow on nothing and were left out`)
  const looked = await lookAtInstances(store)
  const leader = await findLeader(store, looked)
  // Without a live leader what was only intended is in doubt.
  const sums = books.audit(leader === null || leader.term !== books.terms.at(-1)?.term)
  const files = await countSegments(store, looked, books, warnings)
  const waiting = sums.waiting + files.notAdmitted
  const total = sums.submitted + waiting + sums.inDoubt + sums.dead + sums.discarded + sums.duplicates + sums.setAside
  const balanced = files.accepted === total && files.mismatched === 0 && read.damaged.length === 0
  if (!balanced) warnings.push(`the audit doesn't balance: ${files.accepted} accepted, ${total} accounted for`)
  const shown = looked.filter(({ presence, alive }) => alive || (options.ended ?? false) || presence?.role !== 'ended')
  const live = looked.filter(({ alive }) => alive)
  const whyNone = leader === null ? whyNobodyLeads(looked) : []
  if (leader === null && (live.length > 0 || waiting + sums.inDoubt > 0)) {
    const held = waiting + sums.inDoubt
    const reason = whyNone.length === 0 ? 'no instance is alive' : whyNone.join('; ')
    warnings.push(held === 0 ? `nobody leads: ${reason}` : `nobody leads, ${held} jobs wait: ${reason}`)
  }
  warnings.push(...skewAmong(live))
  return {
    store: storeUuid,
    leader,
    whyNobodyLeads: whyNone,
    instances: shown.map(statusOf),
    audit: { accepted: files.accepted, ...sums, waiting, balanced },
    warnings,
    setAside: [...books.setAside].map(([segment, { count, reason }]) => ({ segment, jobs: count, reason })),
  }
}

/** Living instances that differ in what should be alike, or are alike in what should differ. */
export const skewAmong = (live: readonly Looked[]): string[] => {
  const warnings: string[] = []
  for (const [what, key, remedy] of [
    ['versions', 'version', 'finish the upgrade'],
    ['configurations', 'config', "compare 'usher config show'"],
  ] as const) {
    const groups = groupHosts(live, (presence) => presence[key])
    if (groups.length > 1) warnings.push(`hosts run different ${what}: ${groups.join('; ')}: ${remedy}`)
  }
  for (const [host, instances] of groupBy(live, (presence) => presence.host)) {
    if (instances.length > 1) warnings.push(`${instances.length} instances call themselves host ${host}: ${instances.map(({ instance }) => instance).join(', ')}`)
  }
  return warnings
}

const groupBy = (live: readonly Looked[], keyOf: (presence: InstancePresence) => string): Map<string, InstancePresence[]> => {
  const groups = new Map<string, InstancePresence[]>()
  for (const { presence } of live) {
    if (presence === null) continue
    const list = groups.get(keyOf(presence))
    if (list === undefined) groups.set(keyOf(presence), [presence])
    else list.push(presence)
  }
  return groups
}

/** `3e446a5c on node1, node2` for each value, the one with most hosts first. */
const groupHosts = (live: readonly Looked[], keyOf: (presence: InstancePresence) => string): string[] =>
  [...groupBy(live, keyOf)]
    .map(([value, presences]) => ({ value, hosts: [...new Set(presences.map(({ host }) => host))].sort() }))
    .sort((a, b) => b.hosts.length - a.hosts.length || (a.value < b.value ? -1 : 1))
    .map(({ value, hosts }) => `${value} on ${hosts.join(', ')}`)

/** `node2 is not eligible (…)` for each living instance, in the order of their names. */
export const whyNobodyLeads = (looked: readonly Looked[]): string[] =>
  looked.flatMap(({ presence, alive }) => {
    if (!alive || presence === null) return []
    const { host, role, eligible, reason } = presence
    if (eligible) return [`${host} may, once the last claim has run out`]
    return [`${host} is not eligible (${reason === '' ? role : reason})`]
  })

const reasonOf = ({ presence, alive }: Looked): string => {
  if (alive || presence?.role === 'ended') return presence?.reason ?? ''
  return presence !== null && provenDead(presence) ? `its process ${presence.pid} is no more` : 'no sign of life'
}

export const statusOf = ({ instance, presence, alive }: Looked): InstanceStatus => ({
  instance,
  host: presence?.host ?? parseInstance(instance)?.host ?? '',
  pid: presence?.pid ?? 0,
  user: presence?.user ?? '',
  version: presence?.version ?? '',
  configDigest: presence?.config ?? '',
  role: presence?.role === 'ended' ? 'ended' : alive ? (presence?.role ?? 'starting') : 'gone',
  eligible: alive && (presence?.eligible ?? false),
  reason: reasonOf({ instance, presence, alive }),
  listen: presence?.listen ?? '',
  accepting: alive && (presence?.accepting ?? false),
  heartbeatAgeMs: presence === null ? null : Math.max(0, Date.now() - Date.parse(presence.at)),
})

export const findLeader = async (store: Store, looked: readonly Looked[]): Promise<StoreStatus['leader']> => {
  const numbers = (await store.list(claimsDirectory)).map(parseClaimNumber).filter((n) => n !== null)
  const newest = Math.max(0, ...numbers)
  if (newest === 0) return null
  let claim
  try {
    claim = decodeClaim(await store.read(claimName(newest)))
  } catch (error) {
    if (isMissing(error)) return null
    throw error
  }
  if (claim === null || claim.leaseMs === 0) return null
  const { instance, host, term, leaseMs } = claim
  if (!looked.some((one) => one.instance === instance && one.alive)) return null
  // It was renewed at some time before now: this is the latest that it can end unless it is renewed again.
  return { instance, host, term, leaseMs, until: new Date(Date.now() + leaseMs).toISOString() }
}

/** Of a sealed segment: its last mark and the closing tag, and white space behind both, each less than a block. */
const tailBytes = 2 * 4096 + 256

/** Jobs in a segment's file, by its last commit mark; undefined: it has none. */
const markedJobs = (tail: Buffer): number | undefined => {
  const match = /<\?usher-commit jobs="([0-9]+)" bytes="[0-9]+" crc32c="[0-9a-f]{8}"\?>\s*<\/segment>\s*$/.exec(tail.toString('latin1'))
  return match?.[1] === undefined ? undefined : Number(match[1])
}

const countSegments = async (
  store: Store,
  looked: readonly Looked[],
  books: Books,
  warnings: string[],
): Promise<{ accepted: number; notAdmitted: number; mismatched: number }> => {
  let accepted = books.totals.removedJobs
  let notAdmitted = 0
  let mismatched = 0
  const counted = new Set<string>()
  for (const { instance } of looked) {
    const numbers = new Map<number, 'xml' | 'part'>()
    for (const file of await store.list(segmentsDirectory(instance))) {
      const parsed = parseSegmentFile(file)
      if (parsed?.kind === 'xml' || (parsed?.kind === 'part' && !numbers.has(parsed.number))) numbers.set(parsed.number, parsed.kind)
    }
    for (const [number, kind] of numbers) {
      // Its jobs are in the sums for ever; the file is about to go.
      if (books.isRemoved(instance, number)) continue
      const ref = formatSegment(instance, number)
      const known = books.countOf(ref) ?? books.setAside.get(ref)?.count
      let inFile: number
      try {
        inFile = await jobsOf(store, instance, number, kind, books.setAside.has(ref) ? known : undefined)
      } catch (error) {
        // Removed since it was listed, finished as it was.
        if (isMissing(error) && known !== undefined) continue
        throw error
      }
      // What an owner that was gone wrote into its open segment after it was admitted was never acknowledged.
      const jobs = kind === 'part' && known !== undefined && inFile > known ? known : inFile
      counted.add(ref)
      accepted += jobs
      if (known === undefined) notAdmitted += jobs
      else if (known !== jobs) {
        mismatched += 1
        warnings.push(`segment ${ref} holds ${jobs} jobs, ${known} were admitted`)
      }
    }
  }
  // Files may have been removed since the ledger was read: it accounts for their jobs all the same.
  for (const { ref, count } of books.segments.values()) if (!counted.has(ref)) accepted += count
  for (const instance of books.finished.instances()) {
    for (const [number, { submitted, duplicates, discarded }] of books.finished.of(instance)) {
      if (!counted.has(formatSegment(instance, number))) accepted += submitted + duplicates + discarded
    }
  }
  for (const [ref, { count }] of books.setAside) if (!counted.has(ref)) accepted += count
  return { accepted, notAdmitted, mismatched }
}

const jobsOf = async (store: Store, instance: string, number: number, kind: 'xml' | 'part', setAside: number | undefined): Promise<number> => {
  // Its marks may be what is damaged: what was counted when it was set aside holds.
  if (setAside !== undefined) return setAside
  try {
    const name = segmentName(instance, number, kind)
    const marked = kind === 'xml' ? markedJobs(await store.readTail(name, tailBytes)) : undefined
    if (marked !== undefined) return marked
    const bytes = await store.read(name)
    const recovered = native.recoverSegment(bytes)
    if (recovered.bytes > 0 || kind === 'part') return recovered.jobs
    // Written by another tool, without marks.
    return native.transform(bytes).jobs
  } catch (error) {
    // Sealed between the listing and now: the same jobs under the other name.
    if (isMissing(error) && kind === 'part') return jobsOf(store, instance, number, 'xml', setAside)
    throw error
  }
}
