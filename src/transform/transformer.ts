// Turns the segments of this instance (and those it adopts) into JSON lines, in a Piscina pool. What can't be
// transformed is set aside with its reason; what fails because of the store is tried again until it works.

import { setMaxListeners } from 'node:events'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Piscina } from 'piscina'
import { fullJitter, sleep } from '../base/clock.ts'
import type { Clock } from '../base/clock.ts'
import { messageOf } from '../base/errors.ts'
import type { Store } from '../store/store.ts'
import { publishOnce } from './publish-once.ts'
import type { TransformReply, TransformTask } from './worker.ts'

export interface TransformerOptions {
  readonly store: Store
  /** The store's root, absolute. */
  readonly directory: string
  readonly threads: number
  /** Segments are read past the page cache. */
  readonly directIo: boolean
  readonly clock: Clock
  readonly by: Readonly<Record<string, unknown>>
  readonly log: (level: 'info' | 'warn', message: string, details?: Record<string, unknown>) => void
}

export type Transformed =
  | { readonly kind: 'done'; readonly jobs: number; readonly ms: number; readonly jsonBytes: number; readonly xmlBytes: number }
  | { readonly kind: 'aside'; readonly reason: string; readonly jobs: number }

/** Names are relative to the store. */
export interface TransformNames {
  readonly xml: string
  readonly jsonl: string
  readonly aside: string
  /** The segment was never sealed: only its whole commits count. */
  readonly torn: boolean
  /** What a file that isn't there means: a number that was never used, a reason to try again, or the caller's affair. */
  readonly missing: 'empty' | 'retry' | 'tell'
}

const retryMinMs = 100
const retryMaxMs = 5000

export class Transformer {
  readonly #options: TransformerOptions
  readonly #pool: Piscina<TransformTask, TransformReply>
  readonly #stop = new AbortController()

  constructor(options: TransformerOptions) {
    this.#options = options
    // Every segment that waits for the store listens: on a full disk those are many.
    setMaxListeners(0, this.#stop.signal)
    this.#pool = new Piscina({
      filename: fileURLToPath(new URL('worker.js', import.meta.url)),
      name: 'transform',
      minThreads: 1,
      maxThreads: options.threads,
      idleTimeout: 60_000,
      concurrentTasksPerWorker: 1,
      // A worker that waits in Atomics.wait between tasks never turns its event loop, and what the addon handed out
      // would never be freed.
      atomics: 'disabled',
      // Workers hold one segment and its JSON outside of the heap; a small heap keeps many threads cheap.
      resourceLimits: { maxOldGenerationSizeMb: 64 },
    })
  }

  /**
   * Makes `jsonl` (or `aside`, where the document is at fault) from `xml`; names are relative to the store.
   * Null: stopped before it was done.
   */
  async run(names: TransformNames): Promise<Transformed | { readonly kind: 'missing' } | null> {
    const { directory, directIo, clock, log, store, by } = this.#options
    const task = { xml: join(directory, names.xml), jsonl: join(directory, names.jsonl), torn: names.torn, direct: directIo }
    for (let attempt = 0; !this.#stop.signal.aborted; attempt += 1) {
      let reply: TransformReply
      try {
        reply = await this.#pool.run(task)
      } catch (error) {
        // A worker that died (out of memory) takes only its task along; the pool starts another.
        reply = { kind: 'failed', errno: 'unknown', reason: messageOf(error) }
      }
      if (reply.kind === 'done') return reply
      if (reply.kind === 'missing' && names.missing === 'tell') return reply
      if (reply.kind === 'missing' && names.missing === 'empty') {
        try {
          await publishOnce(store, names.jsonl, Buffer.alloc(0))
          return { kind: 'done', jobs: 0, ms: 0, jsonBytes: 0, xmlBytes: 0 }
        } catch (error) {
          reply = { kind: 'failed', errno: 'unknown', reason: messageOf(error) }
        }
      }
      if (reply.kind === 'missing') reply = { kind: 'failed', errno: 'ENOENT', reason: 'there is no such file' }
      if (reply.kind === 'bad') {
        const { code, reason, line, column, jobs } = reply
        const where = line > 0 ? ` at line ${line}, column ${column}` : ''
        const record = { reason: `${reason}${where}`, code, line, column, jobs, at: new Date().toISOString(), by }
        try {
          await publishOnce(store, names.aside, Buffer.from(`${JSON.stringify(record)}\n`))
          log('warn', `${names.xml} is set aside: ${code}: ${record.reason}`)
          return { kind: 'aside', reason: `${code}: ${record.reason}`, jobs: jobs ?? 0 }
        } catch (error) {
          reply = { kind: 'failed', errno: 'unknown', reason: messageOf(error) }
        }
      }
      if (attempt === 0) log('warn', `${names.xml} can't be transformed now: ${(reply as { reason: string }).reason}`)
      await sleep(clock, retryMinMs + fullJitter(attempt, retryMinMs, retryMaxMs, Math.random), this.#stop.signal)
    }
    return null
  }

  async close(): Promise<void> {
    this.#stop.abort()
    await this.#pool.destroy()
  }
}
