// A cluster that behaves as a test says, request by request: refuses, asks to come back later, takes a job and never answers.
// It remembers every job that it took, as often as it took it, with the bytes that came.
import { createServer } from 'node:http'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface PostedJob {
  readonly id: string
  /** The body as it came, and when. */
  readonly body: string
  readonly atMs: number
  readonly headers: IncomingMessage['headers']
}

export interface Answer {
  readonly status: number
  readonly body?: string
  readonly headers?: Readonly<Record<string, string>>
  /** Whether the job is taken; default: as the status says. */
  readonly takes?: boolean
  /** The job may be taken, the answer never comes. */
  readonly silent?: boolean
}

export class ScriptedCluster {
  readonly #server: Server
  /** Every attempt, taken or not. */
  readonly posts: PostedJob[] = []
  readonly #taken = new Map<string, number>()
  readonly #attempts = new Map<string, number>()
  /** `attempt` counts from 1. */
  onPost: (id: string, attempt: number) => Answer = () => ({ status: 200 })
  /** Status for GET url/ID; undefined: the truth. */
  onFind: (id: string) => number | undefined = () => undefined
  finds = 0

  private constructor() {
    this.#server = createServer((request, response) => void this.#answer(request, response))
  }

  static async start(): Promise<ScriptedCluster> {
    const cluster = new ScriptedCluster()
    await new Promise<void>((resolve) => cluster.#server.listen(0, '127.0.0.1', resolve))
    return cluster
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/jobs`
  }

  /** How often the job was taken. */
  times(id: string): number {
    return this.#taken.get(id) ?? 0
  }

  get taken(): ReadonlyMap<string, number> {
    return this.#taken
  }

  attempts(id: string): number {
    return this.#attempts.get(id) ?? 0
  }

  /** Takes it out of the cluster's memory, as if it had never come. */
  forget(id: string): void {
    this.#taken.delete(id)
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    request.on('error', () => undefined)
    if (request.method === 'GET') {
      const id = decodeURIComponent((request.url ?? '').replace(/^\/jobs\/?/, ''))
      if (id !== '') this.finds += 1
      const status = id === '' ? 200 : (this.onFind(id) ?? (this.times(id) > 0 ? 200 : 404))
      response.writeHead(status, { 'content-type': 'application/json' })
      response.end(status === 200 && id !== '' ? JSON.stringify({ jobId: `c-${id}` }) : '{}')
      return
    }
    let body = ''
    try {
      for await (const part of request.setEncoding('utf8')) body += part
    } catch {
      // The sender died in the middle of the request: nothing was taken.
      return
    }
    const { id } = JSON.parse(body) as { id: string }
    this.posts.push({ id, body, atMs: Date.now(), headers: request.headers })
    const attempt = this.attempts(id) + 1
    this.#attempts.set(id, attempt)
    const { status, headers, body: text, takes = status < 300, silent = false } = this.onPost(id, attempt)
    if (takes) this.#taken.set(id, this.times(id) + 1)
    if (silent || response.destroyed) return
    response.writeHead(status, { 'content-type': 'application/json', ...headers })
    response.end(text ?? (status < 300 ? JSON.stringify({ jobId: `c-${id}` }) : ''))
  }
}
