// What the two servers have in common: each takes connections on one address, bounds them, and asks for an answer to each
// request. Which one it is shows in nothing but speed and what becomes of requests that aren't HTTP.

import { errnoOf, messageOf, UsherError } from '../base/errors.ts'
import type { ListenAddress } from '../config/kinds.ts'
import type { Answer, Request } from './route.ts'

export interface HttpLimits {
  readonly headerBytesMax: number
  readonly bodyBytesMax: number
  /** From the first byte of a request to its last. */
  readonly timeoutMs: number
  readonly idleTimeoutMs: number
  readonly connectionsMax: number
}

export interface HttpServerOptions {
  readonly limits: HttpLimits
  /** Never rejects. */
  readonly answer: (request: Request) => Promise<Answer>
}

export interface HttpServer {
  readonly name: 'node:http' | 'uWebSockets.js'
  /** Resolves with the port. Rejects with address_in_use, permission or unavailable. */
  listen(address: ListenAddress): Promise<number>
  /** Takes no more connections, answers what has come, and closes what is left after that time. */
  close(withinMs: number): Promise<void>
}

/** The path and the query of a request line; null for what is neither a path nor a whole URL. */
export const targetOf = (target: string): { path: string; query: string } | null => {
  const rest = target.startsWith('/') ? target : /^https?:\/\/[^/?#]*(\/.*)?$/i.exec(target)?.slice(1).map((path) => path ?? '/')[0]
  if (rest === undefined) return null
  const mark = rest.indexOf('?')
  return mark < 0 ? { path: rest, query: '' } : { path: rest.slice(0, mark), query: rest.slice(mark + 1) }
}

export const httpListenError = (error: unknown, { host, port }: ListenAddress): UsherError => {
  const errno = errnoOf(error)
  const code = errno === 'EADDRINUSE' ? 'address_in_use' : errno === 'EACCES' || errno === 'EPERM' ? 'permission' : 'unavailable'
  return new UsherError(code, `HTTP can't be served on ${host}:${port}: ${messageOf(error)}`, { cause: error, details: { host, port, errno } })
}
