// The same requests to both servers, over real sockets: what comes back must not depend on which one runs, but where the
// comments say so.
import { Agent } from 'node:http'
import { connect } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { jsonAnswer, textAnswer } from '../../../src/http/answers.ts'
import { NodeHttpServer } from '../../../src/http/node-server.ts'
import type { Answer, Request } from '../../../src/http/route.ts'
import type { HttpServer, HttpServerOptions } from '../../../src/http/server.ts'
import { loadUws, UwsHttpServer } from '../../../src/http/uws-server.ts'
import { ask, sendRaw } from '../../support/http-client.ts'

const limits = { headerBytesMax: 4096, bodyBytesMax: 1000, timeoutMs: 400, idleTimeoutMs: 5000, connectionsMax: 50 }
const uws = loadUws(limits.headerBytesMax)

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup()
})

const echo = (request: Request): Promise<Answer> => Promise.resolve(jsonAnswer(200, request))

const kinds: readonly { readonly name: string; readonly create: (options: HttpServerOptions) => HttpServer; readonly skip: boolean }[] = [
  { name: 'node:http', create: (options) => new NodeHttpServer(options), skip: false },
  { name: 'uWebSockets.js', create: (options) => new UwsHttpServer(uws as Exclude<typeof uws, Error>, options), skip: uws instanceof Error },
]

it('uWebSockets.js loads on the versions of Node that it has a binary for', () => {
  const [major = 0] = process.versions.node.split('.').map(Number)
  if ([16, 18, 20].includes(major)) expect(uws).not.toBeInstanceOf(Error)
  expect(process.env['UWS_HTTP_MAX_HEADERS_SIZE']).toBeUndefined()
})

