// Accepting as native/core/segment-writer.cpp does it, on simulated files: groups are written and synced, the accept lease is
// looked at after the sync and before the acknowledgement, segments are sealed, linked and told of; what failed is
// given up, and what lapsed retires. Real segments with real commit marks; no sockets, no threads.
import type { Clock } from '../../src/base/clock.ts'
import { native } from '../../src/base/native.ts'
import type { FileOperations, OpenFile } from '../../src/store/file-operations.ts'
import { writeAll } from '../../src/store/file-operations.ts'
import { segmentFile } from '../../src/store/layout.ts'
import { Wakeup } from '../../src/base/wakeup.ts'
import type { SentJob } from './judge.ts'

export interface Group {
  readonly jobs: readonly SentJob[]
  readonly answer: (accepted: boolean) => void
}

export interface IngestOptions {
  readonly files: FileOperations
  /** hosts/<instance>/segments, absolute, existing. */
  readonly directory: string
  readonly header: Readonly<Record<string, string>>
  readonly clock: Clock
  readonly acceptLeaseMs: number
  readonly sealIntervalMs: number
  readonly retryMs: number
  /** Off: a switch that shows what the accept lease is for. */
  readonly checksLease: boolean
  readonly onAcknowledged: (number: number, jobs: readonly SentJob[]) => void
  readonly onPublished: (number: number) => void
  readonly onAbandoned: (number: number) => void
  readonly onFailing: (failing: boolean) => void
  readonly onRetired: () => void
}

interface Segment {
  readonly number: number
  readonly file: OpenFile
  inode: bigint
  bytes: number
  crc: number
  jobs: number
  acknowledged: boolean
  firstCommitMs: number
}

interface Sealed {
  readonly number: number
  readonly inode: bigint
  linked: boolean
}

const closingTag = Buffer.from('</segment>\n')
const blockBytes = 4096

/** With white space behind it, a line of its own, up to the end of the block. */
const padded = (parts: readonly Buffer[], offset: number): Buffer => {
  const length = parts.reduce((sum, part) => sum + part.length, 0)
  const over = (offset + length) % blockBytes
  return Buffer.concat(over === 0 ? parts : [...parts, Buffer.from('\n'.padStart(blockBytes - over))])
}
const createAttempts = 20

const errnoOf = (error: unknown): string => (error as { code?: string }).code ?? ''

export class Ingest {
  readonly #options: IngestOptions
  readonly #wakeup = new Wakeup()
  #queue: Group[] = []
  #presenceMs = Number.NEGATIVE_INFINITY
  #lapsed = false
  #retired = false
  #failing = false
  #retryAtMs = 0
  #stopping: (() => void) | null = null
  #segment: Segment | null = null
  #sealed: Sealed[] = []
  #nextNumber = 1
  #lastSealMs = Number.NEGATIVE_INFINITY

  constructor(options: IngestOptions) {
    this.#options = options
  }

  take(group: Group): void {
    if (this.#retired || this.#failing || this.#stopping !== null) {
      group.answer(false)
      return
    }
    this.#queue.push(group)
    this.#wakeup.wake()
  }

