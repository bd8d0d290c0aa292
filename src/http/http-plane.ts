// HTTP for as long as the process runs, through all lives of its instances: one table of routes under one of two servers.
// Builds and wires the parts of this folder. Nothing that comes over HTTP can stop the process or keep jobs from their way.

import { messageOf, UsherError } from '../base/errors.ts'
import type { ListenAddress } from '../config/kinds.ts'
import type { LoadedConfig } from '../config/load.ts'
import type { Logger } from '../observe/log.ts'
import type { Identity } from '../store/identity.ts'
import type { Store } from '../store/store.ts'
import { effectiveConfig } from './effective-config.ts'
import type { HostView } from './host-view.ts'
import type { Metrics } from './metrics.ts'
import { NodeHttpServer } from './node-server.ts'
import { Responder } from './responder.ts'
import { routes } from './routes.ts'
import type { HttpServer, HttpServerOptions } from './server.ts'
import { ReadStore } from './store-view.ts'
import { loadUws, UwsHttpServer } from './uws-server.ts'

export interface HttpPlaneOptions {
  readonly loaded: LoadedConfig
  readonly listen: ListenAddress
  readonly store: Store
  readonly identity: Identity
  readonly metrics: Metrics
  readonly view: HostView
  readonly log: Logger
}

const closeMs = 3000
/** A bug that every request meets is logged this often at most. */
const complainEveryMs = 1000

export class HttpPlane {
  readonly #server: HttpServer
  readonly #reads: ReadStore
  /** HOST:PORT */
  readonly address: string

  private constructor(server: HttpServer, reads: ReadStore, address: string) {
    this.#server = server
    this.#reads = reads
    this.address = address
  }

  /** Resolves when it answers. Rejects where it can't listen, or the server that was asked for isn't there. */
  static async start(options: HttpPlaneOptions): Promise<HttpPlane> {
    const { loaded, listen, store, identity, metrics, view, log } = options
    const { config } = loaded
    const { connectionsMax } = config.http
    const reads = new ReadStore({
      store,
      storeUuid: identity.uuid,
      directory: config.store,
      retryMinMs: config.submit.retryMinMs,
      retryMaxMs: config.submit.retryMaxMs,
    })
    metrics.read(view, reads)
    let complainedMs = Number.NEGATIVE_INFINITY
    const responder = new Responder({
      routes,
      context: { host: view, store: reads, metrics, config: effectiveConfig(loaded) },
      listen,
      requestsMax: connectionsMax,
      onAnswer: (method, status, ms) => metrics.request(method, status, ms),
      onBug: (error) => {
        if (performance.now() - complainedMs < complainEveryMs) return
        complainedMs = performance.now()
        log.error({ err: error }, `a request over HTTP failed: ${messageOf(error)}`)
      },
    })
    const server = createServer(config.http.server, { limits: config.http, answer: (request) => responder.answer(request) }, log)
    const port = await server.listen(listen)
    const address = `${listen.host.includes(':') ? `[${listen.host}]` : listen.host}:${port}`
    log.info({ address, server: server.name }, `HTTP is answered on ${address}`)
    return new HttpPlane(server, reads, address)
  }

  /** Answers what has come, and ends. */
  async close(): Promise<void> {
    await this.#server.close(closeMs)
    await this.#reads.close()
  }
}

const createServer = (which: 'auto' | 'uwebsockets' | 'node', options: HttpServerOptions, log: Logger): HttpServer => {
  if (which === 'node') return new NodeHttpServer(options)
  const uws = loadUws(options.limits.headerBytesMax)
  if (!(uws instanceof Error)) return new UwsHttpServer(uws, options)
  const why = uws.message.split('\n')[0] ?? ''
  if (which === 'uwebsockets') throw new UsherError('unavailable', `http.server is "uwebsockets", and uWebSockets.js doesn't load: ${why}`, { cause: uws })
  log.debug(`HTTP by node:http, since uWebSockets.js doesn't load: ${why}`)
  return new NodeHttpServer(options)
}
