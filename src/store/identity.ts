// store.json: which store a directory is. Made once, exclusively; so hosts that were pointed at different directories by
// mistake, or at an empty mount point, are told apart at once. Only the format in it changes, upwards: versions that don't
// know it end then, and don't start.
import { randomUUID } from 'node:crypto'
import { mkdir } from 'node:fs/promises'
import { messageOf, UsherError } from '../base/errors.ts'
import { DirectoryStore } from './directory-store.ts'
import type { FileOperations } from './file-operations.ts'
import {
  admissionDirectory,
  claimsDirectory,
  drainsDirectory,
  hostsDirectory,
  identityName,
  ledgerDirectory,
  requestsDirectory,
  termsDirectory,
} from './layout.ts'
import { isTaken, storeError } from './store-error.ts'
import type { Store } from './store.ts'

/**
 * The format of the whole directory that this version writes.
 *
 * 1: the ledger is all there from its beginning, as 0.1.0 takes it for granted
 * 2: snapshots, and ledgers of which files were removed
 */
export const storeFormat = 2
/** The oldest that this version reads; nothing is written by which those of that format would be misled before it is raised. */
const storeFormatMin = 1

export interface Identity {
  readonly format: number
  readonly uuid: string
  /** ISO 8601 */
  readonly created: string
  /** The host that made it. */
  readonly by: string
}

const directories = [claimsDirectory, termsDirectory, hostsDirectory, ledgerDirectory, requestsDirectory, admissionDirectory, drainsDirectory]

const wrong = (message: string): UsherError => new UsherError('store_wrong', message, { details: { name: identityName } })

const parseIdentity = (bytes: Uint8Array): Identity => {
  let value: unknown
  try {
    value = JSON.parse(Buffer.from(bytes).toString('utf8'))
  } catch (error) {
    throw wrong(`${identityName} isn't JSON (${messageOf(error)}): restore it from a backup, or use another directory`)
  }
  const { format, uuid, created, by } = (typeof value === 'object' && value !== null ? value : {}) as Record<string, unknown>
  if (typeof format !== 'number') throw wrong(`${identityName} names no format: is the directory really usher's store?`)
  if (!(format >= storeFormatMin && format <= storeFormat)) {
    const remedy = format > storeFormat ? 'upgrade usher on this host' : 'use the version of usher that made it'
    throw wrong(`the store has format ${format}, and this version of usher knows formats ${storeFormatMin} to ${storeFormat}: ${remedy}`)
  }
  if (typeof uuid !== 'string' || !/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(uuid)) {
    throw wrong(`${identityName} holds no uuid: restore it from a backup, or use another directory`)
  }
  return { format, uuid, created: typeof created === 'string' ? created : '', by: typeof by === 'string' ? by : '' }
}

const encodeIdentity = ({ format, uuid, created, by }: Identity): Buffer => Buffer.from(`${JSON.stringify({ format, uuid, created, by })}\n`)

/** What the store says it is. Null: it is no store (yet). */
export const readIdentity = async (store: Store): Promise<Identity | null> => {
  if (!(await store.list('')).includes(identityName)) return null
  return parseIdentity(await store.read(identityName))
}

/**
 * Rejects with store_wrong when the directory is another store now: the caller must stop for good; and with store_unavailable
 * when it is none, as where a share isn't mounted: it must write nothing until it is back.
 */
export const verifyIdentity = async (store: Store, uuid: string): Promise<void> => {
  const identity = await readIdentity(store)
  if (identity === null) {
    const details = { operation: 'read', name: identityName, errno: 'ENOENT' }
    throw new UsherError('store_unavailable', `${identityName} is gone: is the share still mounted?`, { details })
  }
  if (identity.uuid !== uuid) throw wrong(`the directory is the store ${identity.uuid} now, not ${uuid} any more`)
}

/**
 * Makes a store of an earlier format one of this version's. Versions that know the earlier one alone don't start there any more; one
 * that runs ends when it next looks at store.json, which it does before each heartbeat. The caller has seen that none lives.
 */
export const raiseFormat = async (store: DirectoryStore, identity: Identity): Promise<Identity> => {
  // The same bytes whoever does it, and however late: so it needs no winner.
  await store.replace(identityName, encodeIdentity({ ...identity, format: storeFormat }))
  const raised = parseIdentity(await store.read(identityName))
  if (raised.uuid !== identity.uuid) throw wrong(`the directory is the store ${raised.uuid} now, not ${identity.uuid} any more`)
  return raised
}

/** A store that an earlier version made lacks what came later: made here, so that nobody lists what may not exist. */
const completeDirectories = async (store: Store): Promise<void> => {
  const there = new Set(await store.list(''))
  for (const directory of directories) if (!there.has(directory)) await store.makeDirectory(directory)
}

const createIdentity = async (store: Store, host: string): Promise<Identity> => {
  // Before the identity, so that a store which has one has these.
  for (const directory of directories) await store.makeDirectory(directory)
  const identity: Identity = { format: storeFormat, uuid: randomUUID(), created: new Date().toISOString(), by: host }
  try {
    await store.publish(identityName, encodeIdentity(identity))
    return identity
  } catch (error) {
    if (!isTaken(error)) throw error
  }
  // Another host was first: it is its store, and ours.
  return parseIdentity(await store.read(identityName))
}

export interface OpenStoreOptions {
  /** Make the store where there is none. */
  readonly create: boolean
  /** Goes into a new store's identity. */
  readonly host?: string
  /** It must be this store. */
  readonly uuid?: string | undefined
  readonly files?: FileOperations
}

export interface OpenedStore {
  readonly store: DirectoryStore
  readonly identity: Identity
  /** There was none before. */
  readonly created: boolean
}

/** The store in this directory (an absolute path). */
export const openStore = async (directory: string, options: OpenStoreOptions): Promise<OpenedStore> => {
  const store = options.files === undefined ? new DirectoryStore(directory) : new DirectoryStore(directory, options.files)
  const { uuid } = options
  const found = await readIdentity(store)
  if (found !== null) {
    if (uuid !== undefined && found.uuid !== uuid) {
      throw wrong(`${directory} is the store ${found.uuid}, and store_uuid names ${uuid}: is another share mounted there?`)
    }
    if (options.create) await completeDirectories(store)
    return { store, identity: found, created: false }
  }
  if (uuid !== undefined) {
    throw wrong(`${directory} holds no store, and store_uuid names ${uuid}: mount the share there, or leave out store_uuid to make a new store`)
  }
  if (!options.create) {
    throw wrong(`${directory} isn't a store of usher: name the right directory, or start 'usher serve' to make a new store there`)
  }
  try {
    await mkdir(directory, { recursive: true, mode: 0o750 })
  } catch (error) {
    throw storeError('makeDirectory', '', error)
  }
  return { store, identity: await createIdentity(store, options.host ?? ''), created: true }
}
