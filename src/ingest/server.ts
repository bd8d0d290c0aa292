// The listener as the instance sees it: opened, listened to, and taken leave of. Connections live on the addon's threads
// (native/core/socket-loop.h); neither bytes nor answers come by here.

import { lookup } from 'node:dns/promises'
import { codeOfWire, codes, errnoOf, messageOf, UsherError, wireOfCode } from '../base/errors.ts'
import type { Code } from '../base/errors.ts'
import type { Ingest, IngestEvents } from '../base/native.ts'

export interface ServerOptions {
  readonly listen: { readonly host: string; readonly port: number }
  readonly log: (level: 'debug' | 'info' | 'warn', message: string, details?: Record<string, unknown>) => void
}

export class IngestServer {
  readonly #options: ServerOptions
  readonly #ingest: Ingest
  #tellEmptied: () => void = () => undefined
  readonly #emptied = new Promise<void>((resolve) => (this.#tellEmptied = resolve))

  constructor(ingest: Ingest, options: ServerOptions) {
    this.#ingest = ingest
    this.#options = options
  }

  /** Resolves with the address when it listens. */
  async listen(): Promise<string> {
    const { host, port } = this.#options.listen
    try {
      const { address, family } = await lookup(host)
      const taken = this.#ingest.listen(address, port)
      return family === 6 ? `[${address}]:${taken}` : `${address}:${taken}`
    } catch (error) {
      throw listenError(error, host, port)
    }
  }

  /** What the addon tells of connections. */
  deliver({ cutOff, cutOffMore, turnedAway, listener, emptied }: IngestEvents): void {
    const { log } = this.#options
    for (const { connection, code, peer } of cutOff) log('debug', `connection ${connection} is closed: ${codeOfWire(code) ?? code}`, { peer })
    if (cutOffMore > 0) log('debug', `${cutOffMore} more connections are closed`)
    if (turnedAway > 0) log('debug', `${turnedAway} connections are turned away: ${codes.connections_exhausted.summary}`)
    if (listener?.errno != null) log('warn', `the listener failed: ${listener.operation} failed with ${listener.errno}; it is tried again`)
    else if (listener !== null) log('info', 'the listener works again')
    if (emptied) this.#tellEmptied()
  }

  /**
   * Says goodbye to every producer and takes no more jobs. Resolves when all have gone or `withinMs` is over; what they
   * had sent is answered if its commit comes in that time.
   */
  async goodbye(code: Code, reason: string, addresses: readonly string[], withinMs: number): Promise<void> {
    this.#ingest.goodbye(wireOfCode(code), reason, addresses, withinMs)
    await this.#emptied
  }
}

/** Why listening there failed, in words. */
export const listenError = (error: unknown, host: string, port: number): UsherError => {
  const errno = errnoOf(error)
  if (errno === 'EADDRINUSE') {
    return new UsherError('address_in_use', `${host}:${port} is already taken: another usher on this machine? Choose another with --listen`, { cause: error })
  }
  const code: Code = errno === 'EACCES' ? 'permission' : 'unavailable'
  return new UsherError(code, `can't listen on ${host}:${port}: ${messageOf(error)}`, { cause: error })
}
