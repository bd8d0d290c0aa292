// The presence file of an instance: 1,024 bytes, rewritten in place, so that readers always find it under
// a name that exists. A reader on another host may see half of a write, which the CRC shows.
//
// Layout: one JSON object, whose last key is `crc32c` (8 lower-case hexadecimal digits: CRC-32C of all
// bytes before the `,"crc32c":` that brings it); spaces; a line feed as the last byte.
import { UsherError } from '../base/errors.ts'
import { native } from '../base/native.ts'
import type { OpenFile } from './file-operations.ts'
import { writeSynced } from './file-operations.ts'
import { storeError } from './store-error.ts'
import type { Presence } from './store.ts'
import { presenceBytes } from './store.ts'

const mark = ',"crc32c":"'
const tailBytes = mark.length + 8 + '"}'.length

const crcText = (bytes: Uint8Array): string => native.crc32c(bytes).toString(16).padStart(8, '0')

export const encodePresence = (value: Readonly<Record<string, unknown>>): Buffer => {
  const json = JSON.stringify(value)
  const head = Buffer.from(json.slice(0, -1))
  if (json === '{}' || 'crc32c' in value || head.length + tailBytes + 1 > presenceBytes) {
    throw new UsherError('internal', `presence of ${head.length} bytes doesn't fit its file: ${json.slice(0, 100)}`)
  }
  const bytes = Buffer.alloc(presenceBytes, ' ')
  head.copy(bytes)
  bytes.write(`${mark}${crcText(head)}"}`, head.length)
  bytes[presenceBytes - 1] = 0x0a
  return bytes
}

/** What the bytes say, without the CRC; null when they aren't one whole write. */
export const decodePresence = (bytes: Uint8Array): Record<string, unknown> | null => {
  if (bytes.length !== presenceBytes) return null
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const at = buffer.lastIndexOf(mark)
  if (at < 0 || buffer[presenceBytes - 1] !== 0x0a) return null
  const tail = buffer.toString('latin1', at, presenceBytes - 1)
  if (tail.slice(0, tailBytes) !== `${mark}${crcText(buffer.subarray(0, at))}"}`) return null
  if (tail.slice(tailBytes).trim() !== '') return null
  try {
    const value = JSON.parse(`${buffer.toString('utf8', 0, at)}}`) as unknown
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : null
  } catch {
    // The CRC is true and the text isn't JSON: not written by usher, so it says nothing.
    return null
  }
}

export interface PresenceFiles {
  /** Makes the file with these bytes, or finds it with others; either is fine. */
  create(bytes: Uint8Array): Promise<void>
  /** Opens the existing file for writing, by path. */
  open(): Promise<OpenFile>
}

export class FilePresence implements Presence {
  readonly name: string
  readonly #files: PresenceFiles
  #file: OpenFile | null = null
  #created = false
  #closed = false
  #last: Promise<void> = Promise.resolve()

  constructor(name: string, files: PresenceFiles) {
    this.name = name
    this.#files = files
  }

  write(value: Readonly<Record<string, unknown>>): Promise<void> {
    if (this.#closed) return Promise.reject(new UsherError('closed', `${this.name} is closed`))
    const bytes = encodePresence(value)
    const written = this.#last.then(() => this.#write(bytes))
    // Whoever called sees the failure; the next write goes ahead all the same, with a file opened anew.
    this.#last = written.catch(() => undefined)
    return written
  }

  async close(): Promise<void> {
    this.#closed = true
    await this.#last
    const file = this.#file
    this.#file = null
    try {
      await file?.close()
    } catch (error) {
      throw storeError('close', this.name, error)
    }
  }

  async #write(bytes: Buffer): Promise<void> {
    if (!this.#created) {
      await this.#files.create(bytes)
      this.#created = true
    }
    try {
      await this.#rewrite(bytes)
    } catch (error) {
      if ((error as { code?: unknown }).code !== 'ESTALE') throw storeError('write', this.name, error)
      try {
        await this.#rewrite(bytes)
      } catch (again) {
        throw storeError('write', this.name, again)
      }
    }
  }

  async #rewrite(bytes: Buffer): Promise<void> {
    const file = this.#file ?? (await this.#files.open())
    this.#file = file
    try {
      // Rewriting every byte makes every page dirty again, so a success here is about these bytes
      // even when an earlier sync had failed.
      await writeSynced(file, bytes, 0)
    } catch (error) {
      this.#file = null
      // The failure that matters is being reported.
      await file.close().catch(() => undefined)
      throw error
    }
  }
}
