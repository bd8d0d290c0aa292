// Requests by node:http, which is everywhere. Its own limits bound heads, time and connections; bodies are counted here.

import { createServer } from 'node:http'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Code } from '../base/errors.ts'
import type { ListenAddress } from '../config/kinds.ts'
import { commonHeaders, errorAnswer } from './answers.ts'
import type { Answer } from './route.ts'
import { httpListenError, targetOf } from './server.ts'
import type { HttpServer, HttpServerOptions } from './server.ts'

export class NodeHttpServer implements HttpServer {
  readonly name = 'node:http'
  readonly #options: HttpServerOptions
  readonly #server: Server
  #closing = false

  constructor(options: HttpServerOptions) {
    this.#options = options
    const { headerBytesMax, timeoutMs, idleTimeoutMs, connectionsMax } = options.limits
    this.#server = createServer(
      {
        maxHeaderSize: headerBytesMax,
        headersTimeout: timeoutMs,
        requestTimeout: timeoutMs,
        keepAliveTimeout: idleTimeoutMs,
        connectionsCheckingInterval: Math.min(1000, timeoutMs / 4),
        noDelay: true,
        // Without one the request is refused as any other that names no host that this is.
        requireHostHeader: false,
      },
      (request, response) => void this.#hear(request, response),
    )
    this.#server.maxConnections = connectionsMax
    this.#server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => {
      if (Number(request.headers['content-length'] ?? 0) <= options.limits.bodyBytesMax) response.writeContinue()
      void this.#hear(request, response)
    })
    this.#server.on('clientError', refuse)
  }

  async listen(address: ListenAddress): Promise<number> {
    await new Promise<void>((resolve, reject) => {
      const fail = (error: unknown): void => reject(httpListenError(error, address))
      this.#server.once('error', fail)
      this.#server.listen({ host: address.host, port: address.port }, () => {
        this.#server.off('error', fail)
        resolve()
      })
    })
    return (this.#server.address() as AddressInfo).port
  }

  async close(withinMs: number): Promise<void> {
    this.#closing = true
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    this.#server.closeIdleConnections()
    const timer = setTimeout(() => this.#server.closeAllConnections(), withinMs)
    await closed
    clearTimeout(timer)
  }

  async #hear(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const target = targetOf(request.url ?? '')
    const method = request.method ?? ''
    const complete = await this.#drain(request)
    // Its connection is gone, or has been answered by clientError.
    if (complete === 'aborted') return
    const answer =
      complete === 'too large' ? errorAnswer('request_too_large', `a body may have ${this.#options.limits.bodyBytesMax} bytes`)
      : target === null ? errorAnswer('input_invalid', 'the target of the request is no path')
      : await this.#options.answer({ method, ...target, host: request.headers.host ?? '' })
    write(response, method, answer, this.#closing || complete === 'too large')
  }

  /** No route takes a body: what comes is read away, as far as it may be long. */
  async #drain(request: IncomingMessage): Promise<'whole' | 'too large' | 'aborted'> {
    const { bodyBytesMax } = this.#options.limits
    const declared = request.headers['content-length']
    if (Number(declared ?? 0) > bodyBytesMax) return 'too large'
    if (Number(declared ?? 0) === 0 && request.headers['transfer-encoding'] === undefined) return 'whole'
    let bytes = 0
    try {
      for await (const chunk of request.iterator({ destroyOnReturn: false })) {
        bytes += (chunk as Buffer).length
        if (bytes > bodyBytesMax) return 'too large'
      }
      return 'whole'
    } catch {
      // Cut off by its sender, or for being too slow.
      return 'aborted'
    }
  }
}

const write = (response: ServerResponse, method: string, { status, headers, body }: Answer, last: boolean): void => {
  if (response.destroyed) return
  response.writeHead(status, { ...commonHeaders, ...headers, 'content-length': body.length, ...(last ? { connection: 'close' } : {}) })
  response.end(method === 'HEAD' ? undefined : body)
}

const codeOf = (errno: string | undefined): { code: Code; status: string; message: string } => {
  if (errno === 'HPE_HEADER_OVERFLOW') return { code: 'request_too_large', status: '431 Request Header Fields Too Large', message: 'the head of the request is too large' }
  if (errno === 'ERR_HTTP_REQUEST_TIMEOUT') return { code: 'request_timeout', status: '408 Request Timeout', message: 'the request was not complete in time' }
  return { code: 'input_invalid', status: '400 Bad Request', message: 'this is no HTTP request' }
}

/** What can't be a request is told so, as far as its sender still listens, and cut off. */
const refuse = (error: Error & { code?: string }, socket: Duplex): void => {
  if (!socket.writable || error.code === 'ECONNRESET') {
    socket.destroy()
    return
  }
  const { code, status, message } = codeOf(error.code)
  const { body } = errorAnswer(code, message)
  const head = `HTTP/1.1 ${status}\r\ncontent-type: application/json; charset=utf-8\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n`
  socket.end(Buffer.concat([Buffer.from(head), body]), () => socket.destroy())
}
