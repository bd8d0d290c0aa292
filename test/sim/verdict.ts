// The end of a run: what the store says, read afresh with the real readers, against what producers were told and what
// clusters took.
import { parseInstance, parseSegmentFile } from '../../src/store/layout.ts'
import { decodePresence } from '../../src/store/presence.ts'
import { conflictReason, state } from '../../src/submit/books.ts'
import type { Books } from '../../src/submit/books.ts'
import type { Judge } from './judge.ts'
import type { Removals } from './removals.ts'
import type { Serve } from './serve.ts'
import { follow, outcomeOf } from './trace.ts'
import type { Trace, Traces } from './trace.ts'
import { readTruth, root, summary } from './truth.ts'
import type { World } from './world.ts'

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

/** Whether the death of an instance left a presence that nobody can read. */
export const presenceTorn = (world: World): boolean =>
  instancesOf(world).some((instance) => {
    const node = world.server.nodes.get(`${root}/hosts/${instance}/presence`)
    return node !== undefined && node.size > 0 && decodePresence(node.content) === null
  })

export const jobsInDoubt = (books: Books): string[] => {
  const ids: string[] = []
  for (const segment of books.segments.values()) {
    for (const index of segment.notes.keys()) if (segment.states?.[index] === state.doubt) ids.push(books.idAt(segment, index))
  }
  return ids
}

/** Whether the ledger, read afresh, gives the leader's books; null: it does, or there is no leader to compare with. */
export const replayDiffers = (world: World, serves: readonly Serve[]): string | null => {
  const leader = serves.flatMap(({ instance }) => instance?.books ?? [])[0]
  if (leader === undefined) return null
  const truth = readTruth(world)
  if (typeof truth === 'string') return truth
  const [told, read] = [summary(leader), summary(truth.books)]
  return told === read ? null : `${told} and ${read}`
}

export const examine = (world: World, judge: Judge, removals: Removals): void => {
  const told: Traces = new Map()
  const truth = readTruth(world, { onRecord: (record) => follow(told, record) })
  if (typeof truth === 'string') {
    world.violate('the ledger can be read', truth)
    return
  }
  const { books } = truth
  const traces = removals.complete(told, books)
  if (books.anomalies > 0) world.violate('every record follows on its job’s state', `${books.anomalies} anomalies`)
  const byId = new Map<string, Trace[]>()
  let admitted = 0
  for (const trace of [...traces.values()].flat()) {
    admitted += 1
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
    const last = outcomeOf(first)
    const dead = last === 'refused'
    if (!dead && last !== 'receipt' && last !== 'submitted') world.violate('every trace is complete', `${id}: ${first.steps.join(' ')}`)
    if (first.steps[0] !== 'intent') world.violate('every trace is complete', `${id} begins with ${first.steps[0] ?? 'nothing'}: ${first.steps.join(' ')}`)
    if (taken !== (dead ? 0 : 1)) world.violate('accepted: exactly one outcome', `${id} is ${dead ? 'dead' : 'submitted'}, and its cluster has it ${taken} times`)
    // The content of an id may be forgotten by then: another is a duplicate.
    const late = own.some(({ steps, admittedMs }) => steps[0] === 'duplicate' && admittedMs - first.admittedMs >= removals.retentionMs - 2 * removals.clockSpreadMs)
    if (acked.size > 1 && !late && !own.some(({ steps }) => steps[0] === 'conflict')) {
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
  if (admitted !== books.known) world.violate('the audit balances', `${admitted} were admitted, ${books.known} are known`)
}
