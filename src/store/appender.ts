// An open file that only grows, with group commit: while one write and its sync run, what is appended
// gathers, and goes into the next write as one. Nothing is called appended before its sync succeeded, and
// nothing ever after one has failed: the kernel may have dropped the pages and would report the next sync
// as a success. The owner then begins a new file.
import { UsherError } from '../base/errors.ts'
import type { OpenFile } from './file-operations.ts'
import { writeSynced } from './file-operations.ts'
import { storeError } from './store-error.ts'
import type { Appender } from './store.ts'

interface Waiting {
  readonly bytes: Uint8Array
  readonly resolve: () => void
  readonly reject: (error: UsherError) => void
}

export class FileAppender implements Appender {
  readonly name: string
  readonly #file: OpenFile
  #waiting: Waiting[] = []
  #syncedBytes = 0
  #running: Promise<void> | null = null
  #dead: UsherError | null = null
  #closing: Promise<void> | null = null

  /** Takes over an empty file that was opened for writing. */
  constructor(name: string, file: OpenFile) {
    this.name = name
    this.#file = file
  }

  get syncedBytes(): number {
    return this.#syncedBytes
  }

  append(bytes: Uint8Array): Promise<void> {
    if (this.#dead !== null) return Promise.reject(this.#dead)
    if (this.#closing !== null) return Promise.reject(new UsherError('closed', `${this.name} is closed`))
    return new Promise((resolve, reject) => {
      this.#waiting.push({ bytes, resolve, reject })
      this.#running ??= this.#run()
    })
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    if (this.#running !== null) await this.#running
    // A dead appender has closed its file already, and whoever appended has been told.
    if (this.#dead !== null) return
    try {
      await this.#file.close()
    } catch (error) {
      throw storeError('close', this.name, error)
    }
  }

  async #run(): Promise<void> {
    // What is appended in the same turn of the event loop is one group.
    await Promise.resolve()
    while (this.#waiting.length > 0) {
      const group = this.#waiting
      this.#waiting = []
      try {
        const bytes = group.length === 1 ? group[0]!.bytes : Buffer.concat(group.map((one) => one.bytes))
        await writeSynced(this.#file, bytes, this.#syncedBytes)
        this.#syncedBytes += bytes.length
      } catch (error) {
        await this.#die(storeError((error as { syscall?: string }).syscall ?? 'write', this.name, error), group)
        return
      }
      for (const one of group) one.resolve()
    }
    this.#running = null
  }

  async #die(error: UsherError, group: readonly Waiting[]): Promise<void> {
    this.#dead = error
    const waiting = this.#waiting
    this.#waiting = []
    for (const one of [...group, ...waiting]) one.reject(error)
    // The file is given up as it is; that closing it fails too adds nothing.
    await this.#file.close().catch(() => undefined)
    this.#running = null
  }
}
