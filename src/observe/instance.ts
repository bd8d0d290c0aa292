// What an instance says of itself in its presence file, and how others read it. Pure.
import { existsSync, readFileSync, readlinkSync } from 'node:fs'
import { userInfo } from 'node:os'

export type Role = 'starting' | 'follower' | 'leader' | 'ineligible' | 'draining' | 'ended'

/** The process behind an instance, precisely enough to tell on the same machine whether it still lives. */
export interface ProcessIdentity {
  readonly pid: number
  /** Clock ticks after boot at which it started: /proc/<pid>/stat, field 22. */
  readonly pidStart: string
  /** /proc/self/ns/pid: the same number in another container is another process. */
  readonly pidNamespace: string
  readonly bootId: string
}

export interface InstancePresence extends ProcessIdentity {
  readonly instance: string
  readonly host: string
  readonly user: string
  readonly version: string
  readonly config: string
  readonly role: Role
  readonly term: number | null
  readonly eligible: boolean
  /** Why it isn't eligible, or doesn't accept; empty: no reason to give. */
  readonly reason: string
  readonly accepting: boolean
  /** The clusters whose preflight passes here; empty also where they are too many to be named. */
  readonly clusters: readonly string[]
  /** How long it may go on acknowledging jobs after a presence write. */
  readonly acceptLeaseMs: number
  readonly listen: string
  /** ISO 8601 */
  readonly started: string
  /** Counts up with every write: what changes is alive. */
  readonly beat: number
  /** When it was written, by its writer's wall clock: shown to people, never decided on. */
  readonly at: string
  /** Newest segment that has JSON or was set aside, as have all before it. */
  readonly published: number
}

const readTrimmed = (path: string): string => {
  try {
    return readFileSync(path, 'latin1').trim()
  } catch {
    // Not Linux, or /proc isn't mounted: then nothing is ever proven dead, only presumed after silence.
    return ''
  }
}

/** Fields of /proc/<pid>/stat from the third on (the state); empty where there is no such process to be seen. */
const statOf = (pid: number | 'self'): string[] => {
  const stat = readTrimmed(`/proc/${pid}/stat`)
  // The command's name, in parentheses, may hold spaces and parentheses itself.
  return stat === '' ? [] : stat.slice(stat.lastIndexOf(')') + 2).split(' ')
}
const startOf = (pid: number | 'self'): string => statOf(pid)[19] ?? ''

const pidNamespace = (): string => {
  try {
    return readlinkSync('/proc/self/ns/pid')
  } catch {
    return ''
  }
}

export const ownProcess = (): ProcessIdentity => ({
  pid: process.pid,
  pidStart: startOf('self'),
  pidNamespace: pidNamespace(),
  bootId: readTrimmed('/proc/sys/kernel/random/boot_id'),
})

export const ownUser = (): string => {
  try {
    return userInfo().username
  } catch {
    // A user id without a name, as in many containers.
    return String(process.getuid?.() ?? '')
  }
}

/** Whether that process is certainly no more: it ran under this very kernel and is not there. False: unknown. */
export const provenDead = (other: ProcessIdentity): boolean => {
  const own = ownProcess()
  if (own.bootId === '' || other.bootId !== own.bootId || other.pidNamespace !== own.pidNamespace || other.pidStart === '') return false
  const start = startOf(other.pid)
  if (start !== '') return start !== other.pidStart
  // Absent, or hidden from this user (hidepid): only where others' processes can be seen does absence prove anything.
  return startOf(1) !== '' && !existsSync(`/proc/${other.pid}`)
}

/** Whether that very process is certainly there: it runs under this kernel, stopped or not. False: unknown. */
export const provenAlive = (other: ProcessIdentity): boolean => {
  const own = ownProcess()
  if (own.bootId === '' || other.bootId !== own.bootId || other.pidNamespace !== own.pidNamespace || other.pidStart === '') return false
  const [state, start] = [statOf(other.pid)[0], startOf(other.pid)]
  // One that has ended and only waits for its parent does nothing any more.
  return start === other.pidStart && state !== 'Z' && state !== 'X'
}

/** Reads what readPresence() gave; null for what no version of usher has written. */
export const parsePresence = (value: Readonly<Record<string, unknown>> | null): InstancePresence | null => {
  if (value === null) return null
  const text = (key: string): string => (typeof value[key] === 'string' ? value[key] : '')
  const number = (key: string): number => (typeof value[key] === 'number' ? value[key] : 0)
  if (text('instance') === '') return null
  return {
    instance: text('instance'),
    host: text('host'),
    user: text('user'),
    version: text('version'),
    config: text('config'),
    role: text('role') as Role,
    term: typeof value['term'] === 'number' ? value['term'] : null,
    eligible: value['eligible'] === true,
    reason: text('reason'),
    accepting: value['accepting'] === true,
    clusters: Array.isArray(value['clusters']) ? value['clusters'].filter((name) => typeof name === 'string') : [],
    acceptLeaseMs: number('acceptLeaseMs'),
    listen: text('listen'),
    started: text('started'),
    beat: number('beat'),
    at: text('at'),
    published: number('published'),
    pid: number('pid'),
    pidStart: text('pidStart'),
    pidNamespace: text('pidNamespace'),
    bootId: text('bootId'),
  }
}
