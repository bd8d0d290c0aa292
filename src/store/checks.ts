// What must be true of the shared directory before an instance accepts jobs: found out by doing it.
// Used by `usher serve` at its start and by `usher doctor`. Leaves nothing behind; never throws.
import { randomBytes } from 'node:crypto'
import { readFile, realpath } from 'node:fs/promises'
import { errnoOf, messageOf, UsherError } from '../base/errors.ts'
import type { FileOperations } from './file-operations.ts'
import { realFiles } from './file-operations.ts'
import { DirectoryStore } from './directory-store.ts'
import { readIdentity } from './identity.ts'
import { findMount, judgeMount } from './mounts.ts'

export interface CheckResult {
  readonly name: string
  readonly ok: boolean
  readonly detail: string
  /** What to do about it; with `ok` a piece of advice. */
  readonly remedy?: string
}

export interface CheckOptions {
  /** Free bytes below which jobs are refused. */
  readonly reserveBytes: number
  /** The identity the instance was started with; left out: any. */
  readonly uuid?: string
  readonly files?: FileOperations
  /** The text of /proc/self/mountinfo, for tests. */
  readonly mountinfo?: string
}

type Finding = Omit<CheckResult, 'name'>

const fine = (detail: string): Finding => ({ ok: true, detail })
const bad = (detail: string, remedy: string): Finding => ({ ok: false, detail, remedy })

const mebibytes = (bytes: number): string => `${Math.floor(bytes / 1048576)} MiB`

const checkMount = async (directory: string, mountinfo: string | undefined): Promise<Finding> => {
  const path = await realpath(directory)
  const mount = findMount(mountinfo ?? (await readFile('/proc/self/mountinfo', 'utf8')), path)
  if (mount === null) return bad(`no mount of ${path} in /proc/self/mountinfo`, 'mount the directory where usher runs')
  return judgeMount(mount)
}

const checkOwner = async (directory: string, files: FileOperations): Promise<Finding> => {
  const { owner, mode, directory: isDirectory } = await files.stat(directory)
  const text = `owner ${owner}, mode ${mode.toString(8).padStart(4, '0')}`
  if (!isDirectory) return bad('not a directory', 'name a directory')
  // Whoever can write here can have jobs run in usher's name.
  if ((mode & 0o002) !== 0) return bad(`${text}: everybody may write`, `chmod o-w ${directory}`)
  const user = process.geteuid?.()
  if (user !== undefined && user !== owner && user !== 0) {
    return { ok: true, detail: `${text}; this is user ${user}`, remedy: 'run usher as one user on all hosts' }
  }
  return fine(text)
}

const checkIdentity = async (store: DirectoryStore, uuid: string | undefined): Promise<Finding> => {
  const identity = await readIdentity(store)
  if (identity === null) return bad('no store.json', "check that the share is mounted; 'usher serve' makes a new store")
  if (uuid !== undefined && identity.uuid !== uuid) {
    return bad(`the store is ${identity.uuid}, not ${uuid}`, 'mount the right share and start again')
  }
  return fine(`${identity.uuid}, format ${identity.format}`)
}

const checkLink = async (store: DirectoryStore, scratch: string): Promise<Finding> => {
  const remedy = 'use a file system with hard links, such as NFS or a local one'
  for (const file of ['one', 'two']) await store.publish(`${scratch}/${file}`, randomBytes(32))
  const results = [
    await store.claim(`${scratch}/claim`, `${scratch}/one`),
    await store.claim(`${scratch}/claim`, `${scratch}/two`),
    await store.claim(`${scratch}/claim`, `${scratch}/one`),
  ].join(' ')
  return results === 'won lost won' ? fine('one of two wins') : bad(`two claims of one name came out as ${results}`, remedy)
}

const checkSync = async (store: DirectoryStore, scratch: string, files: FileOperations): Promise<Finding> => {
  const content = randomBytes(4096)
  await store.publish(`${scratch}/whole`, content)
  await files.rename(store.path(`${scratch}/whole`), store.path(`${scratch}/renamed`))
  const appender = await store.createAppender(`${scratch}/log`)
  await appender.append(content)
  await appender.close()
  for (const name of ['renamed', 'log']) {
    const same = (await store.read(`${scratch}/${name}`)).equals(content)
    if (!same) return bad('what was read is not what was written', 'replace this file system')
  }
  return fine('written, synced, renamed and read back')
}

const checkListing = async (store: DirectoryStore, scratch: string): Promise<Finding> => {
  const before = await store.list(scratch)
  await store.publish(`${scratch}/fresh`, randomBytes(8))
  const after = await store.list(scratch)
  if (!before.includes('fresh') && after.includes('fresh')) return fine('shows a name as soon as it is there')
  return bad("a listing didn't show a file that had just been made", 'mount the share without caches of directories')
}

