// A cluster that counts: an HTTP server which takes every job it is sent, as often as it is sent, and remembers. It is not
// idempotent on purpose: a job that arrives twice is counted twice.
import { createServer } from 'node:http'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface Taken {
  readonly id: string
  readonly term: number
  readonly host: string
  readonly instance: string
  readonly spec: { readonly arguments?: readonly string[] }
  /** When it came, by this process's wall clock. */
  readonly atMs: number
}

export class Sink {
  readonly taken = new Map<string, Taken[]>()
  readonly #server: Server
  /** How long after it took a job (of a batch: the first) it answers, in ms. */
  delayMs: (id: string) => number = () => 0
  /** What it answers instead of taking the job; undefined: it takes it. */
  refuse: (id: string) => number | undefined = () => undefined
  /** Whoever doesn't show it is answered 401. Null: anybody may. */
  token: string | null = null
  #jobs = 0

  private constructor() {
    this.#server = createServer((request, response) => void this.#answer(request, response))
  }

  static async start(): Promise<Sink> {
    const sink = new Sink()
    await new Promise<void>((resolve) => sink.#server.listen(0, '127.0.0.1', resolve))
    return sink
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/jobs`
  }

  get count(): number {
    return this.#jobs
  }

  get twice(): string[] {
    return [...this.taken].filter(([, list]) => list.length > 1).map(([id]) => id)
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    request.on('error', () => undefined)
    if (this.token !== null && request.headers.authorization !== `Bearer ${this.token}`) {
      response.writeHead(401, { 'content-type': 'application/json', connection: 'close' })
      response.end('{"error":"who are you?"}')
      return
    }
    if (request.method === 'GET') {
      const id = (request.url ?? '').replace(/^\/jobs\/?/, '')
      const found = id === '' ? undefined : this.taken.get(decodeURIComponent(id))
      response.writeHead(id === '' || found !== undefined ? 200 : 404, { 'content-type': 'application/json' })
      response.end(found === undefined ? '{}' : JSON.stringify({ jobId: `sink-${id}` }))
      return
    }
    let text = ''
    try {
      for await (const part of request.setEncoding('utf8')) text += part
    } catch {
      // The sender died in the middle of the request: nothing was taken.
      return
    }
    const atMs = Date.now()
    const answers: string[] = []
    const taking: string[] = []
    let status = 200
    for (const line of text.trim().split('\n')) {
      const job: Taken = { ...(JSON.parse(line) as Taken), atMs }
      const refused = this.refuse(job.id)
      if (refused !== undefined) {
        status = refused
        continue
      }
      this.#jobs += 1
      taking.push(job.id)
      const list = this.taken.get(job.id)
      if (list === undefined) this.taken.set(job.id, [job])
      else list.push(job)
      answers.push(JSON.stringify({ jobId: `sink-${job.id}` }))
    }
    const delay = this.delayMs(taking[0] ?? '')
    if (delay > 0) await new Promise((resolve) => setTimeout(resolve, delay))
    if (response.destroyed) return
    response.writeHead(status, { 'content-type': 'application/json' })
    response.end(answers.join('\n'))
  }
}
