// From a request to its answer, whatever becomes of it: bounds how many are answered at a time, refuses hosts that this
// is not, finds the route, and turns whatever a route throws into an answer. Never rejects.

import type { ListenAddress } from '../config/kinds.ts'
import { isLoopback } from '../config/kinds.ts'
import { answerOfError, commonHeaders, errorAnswer } from './answers.ts'
import { findRoute } from './route.ts'
import type { Answer, Request, Route } from './route.ts'

export interface ResponderOptions<Context> {
  readonly routes: readonly Route<Context>[]
  readonly context: Context
  readonly listen: ListenAddress
  /** Answered at a time. */
  readonly requestsMax: number
  readonly onAnswer: (method: string, status: number, ms: number) => void
  readonly onBug: (error: unknown) => void
}

const methods: ReadonlySet<string> = new Set(['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS'])

/** The name in a Host header, without port and brackets; null where it is none. */
const hostIn = (header: string): string | null => /^(?:\[([0-9A-Fa-f:.]+)\]|([^:[\]\s]+))(?::\d{1,5})?$/.exec(header)?.slice(1).find((part) => part !== undefined) ?? null

export class Responder<Context> {
  readonly #options: ResponderOptions<Context>
  #answering = 0

  constructor(options: ResponderOptions<Context>) {
    this.#options = options
  }

  get answering(): number {
    return this.#answering
  }

  async answer(request: Request): Promise<Answer> {
    const began = performance.now()
    this.#answering += 1
    let answer: Answer
    try {
      answer = await this.#find(request)
    } catch (error) {
      answer = answerOfError(error, this.#options.onBug)
    } finally {
      this.#answering -= 1
    }
    // What a client calls its method must not become a label.
    this.#options.onAnswer(methods.has(request.method) ? request.method : 'other', answer.status, performance.now() - began)
    return { ...answer, headers: { ...commonHeaders, ...answer.headers } }
  }

  async #find({ method, path, query, host }: Request): Promise<Answer> {
    const { routes, context, listen, requestsMax } = this.#options
    if (this.#answering > requestsMax) return errorAnswer('unavailable', `this host answers ${requestsMax} requests already`, { 'retry-after': '1' })
    // A page of the web that has its own name point to this machine must not read what is here through a browser.
    const name = hostIn(host)
    if (name === null || !(isLoopback(name) || name === listen.host)) {
      return errorAnswer('host_unknown', 'the Host header must name loopback: a reverse proxy sets it to the address that it forwards to')
    }
    const found = findRoute(routes, method, path)
    if (found.kind === 'none') return errorAnswer('not_found', 'nothing is at this address; /openapi.json says what there is')
    if (found.kind === 'method') {
      return errorAnswer('method_not_allowed', `allowed here: ${found.allow.join(', ')}`, { allow: found.allow.join(', ') })
    }
    return found.route.handle({ context, path: found.path, query: new URLSearchParams(query) })
  }
}