const checkSpace = async (store: DirectoryStore, reserveBytes: number): Promise<Finding> => {
  const free = await store.freeBytes()
  const text = `${mebibytes(free)} free, ${mebibytes(reserveBytes)} kept in reserve`
  return free > reserveBytes ? fine(text) : bad(text, 'make room on the share, or keep less in reserve')
}

/** Before the first start there is nothing to check, and that is one finding, not one of each check. */
const isMissing = async (directory: string, files: FileOperations): Promise<boolean> => {
  try {
    await files.stat(directory)
    return false
  } catch (error) {
    // Whatever else is wrong with it, the checks find and say.
    return errnoOf(error) === 'ENOENT'
  }
}

/** All checks, in an order in which the first failure explains the later ones. */
export const checkStore = async (directory: string, options: CheckOptions): Promise<CheckResult[]> => {
  const files = options.files ?? realFiles
  if (await isMissing(directory, files)) {
    const remedy = "'usher serve' makes one; on a share check that it is mounted"
    return [{ name: 'directory', ...bad(`there is no store at ${directory} yet`, remedy) }]
  }
  const store = new DirectoryStore(directory, files)
  const results: CheckResult[] = []
  const check = async (name: string, work: () => Promise<Finding>, remedy: string): Promise<boolean> => {
    try {
      results.push({ name, ...(await work()) })
    } catch (error) {
      results.push({ name, ...bad(messageOf(error), remedy) })
    }
    return results.at(-1)!.ok
  }
  await check('mount', () => checkMount(directory, options.mountinfo), 'check that the share is mounted')
  await check('owner', () => checkOwner(directory, files), 'check that the directory is there')
  await check('identity', () => checkIdentity(store, options.uuid), 'check that the share is mounted and readable')
  await check('space', () => checkSpace(store, options.reserveBytes), 'check that the share is mounted')
  // A private name, which no listing shows: other instances don't notice.
  const scratch = `.check-${randomBytes(6).toString('hex')}`
  const remedy = 'see the error: usher needs to read, write, link and sync here'
  const writable = await check('writable', () => makeScratch(store, scratch), remedy)
  if (writable) {
    await check('link', () => checkLink(store, scratch), remedy)
    await check('sync', () => checkSync(store, scratch, files), remedy)
    await check('listing', () => checkListing(store, scratch), remedy)
    await check('removing', () => removeScratch(store, scratch), `remove ${scratch} by hand`)
  }
  return results
}

/**
 * What can become untrue while an instance runs, and is cheap to look at: how the directory is mounted, who may write there,
 * and a file's way to stable storage and back. The identity is looked at with each
 * writing of presence, and too little space is answered by the segment writer. Never throws; a directory that can't be
 * looked at says nothing about its mount.
 */
export const recheckStore = async (
  directory: string,
  options: { readonly files?: FileOperations; readonly mountinfo?: string } = {},
): Promise<CheckResult[]> => {
  const files = options.files ?? realFiles
  const store = new DirectoryStore(directory, files)
  const results: CheckResult[] = []
  const settings: readonly [string, () => Promise<Finding>][] = [
    ['mount', () => checkMount(directory, options.mountinfo)],
    ['owner', () => checkOwner(directory, files)],
  ]
  for (const [name, work] of settings) {
    try {
      results.push({ name, ...(await work()) })
    } catch {
      // Away, or not readable: presence finds that out twice a second, and what follows from it is decided there.
    }
  }
  if (results.some(({ ok }) => !ok)) return results
  try {
    const content = randomBytes(512)
    const name = `.check-${randomBytes(6).toString('hex')}`
    await store.publish(name, content)
    const same = (await store.read(name)).equals(content)
    await store.remove(name)
    results.push({ name: 'sync', ...(same ? fine('written, synced and read back') : bad('what was read is not what was written', 'replace this file system')) })
  } catch (error) {
    // Full is answered with store_full, job by job, until there is room.
    const full = error instanceof UsherError && error.code === 'store_full'
    results.push({ name: 'sync', ...(full ? fine(messageOf(error)) : bad(messageOf(error), 'see the error: usher needs to write, link and sync here')) })
  }
  return results
}

const makeScratch = async (store: DirectoryStore, scratch: string): Promise<Finding> => {
  await store.makeDirectory(scratch)
  return fine('directories can be made')
}

const removeScratch = async (store: DirectoryStore, scratch: string): Promise<Finding> => {
  for (const name of await store.list(scratch)) await store.remove(`${scratch}/${name}`)
  await store.removeDirectory(scratch)
  return fine('files and directories can be removed')
}
