// The store as a directory, local or on NFS, by the rules of docs/store.md. Decides what really happened
// from link counts, inodes and content, never from what a call reported, and never looks up a name
// that may not exist yet: a negative entry would be cached.
import { randomBytes } from 'node:crypto'
import { posix } from 'node:path'
import { errnoOf, UsherError } from '../base/errors.ts'
import { FileAppender } from './appender.ts'
import type { FileOperations, FileStatus, OpenFile } from './file-operations.ts'
import { readFully, realFiles, writeAll } from './file-operations.ts'
import { decodePresence, FilePresence } from './presence.ts'
import { isMissing, storeError, takenError } from './store-error.ts'
import type { Appender, ClaimOptions, ClaimResult, Presence, Store } from './store.ts'
import { presenceBytes } from './store.ts'

const presenceAttempts = 3
const smallBytes = 64 * 1024

/** `.<name>.<random>.tmp`: listings leave it out, and what a crash leaves of it is never mistaken for anything. */
const privateNameOf = (name: string, nonce: string): string => {
  const { dir, base } = posix.parse(name)
  return posix.join(dir, `.${base}.${nonce}.tmp`)
}

const randomNonce = (): string => randomBytes(8).toString('hex')

/** The directory a name is in; '' is the root. */
const parentOf = (name: string): string => {
  const parent = posix.dirname(name)
  return parent === '.' ? '' : parent
}

const sameFile = (a: FileStatus, b: FileStatus): boolean => a.device === b.device && a.inode === b.inode

export class DirectoryStore implements Store {
  readonly root: string
  readonly #files: FileOperations
  readonly #nonce: () => string
  /** Status of the private files that claims were made of: an inode doesn't change while the file is there. */
  readonly #privates = new Map<string, FileStatus>()

  /** `nonce` answers with a text never used before. */
  constructor(root: string, files: FileOperations = realFiles, nonce = randomNonce) {
    this.root = root
    this.#files = files
    this.#nonce = nonce
  }

  /** Absolute path of a name, for native code and drivers that do their own file operations. */
  path(name: string): string {
    if (name === '') return this.root
    if (name.split('/').some((part) => part === '' || part === '.' || part === '..') || name.includes('\0')) {
      throw new UsherError('internal', `'${name}' can't be a name in the store`)
    }
    return posix.join(this.root, name)
  }

  async publish(name: string, bytes: Uint8Array): Promise<void> {
    await this.#run('publish', name, async () => {
      const privateName = privateNameOf(name, this.#nonce())
      try {
        await this.#writePrivate(privateName, bytes)
        if ((await this.#link(name, privateName)) === 'lost') throw takenError('publish', name)
        await this.#syncDirectory(parentOf(name))
      } finally {
        // Success or failure is decided by now: a private name that can't be removed is litter, which no
        // listing shows, and a link that comes late finds it gone.
        await this.#files.unlink(this.path(privateName)).catch(() => undefined)
      }
    })
  }

  /**
   * Puts other bytes in the place of a file that is there, whole or not at all. A failed attempt may be carried out late: only for
   * bytes that may come at any time from then on.
   */
  async replace(name: string, bytes: Uint8Array): Promise<void> {
    await this.#run('replace', name, async () => {
      const privateName = privateNameOf(name, this.#nonce())
      try {
        await this.#writePrivate(privateName, bytes)
        try {
          await this.#files.rename(this.path(privateName), this.path(name))
        } catch (error) {
          // A lost reply, sent again, finds no private file any more: what is there counts.
          const found = await this.#read(name).catch(() => null)
          if (found === null || !found.equals(bytes)) throw error
        }
        await this.#syncDirectory(parentOf(name))
      } finally {
        // There only where it failed: litter, which no listing shows.
        await this.#files.unlink(this.path(privateName)).catch(() => undefined)
      }
    })
  }

  async prepare(name: string, bytes: Uint8Array): Promise<void> {
    try {
      await this.#writePrivate(name, bytes)
    } catch (error) {
      throw errnoOf(error) === 'EEXIST' ? takenError('prepare', name) : storeError('prepare', name, error)
    }
  }

  async claim(name: string, privateName: string, options: ClaimOptions = {}): Promise<ClaimResult> {
    try {
      const result = await this.#link(name, privateName)
      if (result === 'won' && options.sync !== false) await this.#syncDirectory(parentOf(name))
      return result
    } catch (error) {
      throw storeError('claim', name, error)
    }
  }

