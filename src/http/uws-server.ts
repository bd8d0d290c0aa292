// Requests by uWebSockets.js, an optional package whose binary loads on some versions of Node and machines alone. Heads are
// bounded by the package itself (16 KiB where not told otherwise when it loads), as is time: it closes a connection that
// sends no whole head, or nothing, for 10 s, without a word.
//
// Its objects may not be touched after a request was aborted, and answers must be corked.

import { createRequire } from 'node:module'
import { STATUS_CODES } from 'node:http'
import { UsherError } from '../base/errors.ts'
import { proveFree } from '../base/free-port.ts'
import type { ListenAddress } from '../config/kinds.ts'
import { commonHeaders, errorAnswer } from './answers.ts'
import type { Answer } from './route.ts'
import { httpListenError, targetOf } from './server.ts'
import type { HttpServer, HttpServerOptions } from './server.ts'

/** As much of the package as is used: its own types are only there where it is installed. */
interface UwsRequest {
  getCaseSensitiveMethod(): string
  getUrl(): string
  getQuery(): string | undefined
  getHeader(name: string): string
  forEach?(visit: (name: string, value: string) => void): void
  forEachHeader?(visit: (name: string, value: string) => void): void
}
interface UwsResponse {
  onAborted(handler: () => void): void
  onData(handler: (chunk: ArrayBuffer, isLast: boolean) => void): void
  cork(work: () => void): void
  writeStatus(status: string): void
  writeHeader(name: string, value: string): void
  end(body: Buffer, closeConnection: boolean): void
  endWithoutBody(): void
  close(): void
}
type ListenToken = object | false
interface UwsApp {
  any(pattern: string, handler: (response: UwsResponse, request: UwsRequest) => void): UwsApp
  listen(host: string, port: number, options: number, done: (token: ListenToken) => void): UwsApp
  close(): void
}
/** Republished builds and those of the project call some functions by other names. */
export interface Uws {
  App(): UwsApp
  getSocketPort?(token: object): number
  us_socket_local_port?(token: object): number
  closeSocket?(token: object): void
  us_listen_socket_close?(token: object): void
  readonly LIBUS_LISTEN_EXCLUSIVE_PORT: number
}

/** The package, or why it can't be had. */
export const loadUws = (headerBytesMax: number): Uws | Error => {
  // It looks there while it loads, once for the process; what usher starts is not to inherit it.
  const variable = 'UWS_HTTP_MAX_HEADERS_SIZE'
  const before = process.env[variable]
  process.env[variable] = String(headerBytesMax)
  try {
    return createRequire(import.meta.url)('uWebSockets.js') as Uws
  } catch (error) {
    // Not installed, or no binary of it fits: the caller has another server.
    return error instanceof Error ? error : new Error(String(error))
  } finally {
    if (before === undefined) delete process.env[variable]
    else process.env[variable] = before
  }
}

const closeListener = (uws: Uws, token: object): void => {
  if (uws.closeSocket === undefined) uws.us_listen_socket_close?.(token)
  else uws.closeSocket(token)
}

/** About what it came as. The package itself bounds only what comes in several pieces. */
const headSize = (request: UwsRequest): number => {
  let bytes = request.getUrl().length + (request.getQuery() ?? '').length
  const add = (name: string, value: string): void => {
    bytes += name.length + value.length + 4
  }
  if (request.forEachHeader === undefined) request.forEach?.(add)
  else request.forEachHeader(add)
  return bytes
}

export class UwsHttpServer implements HttpServer {
  readonly name = 'uWebSockets.js'
  readonly #uws: Uws
  readonly #options: HttpServerOptions
  readonly #app: UwsApp
  #token: object | null = null
  #open = 0
  #closing = false
  #onIdle: () => void = () => undefined

  constructor(uws: Uws, options: HttpServerOptions) {
    this.#uws = uws
    this.#options = options
    this.#app = uws.App().any('/*', (response, request) => this.#hear(response, request))
  }

  async listen(address: ListenAddress): Promise<number> {
    await proveFree(address, (error) => httpListenError(error, address))
    const { host, port } = address
    return new Promise((resolve, reject) => {
      this.#app.listen(host, port, this.#uws.LIBUS_LISTEN_EXCLUSIVE_PORT, (token) => {
        if (token === false) {
          reject(new UsherError('unavailable', `HTTP can't be served on ${host}:${port}`))
          return
        }
        this.#token = token
        resolve(this.#uws.getSocketPort?.(token) ?? this.#uws.us_socket_local_port?.(token) ?? port)
      })
    })
  }

  async close(withinMs: number): Promise<void> {
    this.#closing = true
    if (this.#token !== null) closeListener(this.#uws, this.#token)
    this.#token = null
    if (this.#open > 0) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, withinMs)
        this.#onIdle = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
    this.#app.close()
  }

  #hear(response: UwsResponse, request: UwsRequest): void {
    const { headerBytesMax, bodyBytesMax, timeoutMs } = this.#options.limits
    const method = request.getCaseSensitiveMethod()
    const target = targetOf(request.getUrl())
    const query = request.getQuery() ?? ''
    const host = request.getHeader('host')
    const declared = Number(request.getHeader('content-length') || 0)
    const headBytes = headSize(request)
    const hasBody = declared > 0 || request.getHeader('transfer-encoding') !== ''
    let state: 'open' | 'answering' | 'over' = 'open'
    let timer: NodeJS.Timeout | null = null
    this.#open += 1
    const over = (): void => {
      if (state === 'over') return
      state = 'over'
      if (timer !== null) clearTimeout(timer)
      this.#open -= 1
      if (this.#open === 0) this.#onIdle()
    }
    const write = ({ status, headers, body }: Answer, last: boolean): void => {
      if (state === 'over') return
      over()
      response.cork(() => {
        response.writeStatus(`${status} ${STATUS_CODES[status] ?? ''}`)
        for (const [name, value] of Object.entries({ ...commonHeaders, ...headers })) response.writeHeader(name, value)
        if (method === 'HEAD') {
          // Told the length as an argument, it waits for a body for ever.
          response.writeHeader('content-length', String(body.length))
          response.endWithoutBody()
        } else response.end(body, last || this.#closing)
      })
    }
    const answer = async (): Promise<void> => {
      if (state !== 'open') return
      state = 'answering'
      if (timer !== null) clearTimeout(timer)
      if (target === null) write(errorAnswer('input_invalid', 'the target of the request is no path'), false)
      else write(await this.#options.answer({ method, path: target.path, query, host }), false)
    }
    const tooLarge = (): void => write(errorAnswer('request_too_large', `a body may have ${bodyBytesMax} bytes`), true)
    response.onAborted(over)
    if (headBytes > headerBytesMax) {
      write({ ...errorAnswer('request_too_large', 'the head of the request is too large'), status: 431 }, true)
      return
    }
    if (!hasBody) {
      void answer()
      return
    }
    if (declared > bodyBytesMax) {
      tooLarge()
      return
    }
    // No route takes a body: what comes is read away, as far as it may be long.
    timer = setTimeout(() => write(errorAnswer('request_timeout', 'the request was not complete in time'), true), timeoutMs)
    let bytes = 0
    response.onData((chunk, isLast) => {
      bytes += chunk.byteLength
      if (bytes > bodyBytesMax) tooLarge()
      else if (isLast) void answer()
    })
  }
}
