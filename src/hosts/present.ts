// Who is on the store at this moment, as any process sees it: every instance that has a directory, and whether it lives.
// Reads only. For decisions about what an instance left there is src/submit/instances.ts, which takes its time.

import { parsePresence, provenAlive, provenDead } from '../observe/instance.ts'
import type { InstancePresence, ProcessIdentity } from '../observe/instance.ts'
import { hostsDirectory, parseInstance, presenceName } from '../store/layout.ts'
import type { Store } from '../store/store.ts'

export interface Looked {
  readonly instance: string
  readonly presence: InstancePresence | null
  readonly alive: boolean
}

/** A presence that is this fresh needs no second look. */
const freshMs = 2000
/** Longer than any instance waits between two writes of its presence. */
const secondLookMs = 700

const mayLive = (presence: InstancePresence): boolean => presence.role !== 'ended' && !provenDead(presence)
const isFresh = (presence: InstancePresence): boolean => Math.abs(Date.now() - Date.parse(presence.at)) < freshMs

/** Every instance that has a directory, and whether it lives: proven by the process table or by a heartbeat that moves. */
export const lookAtInstances = async (store: Store, which: (instance: string) => boolean = () => true): Promise<Looked[]> => {
  const names = await listInstances(store, which)
  const first = await readPresences(store, names)
  const moved = await findMoving(
    store,
    [...first.values()].filter((presence) => presence !== null && mayLive(presence) && !isFresh(presence)),
  )
  return [...first].map(([instance, presence]) => ({
    instance,
    presence,
    alive: presence !== null && mayLive(presence) && (isFresh(presence) || moved.has(instance)),
  }))
}

/**
 * The newest instance of that host which certainly lives: its process is there, or its heartbeat moves while we look. Clocks
 * have no say in it, so one that died with its machine a moment ago isn't in the way of its successor.
 */
export const findLiving = async (store: Store, host: string): Promise<InstancePresence | null> => {
  const names = await listInstances(store, () => true)
  const found = [...(await readPresences(store, names)).values()].filter(
    (presence) => presence !== null && presence.host === host && mayLive(presence),
  )
  const moved = await findMoving(store, found.filter((presence) => presence !== null && !provenAlive(presence)))
  return (
    found
      .filter((presence) => presence !== null)
      .filter((presence) => moved.has(presence.instance) || provenAlive(presence))
      .sort((a, b) => (a.started < b.started ? -1 : 1))
      .at(-1) ?? null
  )
}

const listInstances = async (store: Store, which: (instance: string) => boolean): Promise<string[]> =>
  (await store.list(hostsDirectory)).filter((name) => parseInstance(name) !== null && which(name))

const readPresences = async (store: Store, names: readonly string[]): Promise<Map<string, InstancePresence | null>> => {
  const found = new Map<string, InstancePresence | null>()
  for (const name of names) found.set(name, parsePresence(await store.readPresence(presenceName(name))))
  return found
}

/** Those whose heartbeat isn't what it was. */
const findMoving = async (store: Store, unsure: readonly (InstancePresence | null)[]): Promise<Set<string>> => {
  const moved = new Set<string>()
  if (unsure.length === 0) return moved
  await new Promise((resolve) => setTimeout(resolve, secondLookMs))
  for (const presence of unsure) {
    if (presence === null) continue
    const again = parsePresence(await store.readPresence(presenceName(presence.instance)))
    if (again !== null && again.beat !== presence.beat) moved.add(presence.instance)
  }
  return moved
}

/** An instance's address as producers of this host can use it; none where it listens on another machine's loopback only. */
export const reachableAddress = (presence: InstancePresence, own: ProcessIdentity & { readonly host: string }): string[] => {
  const { host, listen, bootId, pidNamespace } = presence
  const port = listen.slice(listen.lastIndexOf(':') + 1)
  const address = listen.slice(0, listen.lastIndexOf(':'))
  if (address === '0.0.0.0' || address === '[::]') return [`${host}:${port}`]
  const loopback = address.startsWith('127.') || address === '[::1]' || address === 'localhost'
  // Under one kernel and in one namespace of processes several hosts may have names of their own on purpose.
  const here = host === own.host || (bootId !== '' && bootId === own.bootId && pidNamespace === own.pidNamespace)
  return loopback && !here ? [] : [listen]
}
