// The end of a run: what the store says, read afresh with the real readers, against what producers were told and what
// clusters took.
import type { FileOperations, FileStatus, OpenFile } from '../../src/store/file-operations.ts'
import { DirectoryStore } from '../../src/store/directory-store.ts'
import { parseInstance, parseSegmentFile } from '../../src/store/layout.ts'
import { conflictReason, formatId, state } from '../../src/submit/books.ts'
import type { Books } from '../../src/submit/books.ts'
import { readHistory } from '../../src/submit/history.ts'
import type { LedgerRecord } from '../../src/submit/records.ts'
import type { FileServer, Inode } from './file-server.ts'
import type { Judge } from './judge.ts'
import type { Serve } from './serve.ts'
import { root } from './serve.ts'
import { drainPromises } from './time.ts'
import type { World } from './world.ts'

const unused = (): never => {
  throw new Error('a verdict only reads')
}

const statusOf = (node: Inode): FileStatus => ({ device: 1n, inode: BigInt(node.id), links: node.links, size: node.size, directory: node.names !== null, mode: 0, owner: 0 })

/** The server's own view, at once. */
const truthOf = (server: FileServer): FileOperations => ({
  open: async (path): Promise<OpenFile> => {
    const node = server.find(path)
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
  readdir: async (path) => server.readdir(path),
  stat: async (path) => statusOf(server.find(path)),
  free: async () => 0,
})

const instancesOf = (world: World): string[] => world.server.readdir(`${root}/hosts`).filter((name) => parseInstance(name) !== null)

/** Instances of which not everything has been admitted. */
export const instancesLeft = (world: World, books: Books, serves: readonly Serve[]): string[] => {
  const living = new Set(serves.flatMap(({ instance }) => instance?.name ?? []))
  const left: string[] = []
  for (const instance of instancesOf(world)) {
    // One that never wrote its presence never accepted a job.
    if (books.gone.has(instance) || (world.server.nodes.get(`${root}/hosts/${instance}/presence`)?.size ?? 0) === 0) continue
    if (!living.has(instance)) {
      left.push(instance)
      continue
    }
    const directory = world.server.nodes.get(`${root}/hosts/${instance}/segments`)
    for (const file of directory?.names ?? []) {
      const segment = parseSegmentFile(file)
      if (segment === null || segment.number <= (books.cursors.get(instance) ?? 0)) continue
      const empty = segment.kind === 'part' && world.server.nodes.get(`${root}/hosts/${instance}/segments/${file}`)?.size === 0
      if (!empty) left.push(`${instance}/${file}`)
    }
  }
  return left
}

export const jobsInDoubt = (books: Books): string[] => {
  const ids: string[] = []
  for (const segment of books.segments.values()) {
    for (const index of segment.notes.keys()) if (segment.states?.[index] === state.doubt) ids.push(books.idAt(segment, index))
  }
  return ids
}

interface Trace {
  readonly id: string
  /** Kinds of the records about it, in order. */
  readonly steps: string[]
}

/** What a set of books says, to compare two of them. */
const summary = (books: Books): string =>
  JSON.stringify([
    books.audit(),
    [...books.cursors].sort(),
    [...books.gone].sort(),
    [...books.requests.keys()].sort(),
    books.anomalies,
    [...books.segments.values()].map(({ ref, states, followUps }) => [ref, states === null ? null : [...states], [...followUps.keys()].sort()]).sort(),
  ])

/** Whether the ledger, read afresh, gives the leader's books; null: it does, or there is no leader to compare with. */
export const replayDiffers = (world: World, serves: readonly Serve[]): string | null => {
  const leader = serves.flatMap(({ instance }) => instance?.books ?? [])[0]
  if (leader === undefined) return null
  const books = replay(world, () => undefined)
  if (typeof books === 'string') return books
  const [told, read] = [summary(leader), summary(books)]
  return told === read ? null : `${told} and ${read}`
}

/** The books as the readers of the store have them; or why it can't be read. */
const replay = (world: World, follow: (record: LedgerRecord) => void): Books | string => {
  let result: Books | string = 'the reader never came to an end'
  readHistory(new DirectoryStore(root, truthOf(world.server)), { everything: true, onRecord: follow }).then(
    ({ books }) => (result = books),
    (error: unknown) => (result = String(error)),
  )
  drainPromises()
  return result
}

export const examine = (world: World, judge: Judge): void => {
  const traces = new Map<string, Trace>()
  const note = (of: string, index: number, step: string): void => void traces.get(`${of}:${index}`)?.steps.push(step)
  const follow = (record: LedgerRecord): void => {
    if (record.k === 'admit') {
      let index = 0
      for (const [producer, first, count] of record.ids) {
        for (let at = 0n; at < BigInt(count); at += 1n) {
          traces.set(`${record.of}:${index}`, { id: formatId(BigInt(`0x${producer}`), BigInt(first) + at), steps: [] })
          index += 1
        }
      }
      for (const [first, last] of record.duplicates ?? []) for (let at = first; at <= last; at += 1) note(record.of, at, 'duplicate')
      for (const [first, last] of record.conflicts ?? []) for (let at = first; at <= last; at += 1) note(record.of, at, 'conflict')
    } else if ('jobs' in record) {
      for (const [first, last] of record.jobs) for (let at = first; at <= last; at += 1) note(record.of, at, record.k === 'decision' ? record.as : record.k)
    }
  }
  const books = replay(world, follow)
  if (typeof books === 'string') {
    world.violate('the ledger can be read', books)
    return
  }
  if (books.anomalies > 0) world.violate('every record follows on its job’s state', `${books.anomalies} anomalies`)
  const byId = new Map<string, Trace[]>()
  for (const trace of traces.values()) {
    const list = byId.get(trace.id)
    if (list === undefined) byId.set(trace.id, [trace])
    else list.push(trace)
  }
  for (const [id, { contents, acked, taken, takenContent }] of judge.jobs) {
    const own = byId.get(id) ?? []
    if (acked.size > 0 && own.length === 0) {
      world.violate('accepted: exactly one outcome', `${id} was accepted and never admitted`)
      continue
    }
    if (own.length === 0) continue
    const firsts = own.filter(({ steps }) => steps[0] !== 'duplicate' && steps[0] !== 'conflict')
    if (firsts.length !== 1) world.violate('accepted: exactly one outcome', `${id} was admitted ${firsts.length} times as new`)
    const first = firsts[0]
    if (first === undefined) continue
    const last = first.steps.filter((step) => step !== 'confirmed' && step !== 'released' && step !== 'ended').at(-1)
    const dead = last === 'refused'
    if (!dead && last !== 'receipt' && last !== 'submitted') world.violate('every trace is complete', `${id}: ${first.steps.join(' ')}`)
    if (first.steps[0] !== 'intent') world.violate('every trace is complete', `${id} begins with ${first.steps[0] ?? 'nothing'}: ${first.steps.join(' ')}`)
    if (taken !== (dead ? 0 : 1)) world.violate('accepted: exactly one outcome', `${id} is ${dead ? 'dead' : 'submitted'}, and its cluster has it ${taken} times`)
    if (acked.size > 1 && !own.some(({ steps }) => steps[0] === 'conflict')) {
      world.violate('same id, other content: refused', `${id} was accepted as ${[...acked].join(' and ')}, and no conflict was found`)
    }
    if (acked.size > 0 && takenContent !== null && !contents.has(takenContent)) world.violate('nothing unexpected', `${id} was taken as ${takenContent}`)
  }
  for (const id of byId.keys()) if (!judge.jobs.has(id)) world.violate('nothing unexpected', `${id} was admitted and never sent`)
  const dead = [...books.segments.values()].flatMap(({ notes }) => [...notes.values()].filter(({ reason }) => reason === conflictReason))
  world.count('conflicts found', dead.length)
  const audit = books.audit()
  world.count('duplicates found', audit.duplicates)
  const submitted = [...judge.jobs.values()].filter(({ taken }) => taken > 0).length
  if (audit.submitted !== submitted) world.violate('the audit balances', `${audit.submitted} are submitted by the books, ${submitted} at the clusters`)
  if (traces.size !== books.known) world.violate('the audit balances', `${traces.size} were admitted, ${books.known} are known`)
}
