// Runs in a Piscina worker: one segment's XML into JSON lines, in the addon. Failures come back as values, since
// structured clone would drop what makes an error one of ours. Never throws on content.
//
// The same bytes in give the same bytes out, so doing it twice, here or on another host, is harmless.

import { randomBytes } from 'node:crypto'
import { closeSync, fsyncSync, linkSync, openSync, readFileSync, unlinkSync } from 'node:fs'
import { constants, getPriority, setPriority } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { isMainThread } from 'node:worker_threads'
import { errnoOf, messageOf } from '../base/errors.ts'
import { native } from '../base/native.ts'
import { claimedJobs } from '../store/commit-marks.ts'

/** At 5 a busy processor gives this thread a quarter of itself beside one other. */
const niceAbove = 5

export interface TransformTask {
  /** Absolute paths. */
  readonly xml: string
  /** Public name of the result; its directory exists. */
  readonly jsonl: string
  /** The segment was never sealed: only its whole commits count. */
  readonly torn: boolean
  /** Past the page cache. */
  readonly direct: boolean
}

export type TransformReply =
  | { readonly kind: 'done'; readonly jobs: number; readonly xmlBytes: number; readonly jsonBytes: number; readonly ms: number }
  /** The document is at fault: set it aside. */
  | { readonly kind: 'bad'; readonly code: string; readonly reason: string; readonly line: number; readonly column: number; readonly jobs: number | null }
  /** No such file: never written, or renamed since it was listed. */
  | { readonly kind: 'missing' }
  /** The store is at fault: try again. */
  | { readonly kind: 'failed'; readonly errno: string; readonly reason: string }

// Accepting and leading come first where there are fewer processors than work: on Linux a nice value is a thread's own, and
// this one's is raised above that of the threads beside it.
if (!isMainThread) setPriority(Math.min(getPriority() + niceAbove, constants.priority.PRIORITY_LOW))

/** Kept from one task to the next: memory that a worker has once touched costs nothing. The XML and the lines stay in it. */
const segment = new native.SegmentTransform()

export function transform(task: TransformTask): TransformReply {
  const startedAt = performance.now()
  try {
    const read = readIfThere(task)
    if (read === null) return { kind: 'missing' }
    const whole = task.torn ? segment.recover() : null
    if (whole !== null && !whole.sealed) {
      if (whole.corrupt) return damaged(whole.jobs, claimedJobs(readFileSync(task.xml)))
      if (whole.jobs === 0) {
        // No lines were made, and none are held.
        publish(task.jsonl)
        return { kind: 'done', jobs: 0, xmlBytes: read, jsonBytes: 0, ms: performance.now() - startedAt }
      }
      segment.closeAfter(whole.bytes)
    }
    const { failure, jobs, xmlBytes, jsonBytes } = segment.run()
    if (failure !== null) {
      // All that were acknowledged in it are lost to sight with it: what its last commit mark says, even where that isn't true any more.
      return { kind: 'bad', ...failure, jobs: claimedJobs(readFileSync(task.xml)) }
    }
    publish(task.jsonl)
    return { kind: 'done', jobs, xmlBytes, jsonBytes, ms: performance.now() - startedAt }
  } catch (error) {
    return { kind: 'failed', errno: errnoOf(error) ?? 'unknown', reason: messageOf(error) }
  } finally {
    segment.clear()
  }
}

const readIfThere = ({ xml, torn, direct }: TransformTask): number | null => {
  let file: number
  try {
    file = openSync(xml, 'r')
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return null
    throw error
  }
  try {
    // What is read must not be lost any more once something is made of it, and whoever wrote it may not have synced it.
    if (torn) fsyncSync(file)
    return segment.read(file, direct)
  } finally {
    closeSync(file)
  }
}

const damaged = (wholeJobs: number, jobs: number | null): TransformReply => ({
  kind: 'bad',
  code: 'segment_corrupt',
  reason: `a commit mark after the first ${wholeJobs} jobs doesn't match the bytes before it, and another commit follows it`,
  line: 0,
  column: 0,
  jobs,
})

/**
 * Rule 2 of the store: private name, fsync, close, link, fsync of the directory. Never replaces: what is there under that name
 * was whole when it got it. Each attempt has a private name of its own, so that a request which a file server carries
 * out late meets no other's file.
 */
const publish = (path: string): void => {
  const directory = dirname(path)
  const temporary = join(directory, `.${basename(path)}.${randomBytes(8).toString('hex')}.tmp`)
  const file = openSync(temporary, 'wx', 0o640)
  try {
    segment.write(file)
    fsyncSync(file)
  } catch (error) {
    closeSync(file)
    unlinkSync(temporary)
    throw error
  }
  closeSync(file)
  try {
    linkSync(temporary, path)
  } catch (error) {
    // Made before, by an attempt that was told that it had failed.
    if (errnoOf(error) !== 'EEXIST') throw error
  }
  const handle = openSync(directory, 'r')
  try {
    fsyncSync(handle)
  } finally {
    closeSync(handle)
  }
  try {
    unlinkSync(temporary)
  } catch {
    // Litter that no listing shows; what matters is on stable storage.
  }
}
