// What src/transform/transformer.ts and its worker do, without threads: the same steps on simulated files.
import { fullJitter, sleep } from '../../src/base/clock.ts'
import type { Clock } from '../../src/base/clock.ts'
import { native } from '../../src/base/native.ts'
import { claimedJobs } from '../../src/store/commit-marks.ts'
import type { FileOperations } from '../../src/store/file-operations.ts'
import { readFully, writeAll } from '../../src/store/file-operations.ts'
import type { Store } from '../../src/store/store.ts'
import type { SegmentTransformer } from '../../src/transform/adopter.ts'
import type { Transformed, TransformNames } from '../../src/transform/transformer.ts'
import { publishOnce } from '../../src/transform/publish-once.ts'

export interface SegmentTransformsOptions {
  readonly store: Store
  readonly files: FileOperations
  readonly root: string
  readonly nonce: () => string
  readonly clock: Clock
  readonly random: () => number
}

type Reply = { readonly kind: 'done'; readonly jobs: number } | { readonly kind: 'bad'; readonly code: string; readonly reason: string; readonly jobs: number | null } | { readonly kind: 'missing' }

const retryMinMs = 100
const retryMaxMs = 5000

export class SegmentTransforms implements SegmentTransformer {
  readonly #options: SegmentTransformsOptions
  readonly #stop = new AbortController()

  constructor(options: SegmentTransformsOptions) {
    this.#options = options
  }

  close(): void {
    this.#stop.abort()
  }

  async run(names: TransformNames): Promise<Transformed | { readonly kind: 'missing' } | null> {
    const { clock, random, store } = this.#options
    for (let attempt = 0; !this.#stop.signal.aborted; attempt += 1) {
      try {
        const reply = await this.#transform(names)
        if (reply.kind === 'done') return { kind: 'done', jobs: reply.jobs, ms: 0, jsonBytes: 0, xmlBytes: 0 }
        if (reply.kind === 'bad') {
          await publishOnce(store, names.aside, Buffer.from(`${JSON.stringify({ reason: reply.reason, code: reply.code, jobs: reply.jobs })}\n`))
          return { kind: 'aside', reason: reply.reason, jobs: reply.jobs ?? 0 }
        }
        if (names.missing === 'tell') return reply
        if (names.missing === 'empty') {
          await publishOnce(store, names.jsonl, Buffer.alloc(0))
          return { kind: 'done', jobs: 0, ms: 0, jsonBytes: 0, xmlBytes: 0 }
        }
      } catch {
        // The store's affair: again.
      }
      await sleep(clock, retryMinMs + fullJitter(attempt, retryMinMs, retryMaxMs, random), this.#stop.signal)
    }
    return null
  }

  async #transform({ xml: name, jsonl, torn }: TransformNames): Promise<Reply> {
    const read = await this.#readIfThere(name)
    if (read === null) return { kind: 'missing' }
    let xml = read
    const whole = torn ? native.recoverSegment(read) : null
    if (whole !== null && !whole.sealed) {
      if (whole.corrupt) return { kind: 'bad', code: 'segment_corrupt', reason: 'a false commit mark', jobs: claimedJobs(read) }
      if (whole.jobs === 0) {
        await this.#publish(jsonl, Buffer.alloc(0))
        return { kind: 'done', jobs: 0 }
      }
      xml = Buffer.concat([read.subarray(0, whole.bytes), Buffer.from('</segment>\n')])
    }
    const { failure, jsonl: lines, jobs } = native.transform(xml)
    if (failure !== null) return { kind: 'bad', code: failure.code, reason: failure.reason, jobs: claimedJobs(read) }
    await this.#publish(jsonl, lines)
    return { kind: 'done', jobs }
  }

  async #readIfThere(name: string): Promise<Buffer | null> {
    try {
      const file = await this.#options.files.open(`${this.#options.root}/${name}`, 'read')
      const { size } = await file.status()
      const into = Buffer.alloc(size)
      return into.subarray(0, await readFully(file, into, 0))
    } catch (error) {
      if ((error as { code?: string }).code === 'ENOENT') return null
      throw error
    }
  }

  /** As the worker does it. */
  async #publish(name: string, bytes: Uint8Array): Promise<void> {
    const { files, root, nonce } = this.#options
    const path = `${root}/${name}`
    const slash = path.lastIndexOf('/')
    const temporary = `${path.slice(0, slash)}/.${path.slice(slash + 1)}.${nonce()}.tmp`
    const file = await files.open(temporary, 'new')
    await writeAll(file, bytes, 0)
    await file.sync()
    await file.close()
    await files.link(temporary, path).catch((error: unknown) => {
      if ((error as { code?: string }).code !== 'EEXIST') throw error
    })
    const directory = await files.open(path.slice(0, slash), 'read')
    await directory.sync()
    await files.unlink(temporary).catch(() => undefined)
  }
}
