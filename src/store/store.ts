// What can be done to the shared directory, said by what it means. Everything in TypeScript that touches
// the store goes through this interface; another engine, or a simulator of faults, can be put under it.
//
// Names are relative to the root, with `/` between parts and never `.` or `..` for a part. Unless it says
// otherwise an operation rejects with an UsherError, `store_full` for ENOSPC and EDQUOT and
// `store_unavailable` for all else, whose details name `operation`, `name` and `errno`.
//
// When an operation that changes something rejects, it may have happened all the same, or may yet happen.

/**
 * What a claim came to. `won`: the public name is this private file. `lost`: it is another one.
 * Where neither can be proven, claim() rejects, and the link may exist, now or later.
 */
export type ClaimResult = 'won' | 'lost'

export interface ClaimOptions {
  /** False: won is said before the new name is on stable storage, which a renewal can do without. */
  readonly sync?: boolean
}

/** An open file that only grows. */
export interface Appender {
  readonly name: string
  /** Bytes that are known to be on stable storage. */
  readonly syncedBytes: number
  /**
   * Resolves when the bytes are on stable storage. What is appended while a sync runs shares the next
   * write and the next sync. After any failure the appender is dead: what the failed sync covered may
   * be there or not, a later sync would not tell, and so this and every later append rejects.
   * The bytes must not be changed before it settles.
   */
  append(bytes: Uint8Array): Promise<void>
  /** Waits for the appends in flight and closes the file. Rejects when closing fails; idempotent. */
  close(): Promise<void>
}

/** The file by which an instance shows that it lives: fixed size, rewritten in place by its owner. */
export interface Presence {
  readonly name: string
  /** Resolves when it is on stable storage. One at a time, in the order of the calls. */
  write(value: Readonly<Record<string, unknown>>): Promise<void>
  close(): Promise<void>
}

/** Bytes of a presence file, its JSON, padding and line feed together. */
export const presenceBytes = 1024

export interface Store {
  /**
   * Makes a file that appears whole or not at all, and is on stable storage when this resolves. Never
   * replaces: a name that exists with the same bytes is success, with other bytes an error (isTaken).
   */
  publish(name: string, bytes: Uint8Array): Promise<void>
  /**
   * Makes a private file that claims are to be made of: its content is on stable storage when this resolves. Its own name
   * need not outlive a power cut, since nobody looks for the file under it. Rejects when there is one.
   */
  prepare(name: string, bytes: Uint8Array): Promise<void>
  /**
   * Compare-and-set: makes `name` another name of the file `privateName`, unless it is taken. Decides by
   * what is in the directory afterwards, whatever the file server reported; the content of the private
   * file must be like no other's. The claim of a name that this private file has already is `won`; so
   * an attempt whose validity counts from its beginning must never be repeated with the same file.
   */
  claim(name: string, privateName: string, options?: ClaimOptions): Promise<ClaimResult>
  /** Names in a directory, read afresh, sorted; private names (those with a leading dot) left out. Missing directory: []. */
  list(directory: string): Promise<string[]>
  /** The private names in a directory, which list() leaves out: files on their way, or what a crash left of them. */
  listPrivate(directory: string): Promise<string[]>
  read(name: string): Promise<Buffer>
  /** At most `bytesMax` bytes from `offset` on; fewer only at the end of the file. */
  readRange(name: string, offset: number, bytesMax: number): Promise<Buffer>
  /** The last `bytes` bytes, or the whole file where it is shorter. */
  readTail(name: string, bytes: number): Promise<Buffer>
  /** Asks for a file by its name. Where it isn't there that may be remembered: only for names that nobody makes any more. */
  exists(name: string): Promise<boolean>
  /**
   * Which file an existing name is, by one look: the same text for two names that are links to one file, another
   * text for names of files that exist at one time. A file that is removed may leave its text to a later one.
   */
  fileOf(name: string): Promise<string>
  /** Removes a file. One that isn't there is success. */
  remove(name: string): Promise<void>
  /** Removes an empty directory. One that isn't there is success. */
  removeDirectory(name: string): Promise<void>
  /** Makes a directory and those above it; each is on stable storage when this resolves. */
  makeDirectory(name: string): Promise<void>
  /** Makes a new, empty file to append to; rejects (isTaken) when there is one of this name. */
  createAppender(name: string): Promise<Appender>
  /** Nothing is written before the first write(), which makes the file. */
  openPresence(name: string): Promise<Presence>
  /** What a presence file says; null where there is none or it isn't whole (torn reads are read again first). */
  readPresence(name: string): Promise<Record<string, unknown> | null>
  /** Bytes that this user may still write. */
  freeBytes(): Promise<number>
}
