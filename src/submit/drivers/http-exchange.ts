// One HTTP request and what is certain about it: over kept-alive sockets, several at a time. It tells apart a
// request of which no byte can have left (`unsent`) from one that may have been acted upon (`unanswered`), and it
// never repeats a request by itself: whether that is safe is the driver's to know.
import http from 'node:http'
import https from 'node:https'
import type { Socket } from 'node:net'
import { messageOf, UsherError } from '../../base/errors.ts'

export type Exchange =
  | { readonly kind: 'answer'; readonly status: number; readonly headers: http.IncomingHttpHeaders; readonly body: string }
  /** No connection came about: the request can't have had any effect. */
  | { readonly kind: 'unsent'; readonly reason: string }
  /** The request was begun and no whole answer came: it may have taken effect, or may yet. */
  | { readonly kind: 'unanswered'; readonly reason: string }

export interface HttpRequest {
  readonly method: 'GET' | 'POST'
  /** Path and query, already encoded. */
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body?: string
  /** A time-out of its own; default the channel's. */
  readonly timeoutMs?: number
  /** Takes the body of a 2xx answer as it comes, instead of having it collected. */
  readonly onData?: (chunk: Buffer) => void
}

/** Sets a socket so that closing it, or dying, discards what is queued: `native.abortOnClose`. */
export type AbortOnClose = (fd: number) => void

/** Loaded on first use, so that drivers without sockets don't need the addon. */
const nativeAbortOnClose = async (): Promise<AbortOnClose> => {
  const { native } = await import('../../base/native.ts')
  return (fd) => native.abortOnClose(fd)
}

/** The part of the URL's meaning that http.request takes: a host, or a unix socket. */
const endpointOf = (url: string): { secure: boolean; options: http.RequestOptions; basePath: string } => {
  if (url.startsWith('unix:')) {
    const socketPath = url.slice('unix:'.length).replace(/^\/\/(?=\/)/, '')
    return { secure: false, options: { socketPath, host: 'localhost' }, basePath: '' }
  }
  const parsed = URL.parse(url)
  if (parsed === null || !/^https?:$/.test(parsed.protocol)) {
    throw new UsherError('config_invalid', `'${url}' is neither unix:/path nor http://host nor https://host`)
  }
  const options: http.RequestOptions = { hostname: parsed.hostname.replace(/^\[|\]$/g, ''), port: parsed.port }
  if (parsed.username !== '') options.auth = `${decodeURIComponent(parsed.username)}:${decodeURIComponent(parsed.password)}`
  return { secure: parsed.protocol === 'https:', options, basePath: parsed.pathname.replace(/\/+$/, '') + parsed.search }
}

export class HttpExchange {
  /** The path of the URL, without a slash at its end; empty for a unix socket. */
  readonly basePath: string
  readonly #secure: boolean
  readonly #options: http.RequestOptions
  readonly #agent: http.Agent
  readonly #timeoutMs: number
  readonly #answerBytesMax: number
  #abortOnClose: AbortOnClose | undefined

  constructor(
    url: string,
    options: { socketsMax: number; timeoutMs: number; answerBytesMax?: number; abortOnClose?: AbortOnClose },
  ) {
    const endpoint = endpointOf(url)
    this.basePath = endpoint.basePath
    this.#secure = endpoint.secure
    this.#options = endpoint.options
    this.#timeoutMs = options.timeoutMs
    this.#answerBytesMax = options.answerBytesMax ?? 16 * 1024 * 1024
    this.#abortOnClose = options.abortOnClose
    const agentOptions = {
      keepAlive: true,
      maxSockets: options.socketsMax,
      maxFreeSockets: options.socketsMax,
      scheduling: 'lifo' as const,
    }
    this.#agent = endpoint.secure ? new https.Agent(agentOptions) : new http.Agent(agentOptions)
  }

