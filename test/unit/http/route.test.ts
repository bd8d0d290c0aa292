// Which route a request means, and what becomes of requests that mean none or whose handler fails.
import { describe, expect, it } from 'vitest'
import { UsherError } from '../../../src/base/errors.ts'
import { jsonAnswer } from '../../../src/http/answers.ts'
import { Responder } from '../../../src/http/responder.ts'
import { findRoute } from '../../../src/http/route.ts'
import type { Answer, Request, Route } from '../../../src/http/route.ts'
import { routes } from '../../../src/http/routes.ts'
import { targetOf } from '../../../src/http/server.ts'

const route = (path: string, handle: Route<string>['handle'] = () => jsonAnswer(200, {})): Route<string> => ({
  method: 'GET',
  path,
  role: 'none',
  summary: '',
  answers: {},
  handle,
})

const responder = (table: readonly Route<string>[], requestsMax = 2) => {
  const bugs: unknown[] = []
  const answered: [string, number][] = []
  const made = new Responder({
    routes: table,
    context: 'context',
    listen: { host: '127.0.0.1', port: 0 },
    requestsMax,
    onAnswer: (method, status) => answered.push([method, status]),
    onBug: (error) => bugs.push(error),
  })
  const get = (path: string, more: Partial<Request> = {}): Promise<Answer> => made.answer({ method: 'GET', path, query: '', host: '127.0.0.1:7401', ...more })
  return { get, bugs, answered }
}

const errorIn = ({ status, body }: Answer): [number, string] => [status, (JSON.parse(body.toString()) as { error: { code: string } }).error.code]

describe('the table of routes', () => {
  it('finds a route by method and path, and values in the path', () => {
    const table = [route('/a'), route('/a/{id}'), route('/a/{id}/b')]
    expect(findRoute(table, 'GET', '/a')).toMatchObject({ kind: 'route', path: {} })
    expect(findRoute(table, 'HEAD', '/a/x%2Fy')).toMatchObject({ kind: 'route', path: { id: 'x%2Fy' } })
    expect(findRoute(table, 'GET', '/a/x/b')).toMatchObject({ kind: 'route', path: { id: 'x' } })
    expect(findRoute(table, 'POST', '/a/x')).toEqual({ kind: 'method', allow: ['GET', 'HEAD'] })
    for (const path of ['', '/', '/A', '/a/x/b/', '//a', '/a/x/c']) expect(findRoute(table, 'GET', path)).toEqual({ kind: 'none' })
  })

  it('has each path once', () => {
    const paths = routes.map(({ method, path }) => `${method} ${path}`)
    expect(new Set(paths).size).toBe(paths.length)
    expect(paths.length).toBeGreaterThan(8)
  })

  it('takes the target of a request apart', () => {
    expect(targetOf('/a?b=c?d')).toEqual({ path: '/a', query: 'b=c?d' })
    expect(targetOf('http://127.0.0.1:1/a?b')).toEqual({ path: '/a', query: 'b' })
    expect(targetOf('http://127.0.0.1')).toEqual({ path: '/', query: '' })
    for (const target of ['*', '', 'a', '127.0.0.1:80']) expect(targetOf(target)).toBeNull()
  })
})

describe('the responder', () => {
  it('hands a handler the values of path and query', async () => {
    const { get } = responder([route('/a/{id}', ({ context, path, query }) => jsonAnswer(200, { context, id: path['id'], x: query.get('x') }))])
    const { status, body, headers } = await get('/a/7', { query: 'x=%41' })
    expect([status, JSON.parse(body.toString())]).toEqual([200, { context: 'context', id: '7', x: 'A' }])
    expect(headers).toMatchObject({ 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' })
  })

  it('answers what is not there, and other methods, by code', async () => {
    const { get, answered } = responder([route('/a')])
    expect(errorIn(await get('/b'))).toEqual([404, 'not_found'])
    const wrong = await get('/a', { method: 'DELETE' })
    expect(errorIn(wrong)).toEqual([405, 'method_not_allowed'])
    expect(wrong.headers['allow']).toBe('GET, HEAD')
    await get('/a', { method: 'BREW' })
    // A method is a label of a metric: nobody makes up new ones.
    expect(answered).toEqual([['GET', 404], ['DELETE', 405], ['other', 405]])
  })

  it('answers for no host but this one, whatever name a page of the web gives it', async () => {
    const { get } = responder([route('/a')])
    for (const host of ['127.0.0.1', '127.0.0.1:7401', 'localhost:7401', '[::1]:7401', '127.1.2.3:1']) expect((await get('/a', { host })).status).toBe(200)
    for (const host of ['', 'evil.example', 'localhost.evil.example', '127.0.0.1.evil.example', '127.0.0.1:x', '10.0.0.1']) {
      expect(errorIn(await get('/a', { host })), host).toEqual([421, 'host_unknown'])
    }
  })

  it("keeps a bug's words to the log, and tells those of an expected failure", async () => {
    const { get, bugs } = responder([
      route('/bug', () => {
        throw new TypeError('the secret')
      }),
      route('/away', () => Promise.reject(new UsherError('store_unavailable', 'the share is away'))),
      route('/corrupt', () => Promise.reject(new UsherError('ledger_corrupt', 'byte 7'))),
    ])
    const bug = await get('/bug')
    expect(errorIn(bug)).toEqual([500, 'internal'])
    expect(bug.body.toString()).not.toContain('secret')
    const away = await get('/away')
    expect(errorIn(away)).toEqual([503, 'store_unavailable'])
    expect(away.headers['retry-after']).toBe('1')
    expect(errorIn(await get('/corrupt'))).toEqual([500, 'ledger_corrupt'])
    expect(bugs.map((error) => (error as Error).message)).toEqual(['the secret', 'byte 7'])
  })

  it('answers so many at a time, and asks others to come again', async () => {
    let open: () => void = () => undefined
    const gate = new Promise<void>((resolve) => (open = resolve))
    const { get } = responder([route('/slow', async () => (await gate, jsonAnswer(200, {})))], 2)
    const slow = [get('/slow'), get('/slow')]
    expect(errorIn(await get('/slow'))).toEqual([503, 'unavailable'])
    open()
    expect((await Promise.all(slow)).map(({ status }) => status)).toEqual([200, 200])
    expect((await get('/slow')).status).toBe(200)
  })
})
