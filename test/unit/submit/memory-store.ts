// A store in memory, as far as ledgers and snapshots need one: what tests do to its files is seen at once.
import { posix } from 'node:path'
import { UsherError } from '../../../src/base/errors.ts'
import type { Appender, Store } from '../../../src/store/store.ts'

const missing = (name: string): UsherError => new UsherError('store_unavailable', `${name} isn't there`, { details: { errno: 'ENOENT', name } })

export class MemoryStore implements Pick<Store, 'list' | 'read' | 'readRange' | 'readTail' | 'exists' | 'createAppender'> {
  readonly files = new Map<string, Buffer>()
  /** Bytes that were read. */
  bytesRead = 0
  /** Names that don't show. */
  readonly hidden = new Set<string>()

  /** As what it stands for. */
  get store(): Store {
    return this as unknown as Store
  }

  #file(name: string): Buffer {
    const bytes = this.hidden.has(name) ? undefined : this.files.get(name)
    if (bytes === undefined) throw missing(name)
    return bytes
  }

  #names(directory: string): string[] {
    const names = new Set<string>()
    for (const name of this.files.keys()) {
      if (!this.hidden.has(name) && name.startsWith(`${directory}/`)) names.add(name.slice(directory.length + 1).split('/')[0]!)
    }
    return [...names].sort()
  }

  list(directory: string): Promise<string[]> {
    return Promise.resolve(this.#names(directory).filter((name) => !name.startsWith('.')))
  }

  listPrivate(directory: string): Promise<string[]> {
    return Promise.resolve(this.#names(directory).filter((name) => name.startsWith('.')))
  }

  read(name: string): Promise<Buffer> {
    return this.readRange(name, 0, Number.POSITIVE_INFINITY)
  }

  async readRange(name: string, offset: number, bytesMax: number): Promise<Buffer> {
    await Promise.resolve()
    const bytes = this.#file(name).subarray(offset, offset + bytesMax)
    this.bytesRead += bytes.length
    return Buffer.from(bytes)
  }

  async readTail(name: string, bytes: number): Promise<Buffer> {
    return this.readRange(name, Math.max(0, this.#file(name).length - bytes), bytes)
  }

  exists(name: string): Promise<boolean> {
    return this.readRange(name, 0, 0).then(() => true, () => false)
  }

  remove(name: string): Promise<void> {
    this.files.delete(name)
    return Promise.resolve()
  }

  removeDirectory(name: string): Promise<void> {
    if (this.#names(name).length > 0) return Promise.reject(new Error(`${name} isn't empty`))
    return Promise.resolve()
  }

  makeDirectory(): Promise<void> {
    return Promise.resolve()
  }

  createAppender(name: string): Promise<Appender> {
    if (this.files.has(name)) return Promise.reject(new Error(`${posix.basename(name)} is taken`))
    this.files.set(name, Buffer.alloc(0))
    let synced = 0
    return Promise.resolve({
      name,
      get syncedBytes() {
        return synced
      },
      append: async (bytes: Uint8Array) => {
        await Promise.resolve()
        this.files.set(name, Buffer.concat([this.files.get(name) ?? Buffer.alloc(0), bytes]))
        await new Promise((resolve) => setImmediate(resolve))
        synced += bytes.length
      },
      close: () => Promise.resolve(),
    })
  }
}