  async exchange(request: HttpRequest, signal?: AbortSignal): Promise<Exchange> {
    if (signal?.aborted === true) return { kind: 'unsent', reason: 'given up before it was sent' }
    const abortOnClose = (this.#abortOnClose ??= await nativeAbortOnClose())
    return new Promise((resolve) => {
      try {
        this.#begin(request, signal, abortOnClose, resolve)
      } catch (error) {
        // node checks headers and path before it asks for a socket: a line feed in a token, say.
        resolve({ kind: 'unsent', reason: messageOf(error) })
      }
    })
  }

  #begin(
    request: HttpRequest,
    signal: AbortSignal | undefined,
    abortOnClose: AbortOnClose,
    resolve: (result: Exchange) => void,
  ): void {
    // From the moment a socket is connected, node may write the request to it; before that it can't.
    let begun = false
    let settled = false
    const finish = (result: Exchange): void => {
      if (settled) return
      settled = true
      clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
      resolve(result)
    }
    const fail = (reason: string): void => {
      finish({ kind: begun ? 'unanswered' : 'unsent', reason })
      outgoing.destroy()
    }
    const onAbort = (): void => fail('given up')
    const headers: http.OutgoingHttpHeaders = { ...request.headers }
    if (request.body !== undefined) headers['content-length'] = Buffer.byteLength(request.body)
    const outgoing = (this.#secure ? https : http).request({
      ...this.#options,
      agent: this.#agent,
      method: request.method,
      path: request.path,
      headers,
    })
    const timeoutMs = request.timeoutMs ?? this.#timeoutMs
    const timer = setTimeout(() => fail(`no answer within ${timeoutMs / 1000} s`), timeoutMs)
    signal?.addEventListener('abort', onAbort, { once: true })

    outgoing.on('socket', (socket) => {
      if (!socket.connecting) {
        begun = true
        return
      }
      // Handlers run in the order of their registration: this one before node's own, which flushes the request.
      socket.prependOnceListener('connect', () => {
        try {
          abortOnClose(fdOf(socket))
        } catch (error) {
          // A socket that couldn't be set to abort must not carry a submission that could arrive after our death.
          fail(`the socket can't be set to abort: ${messageOf(error)}`)
          return
        }
        if (!this.#secure) begun = true
      })
      if (this.#secure) socket.prependOnceListener('secureConnect', () => (begun = true))
    })
    outgoing.on('error', (error) =>
      fail(messageOf(error) === '' ? String((error as NodeJS.ErrnoException).code) : messageOf(error)),
    )
    outgoing.on('response', (response) => {
      const stream = request.onData !== undefined && (response.statusCode ?? 0) >= 200 && (response.statusCode ?? 0) < 300
      const chunks: Buffer[] = []
      let bytes = 0
      response.on('data', (chunk: Buffer) => {
        if (settled) return
        if (stream) return request.onData?.(chunk)
        bytes += chunk.length
        if (bytes > this.#answerBytesMax) return fail(`the answer is larger than ${this.#answerBytesMax} bytes`)
        chunks.push(chunk)
      })
      response.on('error', (error) => fail(messageOf(error)))
      response.on('aborted', () => fail('the connection broke within the answer'))
      response.on('end', () => {
        if (!response.complete) return fail('the connection broke within the answer')
        finish({
          kind: 'answer',
          status: response.statusCode ?? 0,
          headers: response.headers,
          body: Buffer.concat(chunks).toString('utf8'),
        })
      })
    })
    outgoing.end(request.body)
  }

  close(): void {
    this.#agent.destroy()
  }
}

/** The descriptor under a socket. Node has no public name for it; without one the request must not be sent. */
const fdOf = (socket: Socket): number => {
  const fd = (socket as unknown as { _handle?: { fd?: unknown } })._handle?.fd
  if (typeof fd !== 'number' || fd < 0) throw new UsherError('internal', 'the socket has no descriptor')
  return fd
}

/** Milliseconds that a Retry-After header asks for (seconds or a date), at most an hour. */
export const retryAfterMs = (headers: http.IncomingHttpHeaders, nowMs: number): number | undefined => {
  const value = headers['retry-after']
  if (value === undefined) return undefined
  const ms = /^\d+$/.test(value.trim()) ? Number(value) * 1000 : Date.parse(value) - nowMs
  return Number.isFinite(ms) ? Math.min(Math.max(ms, 0), 3_600_000) : undefined
}
