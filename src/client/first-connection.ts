// The first connection of a client: awaited for so long, and given up at once where no host will ever take it.
import type { EventEmitter } from 'node:events'
import { UsherError } from '../base/errors.ts'
import type { ClientEvents } from './watching.ts'

export const connectWithinMs = 10_000

interface Connecting extends EventEmitter<ClientEvents> {
  readonly lastError: UsherError | undefined
}

export interface FirstConnectionOptions {
  /** How many addresses there are to refuse for good. */
  readonly addresses: number
  readonly withinMs: number
  readonly signal: AbortSignal | undefined
}

/**
 * Resolves when the client is connected. Rejects with `disconnected` when the time is over, with `aborted`, or with the
 * error of the last address when each of them refused for good (another protocol, no common version).
 */
export const firstConnection = async (client: Connecting, options: FirstConnectionOptions): Promise<void> => {
  const { addresses, withinMs, signal } = options
  const hopeless = new Set<string>()
  let forget = (): void => {}
  try {
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => {
        const last = client.lastError
        const why = last === undefined ? '' : `: ${last.message}`
        reject(new UsherError('disconnected', `no host could be reached within ${withinMs} ms${why}`, { cause: last }))
      }, withinMs)
      const onConnected = (): void => resolve()
      const onUnreachable = ({ address, error }: ClientEvents['unreachable'][0]): void => {
        if (error.retryable) hopeless.delete(address)
        else hopeless.add(address)
        if (hopeless.size >= addresses) reject(error)
      }
      const onAbort = (): void => reject(new UsherError('aborted', 'given up while connecting'))
      client.on('connected', onConnected)
      client.on('unreachable', onUnreachable)
      signal?.addEventListener('abort', onAbort)
      forget = (): void => {
        clearTimeout(timer)
        client.off('connected', onConnected)
        client.off('unreachable', onUnreachable)
        signal?.removeEventListener('abort', onAbort)
      }
      if (signal?.aborted === true) onAbort()
    })
  } finally {
    forget()
  }
}
