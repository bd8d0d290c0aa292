// One segment's JSON lines in memory, its jobs parsed only when a driver looks at them.
import { invariant } from '../base/errors.ts'
import { native } from '../base/native.ts'
import type { LineIndex } from '../base/native.ts'
import { formatId } from './books.ts'
import type { JobSpec, Submission } from './driver.ts'

export class Lines {
  readonly bytes: Buffer
  readonly index: LineIndex

  constructor(bytes: Buffer) {
    this.bytes = bytes
    this.index = native.indexLines(bytes)
  }

  /** Index of the cluster in `index.clusters`, or -1 where no job of the segment names it. */
  clusterIndex(cluster: string): number {
    return this.index.clusters.indexOf(cluster)
  }

  id(at: number): string {
    return formatId(this.index.producers[at]!, this.index.sequences[at]!)
  }

  job(at: number): Submission {
    return new LineJob(this, at)
  }

  line(at: number): string {
    const { offsets } = this.index
    return this.bytes.toString('utf8', offsets[at]!, offsets[at + 1]! - 1)
  }
}

class LineJob implements Submission {
  readonly #lines: Lines
  readonly #at: number
  #spec: JobSpec | null = null

  constructor(lines: Lines, at: number) {
    this.#lines = lines
    this.#at = at
  }

  get id(): string {
    return this.#lines.id(this.#at)
  }

  get spec(): JobSpec {
    this.#spec ??= JSON.parse(this.specJson) as JobSpec
    return this.#spec
  }

  get specJson(): string {
    const line = this.#lines.line(this.#at)
    // No quote stands unescaped in a string, so these can't be part of one; nothing before `spec` is free text.
    const first = line.indexOf(',"spec":')
    const last = line.lastIndexOf(',"provenance":{')
    invariant(first > 0 && last > first, 'a JSON line has spec and provenance')
    return line.slice(first + 8, last)
  }

  get traceparent(): string | undefined {
    return (JSON.parse(this.#lines.line(this.#at)) as { traceparent?: string }).traceparent
  }
}
