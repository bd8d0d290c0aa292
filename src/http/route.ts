// What a route is, and which one a request means. The table is data: both servers, the answers to wrong methods and the
// description in openapi.json come from it. Knows nothing of sockets.

import type { z } from 'zod'

/** Who may ask. There is no authentication yet; `none` will need none then, either. */
export type Role = 'none' | 'read'

export interface Request {
  /** In capitals. HEAD is asked as GET, and answered without the body. */
  readonly method: string
  /** Without the query; as it came, percent signs and all. */
  readonly path: string
  /** Without the question mark; '' for none. */
  readonly query: string
  /** The Host header; '' for none. */
  readonly host: string
}

export interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: Buffer
}

/** What a route says it answers, by status. */
export interface Described {
  readonly description: string
  /** Of a JSON body; absent: `type` says what the body is. */
  readonly schema?: z.ZodType
  readonly type?: string
}

export interface Parameter {
  readonly in: 'path' | 'query'
  readonly name: string
  readonly description: string
  readonly schema: Readonly<Record<string, unknown>>
}

export interface Asked<Context> {
  readonly context: Context
  /** By the names in the path's braces. */
  readonly path: Readonly<Record<string, string>>
  readonly query: URLSearchParams
}

export interface Route<Context> {
  readonly method: 'GET'
  /** `{name}` stands for one part of the path. */
  readonly path: string
  readonly role: Role
  readonly summary: string
  readonly parameters?: readonly Parameter[]
  /** Beside the errors that any route may answer. */
  readonly answers: Readonly<Record<number, Described>>
  readonly handle: (asked: Asked<Context>) => Answer | Promise<Answer>
}

/** The values of the braces; null: the path is another. */
const matchPath = (pattern: string, path: string): Record<string, string> | null => {
  const wanted = pattern.split('/')
  const parts = path.split('/')
  if (wanted.length !== parts.length) return null
  const values: Record<string, string> = {}
  for (const [index, want] of wanted.entries()) {
    const part = parts[index] ?? ''
    if (want.startsWith('{')) values[want.slice(1, -1)] = part
    else if (want !== part) return null
  }
  return values
}

export type Found<Context> =
  | { readonly kind: 'route'; readonly route: Route<Context>; readonly path: Readonly<Record<string, string>> }
  /** There is something at this path, for these methods. */
  | { readonly kind: 'method'; readonly allow: readonly string[] }
  | { readonly kind: 'none' }

export const findRoute = <Context>(table: readonly Route<Context>[], method: string, path: string): Found<Context> => {
  const wanted = method === 'HEAD' ? 'GET' : method
  const allow = new Set<string>()
  for (const route of table) {
    const values = matchPath(route.path, path)
    if (values === null) continue
    if (route.method === wanted) return { kind: 'route', route, path: values }
    allow.add(route.method).add('HEAD')
  }
  return allow.size === 0 ? { kind: 'none' } : { kind: 'method', allow: [...allow] }
}
