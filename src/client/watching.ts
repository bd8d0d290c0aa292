// What a client lets be seen of its work: its counts, and the events of its connections.
import type { UsherError } from '../base/errors.ts'
import type { Goodbye } from './connection.ts'

export interface ClientStats {
  /** Jobs put into frames, resends included. */
  sentJobs: number
  sentBytes: number
  acceptedJobs: number
  refusedJobs: number
  /** Refusals after which the job was sent again. */
  retriedJobs: number
  inDoubtJobs: number
  /** Jobs that were flying when a connection was lost. */
  resentJobs: number
  connections: number
}

export const newStats = (): ClientStats => ({
  sentJobs: 0, sentBytes: 0, acceptedJobs: 0, refusedJobs: 0, retriedJobs: 0, inDoubtJobs: 0, resentJobs: 0, connections: 0,
})

/** The host that jobs go to. */
export interface ConnectedTo {
  readonly address: string
  readonly host: string
  readonly instance: string
}

export interface ClientEvents {
  connected: [ConnectedTo]
  disconnected: [{ readonly address: string; readonly error: UsherError }]
  /** An address that couldn't be connected. */
  unreachable: [{ readonly address: string; readonly error: UsherError }]
  goodbye: [Goodbye & { readonly address: string }]
}
