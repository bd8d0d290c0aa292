// The primitive calls that the store is made of, as a value that can be handed in: tests put one under
// the store in which any call fails, or is done and reported as failed. No decisions in here.
import { link, mkdir, open, readdir, rename, rmdir, stat, statfs, unlink } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { native } from '../base/native.ts'

export interface FileStatus {
  readonly device: bigint
  readonly inode: bigint
  readonly links: number
  readonly size: number
  readonly directory: boolean
  readonly mode: number
  readonly owner: number
}

export interface OpenFile {
  /** Writes some of the bytes at a position, answers how many. */
  write(bytes: Uint8Array, position: number): Promise<number>
  /** Reads up to the buffer's length, answers how many; 0 at the end. */
  read(into: Uint8Array, position: number): Promise<number>
  status(): Promise<FileStatus>
  sync(): Promise<void>
  datasync(): Promise<void>
  /**
   * Writes all of the bytes and syncs them as datasync() does, in one go: each way to the thread pool and back costs an idle host
   * as much as a small write does. The error's `syscall` says which of the two failed. Left out by what counts or breaks single calls.
   */
  writeSynced?(bytes: Uint8Array, position: number): Promise<void>
  close(): Promise<void>
}

/** `new`: write, must not exist. `write`: write, must exist. `read`: a file or a directory. */
export type OpenMode = 'new' | 'write' | 'read'

export interface FileOperations {
  open(path: string, mode: OpenMode): Promise<OpenFile>
  link(existing: string, path: string): Promise<void>
  rename(from: string, path: string): Promise<void>
  unlink(path: string): Promise<void>
  mkdir(path: string): Promise<void>
  rmdir(path: string): Promise<void>
  /** Opens the directory, reads all of it and closes it. */
  readdir(path: string): Promise<string[]>
  /** May come from a cache of attributes; status() of a file just opened doesn't. */
  stat(path: string): Promise<FileStatus>
  free(path: string): Promise<number>
  /** A whole file in one go, for the same reason; what is large leaves the cache again. Left out likewise. */
  readWhole?(path: string): Promise<Buffer>
}

const flagsOf = { new: 'wx', write: 'r+', read: 'r' } as const

interface BigStatus {
  readonly dev: bigint
  readonly ino: bigint
  readonly nlink: bigint
  readonly size: bigint
  readonly mode: bigint
  readonly uid: bigint
  isDirectory(): boolean
}

const statusOf = (status: BigStatus): FileStatus => ({
  device: status.dev,
  inode: status.ino,
  links: Number(status.nlink),
  size: Number(status.size),
  directory: status.isDirectory(),
  mode: Number(status.mode & 0o7777n),
  owner: Number(status.uid),
})

const openFile = (handle: FileHandle): OpenFile => ({
  write: async (bytes, position) => (await handle.write(bytes, 0, bytes.length, position)).bytesWritten,
  read: async (into, position) => (await handle.read(into, 0, into.length, position)).bytesRead,
  status: async () => statusOf(await handle.stat({ bigint: true })),
  sync: () => handle.sync(),
  datasync: () => handle.datasync(),
  writeSynced: (bytes, position) => native.writeSynced(handle.fd, bytes, position),
  close: () => handle.close(),
})

export const realFiles: FileOperations = {
  // What usher writes may hold names, arguments and environments of jobs: nobody else reads it, unless
  // the store's owner lets the group in by the mode of the root directory (and usher's umask).
  open: async (path, mode) => openFile(await open(path, flagsOf[mode], 0o640)),
  link,
  rename,
  unlink,
  mkdir: async (path) => {
    await mkdir(path, 0o750)
  },
  rmdir,
  readdir: (path) => readdir(path),
  stat: async (path) => statusOf(await stat(path, { bigint: true })),
  free: async (path) => {
    const status = await statfs(path)
    return status.bavail * status.bsize
  },
  readWhole: (path) => native.readWhole(path),
}

/** Writes all of the bytes from `position` on. A write of nothing is an error, not a reason to go round again. */
export const writeAll = async (file: OpenFile, bytes: Uint8Array, position: number): Promise<void> => {
  for (let done = 0; done < bytes.length; ) {
    const written = await file.write(bytes.subarray(done), position + done)
    if (written <= 0) throw Object.assign(new Error('the file system wrote nothing'), { code: 'EIO' })
    done += written
  }
}

/** Writes and syncs in as few calls as there are; rejects with an error whose `syscall` says which of both failed. */
export const writeSynced = async (file: OpenFile, bytes: Uint8Array, position: number): Promise<void> => {
  if (file.writeSynced !== undefined) return file.writeSynced(bytes, position)
  let syscall = 'write'
  try {
    await writeAll(file, bytes, position)
    syscall = 'fdatasync'
    await file.datasync()
  } catch (error) {
    throw Object.assign(error as Error, { syscall })
  }
}

/** Fills the buffer from `position` on; answers how much there was. */
export const readFully = async (file: OpenFile, into: Uint8Array, position: number): Promise<number> => {
  let done = 0
  while (done < into.length) {
    const got = await file.read(into.subarray(done), position + done)
    if (got === 0) break
    done += got
  }
  return done
}
