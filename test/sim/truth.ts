// What the file server holds, read at once with the store's real readers: no client, no cache, no fault, no time.
import type { FileOperations, FileStatus, OpenFile } from '../../src/store/file-operations.ts'
import { DirectoryStore } from '../../src/store/directory-store.ts'
import type { Books } from '../../src/submit/books.ts'
import { readHistory } from '../../src/submit/history.ts'
import type { LedgerRecord } from '../../src/submit/records.ts'
import type { RememberedIds } from '../../src/submit/remembered-ids.ts'
import { fileError } from './file-server.ts'
import type { FileServer, Inode } from './file-server.ts'
import { drainPromises } from './time.ts'
import type { World } from './world.ts'

/** Where the store is mounted. */
export const root = '/store'

const unused = (): never => {
  throw new Error('the truth is only read')
}

const statusOf = (node: Inode): FileStatus => ({ device: 1n, inode: BigInt(node.id), links: node.links, size: node.size, directory: node.names !== null, mode: 0, owner: 0 })

/** `without`: a path that is taken for absent. */
const truthOf = (server: FileServer, without: string): FileOperations => {
  const find = (path: string): Inode => {
    if (path === without) throw fileError('ENOENT', path)
    return server.find(path)
  }
  return {
    open: async (path): Promise<OpenFile> => {
      const node = find(path)
      return {
        write: unused,
        read: async (into, position) => node.read(into, position),
        status: async () => statusOf(node),
        sync: unused,
        datasync: unused,
        close: async () => undefined,
      }
    },
    link: unused,
    rename: unused,
    unlink: unused,
    mkdir: unused,
    rmdir: unused,
    readdir: async (path) => server.readdir(path).filter((name) => `${path}/${name}` !== without),
    stat: async (path) => statusOf(find(path)),
    free: async () => 0,
  }
}

export interface TruthOptions {
  /** Each record that counts and is still there, whatever snapshots cover. */
  readonly onRecord?: (record: LedgerRecord) => void
  readonly createIds?: () => RememberedIds
  readonly without?: string
}

/** The books as the readers of the store have them; or why it can't be read. Not from a promise's reaction: nothing would be read. */
export const readTruth = (world: World, { onRecord, createIds, without = '' }: TruthOptions = {}): { books: Books; ids: RememberedIds | null } | string => {
  let result: { books: Books; ids: RememberedIds | null } | string = 'the reader never came to an end'
  const store = new DirectoryStore(root, truthOf(world.server, without))
  readHistory(store, { ...(onRecord === undefined ? {} : { everything: true, onRecord }), ...(createIds === undefined ? {} : { createIds }) }).then(
    (history) => (result = history),
    (error: unknown) => (result = String(error)),
  )
  drainPromises()
  return result
}

/** What a set of books says, to compare two of them. */
export const summary = (books: Books): string =>
  JSON.stringify([
    books.audit(),
    books.totals.removedJobs,
    books.needs,
    books.terms.map(({ term }) => term),
    [...books.cursors].sort(),
    [...books.gone].sort(),
    [...books.setAside.keys()].sort(),
    [...books.requests.keys()].sort(),
    books.anomalies,
    [...books.finished.instances()].sort().map((instance) => [instance, [...books.finished.of(instance)]]),
    [...books.segments.values()].map(({ ref, states, followUps }) => [ref, states === null ? null : [...states], [...followUps.keys()].sort()]).sort(),
  ])
