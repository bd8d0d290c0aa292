// Where the JSON of a segment is, or why there is none: beside its XML, with this instance, which adopted it, or with another
// that did. All are made from the same bytes, but of a segment that was never sealed one may have been made from more of
// them than is left: what its owner had written and not synced can be lost after it was adopted. So an admitted segment
// is read from whoever still has all of its jobs.
import { adoptedDirectory, adoptedName, hostDirectory, hostsDirectory, parseInstance, parseSegmentFile, segmentName } from '../store/layout.ts'
import { isMissing } from '../store/store-error.ts'
import type { Store } from '../store/store.ts'
import type { SegmentContent } from './feeder.ts'

/**
 * Only for what presence says is published, or what was adopted. `jobs`: how many it must have at least. Its owner's file is
 * there under one of two names, and neither was looked up before: so no NFS client can hold it for absent. What only
 * an adopter has isn't there, and never will be. What others adopted is looked up only where a listing shows it.
 */
export const readSegment = async (store: Store, own: string, instance: string, number: number, jobs = 0): Promise<SegmentContent> => {
  const at = await readAt(store, (kind) => segmentName(instance, number, kind), jobs)
  if (at !== null) return at
  if (instance === own) return { kind: 'missing' }
  const here = await readAt(store, (kind) => adoptedName(own, instance, number, kind), jobs)
  if (here !== null) return here
  for (const other of await store.list(hostsDirectory)) {
    if (other === own || parseInstance(other) === null) continue
    if (!(await store.list(`${hostDirectory(other)}/adopted`)).includes(instance)) continue
    const files = await store.list(adoptedDirectory(other, instance))
    if (!files.some((file) => parseSegmentFile(file)?.number === number)) continue
    const there = await readAt(store, (kind) => adoptedName(other, instance, number, kind), jobs)
    if (there !== null) return there
  }
  return { kind: 'missing' }
}

const readAt = async (store: Store, name: (kind: 'jsonl' | 'aside') => string, jobs: number): Promise<SegmentContent | null> => {
  const bytes = await readIfThere(store, name('jsonl'))
  if (bytes !== null) return hasLines(bytes, jobs) ? { kind: 'lines', bytes } : null
  const aside = await readIfThere(store, name('aside'))
  if (aside === null) return null
  const { code, reason, jobs: count } = JSON.parse(aside.toString('utf8')) as { code: string; reason: string; jobs: number | null }
  return { kind: 'aside', reason: `${code}: ${reason}`, jobs: count ?? 0 }
}

const hasLines = (bytes: Buffer, count: number): boolean => {
  let at = -1
  for (let lines = 0; lines < count; lines += 1) {
    at = bytes.indexOf(0x0a, at + 1)
    if (at < 0) return false
  }
  return true
}

const readIfThere = async (store: Store, name: string): Promise<Buffer | null> => {
  try {
    return await store.read(name)
  } catch (error) {
    if (isMissing(error)) return null
    throw error
  }
}