  async list(directory: string): Promise<string[]> {
    return (await this.#listAll(directory)).filter((name) => !name.startsWith('.'))
  }

  async listPrivate(directory: string): Promise<string[]> {
    return (await this.#listAll(directory)).filter((name) => name.startsWith('.'))
  }

  async #listAll(directory: string): Promise<string[]> {
    try {
      return await this.#run('list', directory, async () => (await this.#files.readdir(this.path(directory))).sort())
    } catch (error) {
      if (isMissing(error)) return []
      throw error
    }
  }

  read(name: string): Promise<Buffer> {
    return this.#run('read', name, () => this.#read(name))
  }

  readRange(name: string, offset: number, bytesMax: number): Promise<Buffer> {
    return this.#run('read', name, () =>
      this.#opened(name, async (file) => {
        // Whoever asks for much asks for what there is: memory is for that alone.
        const bytes = bytesMax <= smallBytes ? bytesMax : Math.min(bytesMax, Math.max(0, (await file.status()).size - offset))
        return this.#readAt(file, offset, bytes)
      }),
    )
  }

  readTail(name: string, bytes: number): Promise<Buffer> {
    return this.#run('read', name, () =>
      this.#opened(name, async (file) => {
        const { size } = await file.status()
        return this.#readAt(file, Math.max(size - bytes, 0), Math.min(bytes, size))
      }),
    )
  }

  size(name: string): Promise<number> {
    // Opening asks the file server; stat might answer from a cache.
    return this.#run('size', name, () => this.#opened(name, async (file) => (await file.status()).size))
  }

  async exists(name: string): Promise<boolean> {
    try {
      await this.size(name)
      return true
    } catch (error) {
      if (isMissing(error)) return false
      throw error
    }
  }

  fileOf(name: string): Promise<string> {
    return this.#run('stat', name, async () => {
      const { device, inode } = await this.#files.stat(this.path(name))
      return `${device}:${inode}`
    })
  }

  async remove(name: string): Promise<void> {
    this.#privates.delete(name)
    // Not synced: a removal that a crash undoes is done again by whoever wanted it.
    await this.#removing('remove', name, () => this.#files.unlink(this.path(name)))
  }

  async removeDirectory(name: string): Promise<void> {
    await this.#removing('removeDirectory', name, () => this.#files.rmdir(this.path(name)))
  }

  async makeDirectory(name: string): Promise<void> {
    const parts = name.split('/')
    for (let depth = 1; depth <= parts.length; depth++) {
      const part = parts.slice(0, depth).join('/')
      await this.#run('makeDirectory', part, async () => {
        await this.#makeOne(part)
        // Synced even when it was there: whoever made it may have died before its sync.
        await this.#syncDirectory(parentOf(part))
      })
    }
  }

  async createAppender(name: string): Promise<Appender> {
    let file: OpenFile
    try {
      file = await this.#files.open(this.path(name), 'new')
    } catch (error) {
      throw errnoOf(error) === 'EEXIST' ? takenError('create', name) : storeError('create', name, error)
    }
    try {
      await this.#syncDirectory(parentOf(name))
    } catch (error) {
      // The empty file stays: its number is used up, as after a crash.
      await file.close().catch(() => undefined)
      throw storeError('create', name, error)
    }
    return new FileAppender(name, file)
  }

  async openPresence(name: string): Promise<Presence> {
    const path = this.path(name)
    return new FilePresence(name, {
      create: async (bytes) => {
        if ((await this.list(parentOf(name))).includes(posix.basename(name))) return
        await this.publish(name, bytes)
      },
      open: () => this.#files.open(path, 'write'),
    })
  }

  async readPresence(name: string): Promise<Record<string, unknown> | null> {
    for (let attempt = 1; ; attempt++) {
      try {
        const value = decodePresence(await this.readRange(name, 0, presenceBytes + 1))
        if (value !== null || attempt === presenceAttempts) return value
      } catch (error) {
        if (!isMissing(error)) throw error
        // Either it isn't there, or a cached negative entry says so: the listing knows.
        if (attempt === presenceAttempts || !(await this.list(parentOf(name))).includes(posix.basename(name))) return null
      }
    }
  }

  freeBytes(): Promise<number> {
    return this.#run('statfs', '', () => this.#files.free(this.root))
  }

  async #run<T>(operation: string, name: string, work: () => Promise<T>): Promise<T> {
    try {
      return await this.#again(work)
    } catch (error) {
      throw storeError(operation, name, error)
    }
  }

  /** Once more by path when a handle went stale under the operation. Only for what may be done twice. */
  async #again<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      if (errnoOf(error) !== 'ESTALE') throw error
      return await work()
    }
  }

  async #removing(operation: string, name: string, work: () => Promise<void>): Promise<void> {
    try {
      await this.#run(operation, name, work)
    } catch (error) {
      if (!isMissing(error)) throw error
    }
  }

  async #opened<T>(name: string, work: (file: OpenFile) => Promise<T>): Promise<T> {
    const file = await this.#files.open(this.path(name), 'read')
    try {
      return await work(file)
    } finally {
      // Nothing was written through it, so nothing can be lost in closing it.
      await file.close().catch(() => undefined)
    }
  }

  async #readAt(file: OpenFile, offset: number, bytes: number): Promise<Buffer> {
    const into = Buffer.alloc(bytes)
    return into.subarray(0, await readFully(file, into, offset))
  }

  #read(name: string): Promise<Buffer> {
    if (this.#files.readWhole !== undefined) return this.#files.readWhole(this.path(name))
    return this.#opened(name, async (file) => this.#readAt(file, 0, (await file.status()).size))
  }

  async #writePrivate(privateName: string, bytes: Uint8Array): Promise<void> {
    const file = await this.#files.open(this.path(privateName), 'new')
    try {
      await writeAll(file, bytes, 0)
      await file.sync()
    } catch (error) {
      // The failure that matters is being reported.
      await file.close().catch(() => undefined)
      throw error
    }
    // Not tried again: what a failed close says about the data can't be asked twice.
    await file.close()
  }

  async #syncDirectory(directory: string): Promise<void> {
    const file = await this.#files.open(this.path(directory), 'read')
    try {
      await file.sync()
    } finally {
      // Only the sync says something; nothing was written through this handle.
      await file.close().catch(() => undefined)
    }
  }

  async #makeOne(name: string): Promise<void> {
    try {
      await this.#files.mkdir(this.path(name))
    } catch (error) {
      // Reported as failed, or as there already: either way what counts is what is there.
      if (errnoOf(error) !== 'EEXIST' && !(await this.#listed(name))) throw error
      const status = await this.#files.stat(this.path(name)).catch(() => null)
      if (status === null || !status.directory) throw error
    }
  }

  /** Whether a fresh listing shows the name; not being able to list is no. */
  async #listed(name: string): Promise<boolean> {
    try {
      return (await this.#files.readdir(this.path(parentOf(name)))).includes(posix.basename(name))
    } catch {
      // The caller reports the error that made it ask.
      return false
    }
  }

  /** Links, then finds out what the name is now. Throws the errno when that can't be known. */
  async #link(name: string, privateName: string): Promise<ClaimResult> {
    try {
      await this.#files.link(this.path(privateName), this.path(name))
    } catch (error) {
      return await this.#afterFailedLink(name, privateName, error)
    }
    // Some clients report a resent link that found its own work, or another's, as success: look.
    const mine = await this.#privateStatus(privateName)
    const found = await this.#files.stat(this.path(name))
    if (sameFile(mine, found) && found.links >= 2) return 'won'
    return await this.#compare(name, privateName)
  }

  async #afterFailedLink(name: string, privateName: string, error: unknown): Promise<ClaimResult> {
    const exists = errnoOf(error) === 'EEXIST'
    // Only what is there can be looked up. Not listed: it isn't there now, and may come.
    if (!exists && !(await this.#listed(name))) throw error
    try {
      return await this.#compare(name, privateName)
    } catch (unreadable) {
      // It exists and isn't found: a cached negative entry, which a fresh listing clears away.
      if (exists && errnoOf(unreadable) === 'ENOENT' && (await this.#listed(name))) return await this.#compare(name, privateName)
      // Whose the name is stays unknown. Of the two errors the one that nobody expected says why.
      throw exists && errnoOf(unreadable) !== 'ENOENT' ? unreadable : error
    }
  }

  /** Whether two existing names are one file: by inode, and by content, since some file systems make up inodes. */
  async #compare(name: string, privateName: string): Promise<ClaimResult> {
    const look = (which: string): Promise<FileStatus> => this.#again(() => this.#opened(which, (file) => file.status()))
    if (sameFile(await look(name), await look(privateName))) return 'won'
    const read = (which: string): Promise<Buffer> => this.#again(() => this.#read(which))
    return (await read(name)).equals(await read(privateName)) ? 'won' : 'lost'
  }

  async #privateStatus(privateName: string): Promise<FileStatus> {
    const known = this.#privates.get(privateName)
    if (known !== undefined) return known
    const status = await this.#files.stat(this.path(privateName))
    if (!posix.basename(privateName).startsWith('.')) this.#privates.set(privateName, status)
    return status
  }
}