  presenceWritten(atMs: number): void {
    const known = this.#presenceMs
    if (known !== Number.NEGATIVE_INFINITY && this.#options.clock.nowMs() - known >= this.#options.acceptLeaseMs) this.#lapsed = true
    if (atMs > known) this.#presenceMs = atMs
  }

  /** Commits and seals what there is. */
  stop(): Promise<void> {
    return new Promise((resolve) => {
      this.#stopping = resolve
      this.#wakeup.wake()
    })
  }

  async run(): Promise<void> {
    const { clock } = this.#options
    await this.#publishSealed(true).then((ok) => (ok ? undefined : this.#fail()))
    for (;;) {
      const groups = this.#queue
      this.#queue = []
      if (groups.length > 0) await this.#commit(groups)
      else if (this.#stopping !== null) break
      if (this.#retired) {
        for (const group of this.#queue.splice(0)) group.answer(false)
      } else if (this.#failing) {
        if (clock.nowMs() >= this.#retryAtMs) await this.#tryAgain()
      } else if (this.#segment !== null && this.#segment.jobs > 0 && this.#queue.length === 0 && clock.nowMs() >= this.#deadline()) {
        await this.#seal()
      }
      if (this.#queue.length === 0 && this.#stopping === null) {
        const deadline = this.#retired ? Number.POSITIVE_INFINITY : this.#failing ? this.#retryAtMs : this.#deadline()
        await this.#wakeup.wait(clock, Math.min(60_000, Math.max(1, deadline - clock.nowMs())))
      }
    }
    await this.#finish()
    this.#stopping()
  }

  #deadline(): number {
    return this.#segment === null || this.#segment.jobs === 0 ? Number.POSITIVE_INFINITY : this.#lastSealMs + this.#options.sealIntervalMs
  }

  async #finish(): Promise<void> {
    if (this.#retired) return
    if (this.#failing) await this.#tryAgain()
    if (this.#segment !== null && this.#segment.jobs > 0) await this.#seal()
    else if (this.#segment !== null) await this.#removePrivate(this.#segment.number)
    for (let attempt = 0; attempt < 3 && this.#sealed.length > 0; attempt += 1) await this.#tryAgain()
  }

  #leaseHolds(): boolean {
    if (!this.#options.checksLease) return true
    return !this.#lapsed && this.#options.clock.nowMs() - this.#presenceMs < this.#options.acceptLeaseMs
  }

  async #commit(groups: readonly Group[]): Promise<void> {
    const refuse = (): void => groups.forEach((group) => group.answer(false))
    if (this.#failing || this.#retired) return refuse()
    if (this.#segment === null && !(await this.#publishSealed(true))) this.#fail()
    const segment = this.#segment
    if (this.#failing || segment === null) return refuse()
    if (!this.#leaseHolds()) {
      this.#retire()
      return refuse()
    }
    const { clock } = this.#options
    if (segment.jobs === 0) segment.firstCommitMs = clock.nowMs()
    const sealing = clock.nowMs() - this.#lastSealMs >= this.#options.sealIntervalMs && this.#queue.length === 0
    try {
      const bytes = this.#groupBytes(segment, groups, sealing)
      const position = segment.bytes
      segment.bytes += bytes.length
      await writeAll(segment.file, bytes, position)
      await segment.file.datasync()
    } catch {
      await this.#abandon()
      this.#fail()
      return refuse()
    }
    if (!this.#leaseHolds()) return this.#retire()
    segment.acknowledged = true
    for (const group of groups) {
      this.#options.onAcknowledged(segment.number, group.jobs)
      group.answer(true)
    }
    if (sealing) await this.#publish()
  }

  #groupBytes(segment: Segment, groups: readonly Group[], sealing: boolean): Buffer {
    let text = ''
    if (segment.bytes === 0) {
      const attributes = Object.entries({ ...this.#options.header, number: String(segment.number) })
      text = `<?xml version="1.0" encoding="UTF-8"?>\n<segment xmlns="urn:usher:segment:1"${attributes.map(([key, value]) => ` ${key}="${value}"`).join('')} opened="2026-11-23T04:00:00.123Z">\n`
    }
    for (const { jobs } of groups) {
      for (const { id, content } of jobs) {
        const cluster = content.slice(content.indexOf('@') + 1)
        text += `<job id="${id}" at="2026-11-23T04:00:00.124Z" cluster="${cluster}"><executable>/bin/true</executable><arguments><argument>${content}</argument></arguments></job>\n`
        segment.jobs += 1
      }
    }
    const body = Buffer.from(text)
    segment.crc = native.crc32c(body, segment.crc)
    const mark = Buffer.from(`<?usher-commit jobs="${segment.jobs}" bytes="${segment.bytes + body.length}" crc32c="${segment.crc.toString(16).padStart(8, '0')}"?>\n`)
    const parts = sealing ? [mark, closingTag] : [mark]
    const end = padded(parts, segment.bytes + body.length)
    segment.crc = native.crc32c(end, segment.crc)
    return Buffer.concat([body, end])
  }

  async #seal(): Promise<void> {
    const segment = this.#segment!
    if (!this.#leaseHolds()) return this.#retire()
    try {
      const position = segment.bytes
      const end = padded([closingTag], position)
      segment.bytes += end.length
      await writeAll(segment.file, end, position)
      await segment.file.datasync()
    } catch {
      await this.#abandon()
      return this.#fail()
    }
    await this.#publish()
  }

  async #publish(): Promise<void> {
    if (!this.#leaseHolds()) return this.#retire()
    const segment = this.#segment!
    this.#lastSealMs = this.#options.clock.nowMs()
    try {
      await segment.file.close()
    } catch {
      await this.#abandon()
      return this.#fail()
    }
    this.#sealed.push({ number: segment.number, inode: segment.inode, linked: false })
    this.#segment = null
    if (!(await this.#publishSealed(!this.#failing && this.#stopping === null))) this.#fail()
  }

  #path(number: number, kind: 'part' | 'xml'): string {
    return `${this.#options.directory}/${segmentFile(number, kind)}`
  }

  async #publishSealed(createNext: boolean): Promise<boolean> {
    const { files, directory, onPublished } = this.#options
    let ok = true
    for (const sealed of this.#sealed) {
      if (sealed.linked) continue
      await files.link(this.#path(sealed.number, 'part'), this.#path(sealed.number, 'xml')).catch(() => undefined)
      const status = await files.stat(this.#path(sealed.number, 'xml')).catch(() => null)
      sealed.linked = status?.inode === sealed.inode
      if (sealed.linked) await this.#removePrivate(sealed.number)
      ok &&= sealed.linked
    }
    const creating = createNext && this.#segment === null && ok
    if (creating) ok = await this.#create()
    try {
      const handle = await files.open(directory, 'read')
      await handle.sync()
    } catch {
      if (creating && this.#segment !== null) await this.#abandon()
      return false
    }
    for (const sealed of this.#sealed) if (sealed.linked) onPublished(sealed.number)
    this.#sealed = this.#sealed.filter(({ linked }) => !linked)
    return ok
  }

  async #create(): Promise<boolean> {
    const { files, onAbandoned } = this.#options
    let number = this.#nextNumber
    let file: OpenFile | null = null
    for (let attempt = 0; attempt < createAttempts && file === null; attempt += 1) {
      try {
        file = await files.open(this.#path(number, 'part'), 'new')
      } catch (error) {
        if (errnoOf(error) !== 'EEXIST') return false
        number += 1
      }
    }
    if (file === null) return false
    const status = await file.status()
    for (let lost = this.#nextNumber; lost < number; lost += 1) onAbandoned(lost)
    this.#segment = { number, file, inode: status.inode, bytes: 0, crc: 0, jobs: 0, acknowledged: false, firstCommitMs: 0 }
    this.#nextNumber = number + 1
    return true
  }

  #retire(): void {
    if (this.#retired) return
    this.#retired = true
    // The segment is closed as it is, and nobody else hears anything.
    this.#segment?.file.close().catch(() => undefined)
    this.#segment = null
    this.#options.onRetired()
  }

  async #abandon(): Promise<void> {
    const segment = this.#segment!
    this.#segment = null
    await segment.file.close().catch(() => undefined)
    if (!segment.acknowledged) await this.#removePrivate(segment.number)
    this.#options.onAbandoned(segment.number)
  }

  async #removePrivate(number: number): Promise<void> {
    await this.#options.files.unlink(this.#path(number, 'part')).catch(() => undefined)
  }

  #fail(): void {
    this.#retryAtMs = this.#options.clock.nowMs() + this.#options.retryMs
    if (!this.#failing) this.#options.onFailing(true)
    this.#failing = true
    for (const group of this.#queue.splice(0)) group.answer(false)
  }

  async #tryAgain(): Promise<void> {
    if (!this.#leaseHolds()) return this.#retire()
    if (!(await this.#publishSealed(this.#stopping === null))) return this.#fail()
    this.#failing = false
    this.#options.onFailing(false)
  }
}
