// Makes JSON of what an instance that is gone has left: sealed segments without JSON, and the whole commits of those it
// never sealed. Writes only into this instance's own directory; the originals stay as they are.

import { UsherError } from '../base/errors.ts'
import { parsePresence } from '../observe/instance.ts'
import { adoptedDirectory, adoptedName, formatSegment, parseSegmentFile, presenceName, segmentName, segmentsDirectory } from '../store/layout.ts'
import type { SegmentFileKind } from '../store/layout.ts'
import type { Store } from '../store/store.ts'
import type { Transformed, TransformNames } from './transformer.ts'

/** What makes JSON of a segment: the Transformer. Null: stopped before it was done. */
export interface SegmentTransformer {
  run(names: TransformNames): Promise<Transformed | { readonly kind: 'missing' } | null>
}

export interface AdopterOptions {
  readonly store: Store
  readonly instance: string
  readonly transformer: SegmentTransformer
  readonly onTransformed: (segment: string, result: Transformed) => void
}

export class Adopter {
  readonly #options: AdopterOptions
  readonly #running = new Map<string, Promise<number | null>>()

  constructor(options: AdopterOptions) {
    this.#options = options
  }

  /**
   * Resolves with the number of the instance's last segment once every segment up to it has JSON or is set aside, there
   * or here; null when stopped before. The same adoption asked for twice is done once. Segments before `from` are finished,
   * and their files may be gone.
   */
  adopt(of: string, from = 1): Promise<number | null> {
    let running = this.#running.get(of)
    if (running === undefined) {
      running = this.#adopt(of, from).finally(() => this.#running.delete(of))
      this.#running.set(of, running)
    }
    return running
  }

  async #adopt(of: string, from: number): Promise<number | null> {
    const { store, instance } = this.#options
    // Two listings: one can miss an entry while another is renamed, and `.xml.part` may just have become `.xml`.
    const there = new Map<number, Set<SegmentFileKind>>()
    for (let pass = 0; pass < 2; pass += 1) {
      for (const file of await store.list(segmentsDirectory(of))) {
        const parsed = parseSegmentFile(file)
        if (parsed === null) continue
        const kinds = there.get(parsed.number)
        if (kinds === undefined) there.set(parsed.number, new Set([parsed.kind]))
        else kinds.add(parsed.kind)
      }
    }
    const published = parsePresence(await store.readPresence(presenceName(of)))?.published ?? 0
    const own = adoptedDirectory(instance, of)
    await store.makeDirectory(own)
    const done = new Set((await store.list(own)).flatMap((file) => parseSegmentFile(file)?.number ?? []))
    // Also what was adopted before and isn't there any more: a request of its owner, carried out late, may have removed it since.
    let last = Math.max(published, ...there.keys(), ...done)
    // A listing may leave out what is there, and what is left out here would be lost: so the next numbers, and those in
    // between, are asked for by their names. Nobody makes them any more.
    while (await this.#find(of, last + 1, there)) last += 1
    const work: Promise<boolean>[] = []
    for (let number = from; number <= last; number += 1) {
      const kinds = there.get(number) ?? new Set<SegmentFileKind>()
      if (kinds.has('jsonl') || kinds.has('aside') || done.has(number)) continue
      if (kinds.size === 0 && !(await this.#find(of, number, there)) && number <= published) continue
      work.push(this.#make(of, number, there.get(number) ?? kinds))
    }
    return (await Promise.all(work)).every(Boolean) ? last : null
  }

  /** Asks for a segment by its names; twice for the sealed one, since it may be about to be sealed. */
  async #find(of: string, number: number, there: Map<number, Set<SegmentFileKind>>): Promise<boolean> {
    for (const kind of ['xml', 'part', 'xml'] as const) {
      if (!(await this.#options.store.exists(segmentName(of, number, kind)))) continue
      there.set(number, new Set([kind]))
      return true
    }
    return false
  }

  async #make(of: string, number: number, kinds: ReadonlySet<SegmentFileKind>): Promise<boolean> {
    const { store, instance, transformer, onTransformed } = this.#options
    const jsonl = adoptedName(instance, of, number, 'jsonl')
    if (kinds.size === 0) {
      // A number that was given up before anything was written under it.
      await store.publish(jsonl, Buffer.alloc(0))
      return true
    }
    const torn = !kinds.has('xml')
    const xml = segmentName(of, number, torn ? 'part' : 'xml')
    const result = await transformer.run({ xml, jsonl, aside: adoptedName(instance, of, number, 'aside'), torn, missing: 'tell' })
    if (result === null) return false
    // Its owner's last rename came late: the caller lists again.
    if (result.kind === 'missing') throw new UsherError('store_unavailable', `${xml} is there no more`)
    onTransformed(formatSegment(of, number), result)
    return true
  }
}
