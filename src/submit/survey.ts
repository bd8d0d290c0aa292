// What a store holds at this moment, as any host sees it: who is there, who leads, and the audit. Reads only; used by
// `usher status`, which needs no running server. The ledger is read before the segments, and segments never
// change once they are in it: so the sum is right while jobs pour in.

import { native } from '../base/native.ts'
import { decodeClaim } from '../election/claim.ts'
import { lookAtInstances } from '../hosts/present.ts'
import type { Looked } from '../hosts/present.ts'
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
import { Books } from './books.ts'
import { readLedgers } from './ledger.ts'

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

export interface StoreStatus {
  readonly store: string
  readonly leader: { readonly instance: string; readonly host: string; readonly term: number; readonly until: string } | null
  readonly instances: readonly InstanceStatus[]
  readonly audit: AuditStatus
  readonly warnings: readonly string[]
  readonly setAside: readonly { readonly segment: string; readonly jobs: number; readonly reason: string }[]
}

export const survey = async (store: Store, storeUuid: string, options: { readonly ended?: boolean } = {}): Promise<StoreStatus> => {
  const books = new Books({ keepCounts: true })
  const warnings: string[] = []
  const read = await readLedgers(store, (record) => books.apply(record), { tolerateDamage: true })
  warnings.push(...read.damaged)
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
  if (leader === null && (live.length > 0 || waiting + sums.inDoubt > 0)) warnings.push(leaderless(live, waiting + sums.inDoubt))
  for (const [what, key] of [['versions', 'version'], ['configurations', 'config']] as const) {
    const values = new Set(live.map(({ presence }) => presence?.[key] ?? ''))
    if (values.size > 1) warnings.push(`hosts run different ${what}: ${[...values].join(', ')}`)
  }
  return {
    store: storeUuid,
    leader,
    instances: shown.map(statusOf),
    audit: { accepted: files.accepted, ...sums, waiting, balanced },
    warnings,
    setAside: [...books.setAside].map(([segment, { count, reason }]) => ({ segment, jobs: count, reason })),
  }
}

const leaderless = (live: readonly Looked[], jobs: number): string => {
  const whys = live.map(({ instance, presence }) => {
    const host = presence?.host ?? instance
    return presence?.eligible === true ? `${host} may, once the last claim has run out` : `${host} is not eligible (${presence?.reason ?? 'starting'})`
  })
  return `nobody leads, ${jobs} jobs wait: ${whys.length === 0 ? 'no instance is alive' : whys.join('; ')}`
}

const statusOf = ({ instance, presence, alive }: Looked): InstanceStatus => ({
  instance,
  host: presence?.host ?? parseInstance(instance)?.host ?? '',
  pid: presence?.pid ?? 0,
  user: presence?.user ?? '',
  version: presence?.version ?? '',
  configDigest: presence?.config ?? '',
  role: presence?.role === 'ended' ? 'ended' : alive ? (presence?.role ?? 'starting') : 'gone',
  eligible: alive && (presence?.eligible ?? false),
  reason: alive || presence?.role === 'ended' ? (presence?.reason ?? '') : 'no sign of life',
  listen: presence?.listen ?? '',
  accepting: alive && (presence?.accepting ?? false),
  heartbeatAgeMs: presence === null ? null : Math.max(0, Date.now() - Date.parse(presence.at)),
})

const findLeader = async (store: Store, looked: readonly Looked[]): Promise<StoreStatus['leader']> => {
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
  return { instance, host, term, until: new Date(Date.now() + leaseMs).toISOString() }
}

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
  let accepted = 0
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
      const ref = formatSegment(instance, number)
      const known = books.admitted.get(ref) ?? books.setAside.get(ref)?.count
      const inFile = await jobsOf(store, instance, number, kind, books.setAside.has(ref) ? known : undefined)
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
  // Files of finished segments go after their retention; the ledger still accounts for their jobs.
  for (const [ref, count] of books.admitted) if (!counted.has(ref)) accepted += count
  for (const [ref, { count }] of books.setAside) if (!counted.has(ref)) accepted += count
  return { accepted, notAdmitted, mismatched }
}

const jobsOf = async (store: Store, instance: string, number: number, kind: 'xml' | 'part', setAside: number | undefined): Promise<number> => {
  // Its marks may be what is damaged: what was counted when it was set aside holds.
  if (setAside !== undefined) return setAside
  try {
    const name = segmentName(instance, number, kind)
    const marked = kind === 'xml' ? markedJobs(await store.readTail(name, 256)) : undefined
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
