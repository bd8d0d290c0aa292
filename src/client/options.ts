// What a client can be told, what it does when it isn't told, and how addresses are written.
import { UsherError } from '../base/errors.ts'
import type { Crc32c } from '../protocol/crc32c.ts'

export const defaultPort = 7433

export interface Address {
  readonly host: string
  readonly port: number
}

export interface ClientOptions {
  /** "host:port", "host", "[::1]:7433"; one, a list, or several separated by commas. All hosts of one store. */
  readonly addresses: string | readonly string[]
  /**
   * A name that is this producer's alone. Its number is derived from it, so that a second run means the same jobs: each job
   * then needs a `sequence` of the caller's (or `firstSequence`). Left out: a random number, sequences count from 1.
   */
  readonly clientId?: string
  /** A producer's number of the caller's own making, instead of clientId. */
  readonly producer?: bigint
  /** Where counting begins, for jobs that come without a sequence. */
  readonly firstSequence?: number
  /** What people are shown for this producer; at most 255 bytes. Left out: clientId. */
  readonly name?: string
  /** For one address to be connected and to have sent WELCOME. */
  readonly connectTimeoutMs?: number
  /** How long a job waits for others before its frame is sent. 0: what is sent in one turn of the event loop goes together. */
  readonly lingerMs?: number
  /** A frame is sent without waiting when it has this much payload … */
  readonly batchBytes?: number
  /** … or so many jobs. */
  readonly batchJobs?: number
  /** Jobs that may be held: waiting, sent, or refused and to be sent again. */
  readonly heldJobsMax?: number
  readonly heldBytesMax?: number
  /** What `send` does when that much is held: wait for room, or reject with `queue_full`. */
  readonly whenFull?: 'wait' | 'reject'
  /** How long a job may take until it is answered. Infinity: for ever. */
  readonly timeoutMs?: number
  /** Send again what was refused with a retryable code, until the job's time is over. */
  readonly retry?: boolean
  /** Full jitter: a random time up to min(most, base × 2^attempt). */
  readonly backoffBaseMs?: number
  readonly backoffMostMs?: number
  /** A connection on which nothing comes back for this long, though it should, is given up. */
  readonly silenceMs?: number
  /** A faster CRC-32C, such as the addon's. */
  readonly crc32c?: Crc32c
  /** 0 ≤ random() < 1. For tests. */
  readonly random?: () => number
}

export interface ConnectOptions extends ClientOptions {
  /** For the first connection; afterwards the client connects again by itself for as long as it lives. */
  readonly connectWithinMs?: number
  /** Gives up connecting. */
  readonly signal?: AbortSignal
}

export interface SendOptions {
  readonly signal?: AbortSignal
  /** Instead of the client's. */
  readonly timeoutMs?: number
}

export interface BatchOptions extends SendOptions {
  /** Called for each run of accepted jobs. */
  readonly onAccepted?: (first: number, jobs: number) => void
  /** Called for each job that wasn't; the result then lists none, so that memory stays constant. */
  readonly onFailed?: (error: UsherError) => void
}

export type Settings = Required<Omit<ClientOptions, 'addresses' | 'clientId' | 'producer' | 'firstSequence' | 'crc32c' | 'name'>>

export const defaults: Settings = {
  connectTimeoutMs: 5_000,
  lingerMs: 0,
  batchBytes: 64 * 1024,
  batchJobs: 1_000,
  heldJobsMax: 100_000,
  heldBytesMax: 64 * 1024 * 1024,
  whenFull: 'wait',
  timeoutMs: 60_000,
  retry: true,
  backoffBaseMs: 100,
  backoffMostMs: 10_000,
  silenceMs: 30_000,
  random: Math.random,
}

export const formatAddress = ({ host, port }: Address): string => (host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`)

export const parseAddress = (text: string): Address => {
  const match = /^(?:\[([0-9a-fA-F:.%\w]+)\]|([^:[\]\s]+))(?::([0-9]{1,5}))?$/.exec(text)
  const port = match?.[3] === undefined ? defaultPort : Number(match[3])
  const host = match?.[1] ?? match?.[2]
  if (host === undefined || port < 1 || port > 65_535) {
    const message = `${JSON.stringify(text)} is not an address: write HOST, HOST:PORT or [IPV6]:PORT`
    throw new UsherError('usage', message, { details: { address: text } })
  }
  return { host, port }
}

export const parseAddresses = (addresses: string | readonly string[]): Address[] => {
  const list = (typeof addresses === 'string' ? [addresses] : addresses).flatMap((text) => text.split(','))
  const parsed = list.map((text) => text.trim()).filter((text) => text !== '').map(parseAddress)
  if (parsed.length === 0) throw new UsherError('usage', 'no address to send to')
  return parsed
}

const positive = (name: string, value: number, least: number): void => {
  if (!(value >= least)) throw new UsherError('usage', `${name} must be at least ${least}, not ${value}`)
}

export const settingsOf = (options: ClientOptions): Settings => {
  const given = Object.entries(options).filter(([key, value]) => key in defaults && value !== undefined)
  const settings: Settings = { ...defaults, ...Object.fromEntries(given) }
  const atLeastOne = [
    'connectTimeoutMs', 'batchBytes', 'batchJobs', 'heldJobsMax', 'heldBytesMax', 'timeoutMs', 'backoffMostMs', 'silenceMs',
  ] as const
  for (const name of atLeastOne) positive(name, settings[name], 1)
  for (const name of ['lingerMs', 'backoffBaseMs'] as const) positive(name, settings[name], 0)
  return settings
}
