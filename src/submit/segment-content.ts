// Where the JSON of a segment is, or why there is none: beside its XML, or with this instance, which adopted it.
import { adoptedName, segmentName } from '../store/layout.ts'
import { isMissing } from '../store/store-error.ts'
import type { Store } from '../store/store.ts'
import type { SegmentContent } from './feeder.ts'

/**
 * Only for what presence says is published, or what was adopted here. The first is there under one of two names, and neither
 * was looked up before: so no NFS client can hold it for absent. What only an adopter has isn't there, and never will be.
 */
export const readSegment = async (store: Store, own: string, instance: string, number: number): Promise<SegmentContent> => {
  const places = [(kind: 'jsonl' | 'aside') => segmentName(instance, number, kind)]
  if (instance !== own) places.push((kind) => adoptedName(own, instance, number, kind))
  for (const name of places) {
    const lines = await readIfThere(store, name('jsonl'))
    if (lines !== null) return { kind: 'lines', bytes: lines }
    const aside = await readIfThere(store, name('aside'))
    if (aside === null) continue
    const { code, reason, jobs } = JSON.parse(aside.toString('utf8')) as { code: string; reason: string; jobs: number | null }
    return { kind: 'aside', reason: `${code}: ${reason}`, jobs: jobs ?? 0 }
  }
  return { kind: 'missing' }
}

const readIfThere = async (store: Store, name: string): Promise<Buffer | null> => {
  try {
    return await store.read(name)
  } catch (error) {
    if (isMissing(error)) return null
    throw error
  }
}