describe.each(kinds)('$name', ({ name, create, skip }) => {
  const isNode = name === 'node:http'

  const serve = async (answer: HttpServerOptions['answer'] = echo, more: Partial<typeof limits> = {}): Promise<{ port: number; server: HttpServer }> => {
    const server = create({ limits: { ...limits, ...more }, answer })
    const port = await server.listen({ host: '127.0.0.1', port: 0 })
    cleanups.push(() => server.close(100))
    return { port, server }
  }

  it.skipIf(skip)('answers with status, headers and body', async () => {
    const { port } = await serve()
    const { status, headers, body } = await ask(port, '/a%2Fb?c=d&e=%20', { headers: { host: 'localhost:1' } })
    expect(status).toBe(200)
    expect(headers).toMatchObject({ 'content-type': 'application/json; charset=utf-8', 'cache-control': 'no-store', 'content-length': String(body.length) })
    expect(JSON.parse(body)).toEqual({ method: 'GET', path: '/a%2Fb', query: 'c=d&e=%20', host: 'localhost:1' })
  })

  it.skipIf(skip)('answers HEAD with the length of what GET would have', async () => {
    const { port } = await serve(() => Promise.resolve(textAnswer(200, 'twelve bytes')))
    const expected = /^HTTP\/1\.1 200 OK\r\n(?:.+\r\n)*content-length: 12\r\n(?:.+\r\n)*\r\n/i
    const reply = await sendRaw(port, 'HEAD / HTTP/1.1\r\nhost: a\r\n\r\nHEAD / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n')
    const rest = reply.replace(expected, '')
    expect(rest).toMatch(expected)
    expect(rest.replace(expected, '')).toBe('')
  })

  it.skipIf(skip)('keeps a connection for many requests, whatever their answers', async () => {
    const { port } = await serve((request) => Promise.resolve(jsonAnswer(request.path === '/0' ? 500 : 200, {})))
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    cleanups.push(() => agent.destroy())
    const sockets = new Set<unknown>()
    agent.on('free', (socket) => sockets.add(socket))
    for (let nth = 0; nth < 5; nth += 1) expect((await ask(port, `/${nth}`, { agent })).status).toBe(nth === 0 ? 500 : 200)
    expect(sockets.size).toBe(1)
  })

  it.skipIf(skip)('reads away a body that is not too large, and answers after it', async () => {
    const { port } = await serve()
    expect(await ask(port, '/', { method: 'POST', body: 'x'.repeat(1000) })).toMatchObject({ status: 200 })
    const chunked = 'POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n3\r\nabc\r\n0\r\n\r\n'
    expect(await sendRaw(port, chunked)).toMatch(/^HTTP\/1\.1 200 /)
  })

  it.skipIf(skip)('refuses a body that is too large, announced or not, and closes', async () => {
    const { port } = await serve()
    const announced = await sendRaw(port, `POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1001\r\n\r\n`)
    const chunked = await sendRaw(port, `POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n${'ff\r\n'.concat('x'.repeat(255), '\r\n').repeat(5)}`)
    for (const reply of [announced, chunked]) {
      expect(reply).toMatch(/^HTTP\/1\.1 413 /)
      expect(reply).toContain('"code":"request_too_large"')
    }
  })

  it.skipIf(skip)('cuts off a body that does not come', async () => {
    const { port } = await serve()
    const reply = await sendRaw(port, 'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nabc')
    expect(reply).toMatch(/^HTTP\/1\.1 408 /)
    expect(reply).toContain('"code":"request_timeout"')
  })

  // The time of uWebSockets.js is its own, 10 s, and it says nothing.
  it.skipIf(skip || !isNode)('cuts off a head that does not come', async () => {
    const { port } = await serve()
    expect(await sendRaw(port, 'GET / HTTP/1.1\r\nhost: a\r\n')).toMatch(/^HTTP\/1\.1 408 [^]*"code":"request_timeout"/)
  })

  it.skipIf(skip)('refuses a head that is too large', async () => {
    const { port } = await serve()
    expect(await sendRaw(port, `GET / HTTP/1.1\r\nhost: a\r\nx: ${'y'.repeat(64 * 1024)}\r\n\r\n`)).toMatch(/^HTTP\/1\.1 431 /)
  })

  it.skipIf(skip)('survives what is no HTTP, and goes on', async () => {
    const { port } = await serve()
    for (const text of ['\0\0\0\0\r\n\r\n', 'GET\r\n\r\n', 'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: x\r\n\r\n', 'GET / HTTP/9.9\r\n\r\n']) {
      expect(await sendRaw(port, text)).toMatch(/^HTTP\/1\.1 (400|505) /)
    }
    expect((await ask(port, '/')).status).toBe(200)
  })

  it.skipIf(skip)('lets go of a request whose client is gone', async () => {
    let open: () => void = () => undefined
    let asked: () => void = () => undefined
    const gate = new Promise<void>((resolve) => (open = resolve))
    const wasAsked = new Promise<void>((resolve) => (asked = resolve))
    const { port } = await serve(async (request) => {
      if (request.path === '/slow') {
        asked()
        await gate
      }
      return jsonAnswer(200, {})
    })
    const socket = connect({ host: '127.0.0.1', port }, () => socket.write('GET /slow HTTP/1.1\r\nhost: a\r\n\r\n'))
    await wasAsked
    const closed = new Promise((resolve) => socket.once('close', resolve))
    socket.resetAndDestroy()
    await closed
    // Served after the reset has been seen.
    expect((await ask(port, '/')).status).toBe(200)
    open()
    expect((await ask(port, '/')).status).toBe(200)
  })

  it.skipIf(skip)('finishes what it answers before it ends, and takes nothing new', async () => {
    let open: () => void = () => undefined
    let asked: () => void = () => undefined
    const gate = new Promise<void>((resolve) => (open = resolve))
    const wasAsked = new Promise<void>((resolve) => (asked = resolve))
    const { port, server } = await serve(async () => {
      asked()
      await gate
      return textAnswer(200, 'late')
    })
    const late = sendRaw(port, 'GET / HTTP/1.1\r\nhost: a\r\n\r\n')
    await wasAsked
    const closed = server.close(5000)
    await expect(ask(port, '/')).rejects.toThrow(/ECONNREFUSED/)
    open()
    expect(await late).toMatch(/^HTTP\/1\.1 200 [^]*connection: close[^]*late$/i)
    await closed
  })

  it.skipIf(skip)('ends in time though an answer does not', async () => {
    let asked: () => void = () => undefined
    const wasAsked = new Promise<void>((resolve) => (asked = resolve))
    const { port, server } = await serve(() => {
      asked()
      return new Promise(() => undefined)
    })
    const cut = sendRaw(port, 'GET / HTTP/1.1\r\nhost: a\r\n\r\n')
    await wasAsked
    await server.close(50)
    expect(await cut).toBe('')
  })

  it.skipIf(skip)('says whose address it is when that is taken', async () => {
    const { port } = await serve()
    const second = create({ limits, answer: echo })
    await expect(second.listen({ host: '127.0.0.1', port })).rejects.toMatchObject({ code: 'address_in_use' })
  })
})
