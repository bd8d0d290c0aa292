// What the submitter and the process that started it tell each other over Node's IPC channel.
import type { ClusterConfig } from '../config/table.ts'
import type { Role } from '../observe/instance.ts'
import type { Nudge } from '../protocol/nudge.ts'
import type { Audit } from './books.ts'
import type { Outcome } from './driver.ts'
import type { Author } from './records.ts'

/** Everything the submitter needs to know, once, at its start. */
export interface StartMessage {
  readonly type: 'start'
  /** The store's root, absolute. */
  readonly directory: string
  readonly storeUuid: string
  readonly by: Omit<Author, 'pid'>
  readonly address: string
  readonly leaseMs: number
  readonly acceptLeaseMs: number
  readonly clusters: Readonly<Record<string, ClusterConfig>>
  readonly windowBytesMax: number
  readonly retryMinMs: number
  readonly retryMaxMs: number
  /** How long what is finished is kept. */
  readonly retentionMs: number
  /** Newest segment of this instance with JSON. */
  readonly published: number
}

/** What a leader's books add up to, for metrics. */
export interface LeaderBooks {
  readonly term: number
  /** Jobs in segments that are admitted. */
  readonly audit: Audit
  /** The segment, in the order of admission, that has jobs which wait; null: there is none. */
  readonly oldestWaiting: string | null
  /** How each cluster answered, job by job, in this term. */
  readonly tallies: Readonly<Record<string, Readonly<Record<Outcome['kind'], number>>>>
}

export type ToSubmitter =
  | StartMessage
  | { readonly type: 'published'; readonly number: number }
  | { readonly type: 'adopted'; readonly instance: string; readonly last: number }
  /** Somebody says that there is something new: look now. */
  | { readonly type: 'look'; readonly nudge: Nudge }
  | { readonly type: 'resign' }

export type FromSubmitter =
  | {
      readonly type: 'role'
      readonly role: Role
      readonly term: number | null
      readonly eligible: boolean
      readonly reason: string
      /** Those whose preflight passes. */
      readonly clusters: readonly string[]
    }
  /** That instance is gone: make JSON of what it left, from that segment on. */
  | { readonly type: 'adopt'; readonly instance: string; readonly why: string; readonly from: number }
  /** Where the leader that is followed listens; null: there is none, or it is this one. */
  | { readonly type: 'leader'; readonly address: string | null }
  /** While it leads, every second. */
  | { readonly type: 'books'; readonly books: LeaderBooks }
  /** There is a resignation among the claims: nudge those who listen there. */
  | { readonly type: 'announce'; readonly addresses: readonly string[] }
  | { readonly type: 'log'; readonly level: 'debug' | 'info' | 'warn' | 'error'; readonly message: string; readonly details: Record<string, unknown> }
  | { readonly type: 'resigned' }
