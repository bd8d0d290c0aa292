import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { type AddressInfo, createServer as createTcpServer, type Socket } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { createHttpDriver } from '../../../src/submit/drivers/http.ts'
import type { HttpOptions } from '../../../src/submit/drivers/registry.ts'
import type { Driver } from '../../../src/submit/driver.ts'
import { contextIn, job, never, newId, origin } from './jobs.ts'

interface Seen {
  readonly method: string
  readonly url: string
  readonly headers: IncomingMessage['headers']
  readonly body: string
}

const closers: (() => Promise<void> | void)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close()
})

const serve = async (
  answer: (seen: Seen, response: ServerResponse, request: IncomingMessage) => void,
): Promise<{ url: string; seen: Seen[] }> => {
  const seen: Seen[] = []
  const server = createServer((request, response) => {
    let body = ''
    request.setEncoding('utf8').on('data', (chunk: string) => (body += chunk))
    request.on('end', () => {
      const one = { method: request.method ?? '', url: request.url ?? '', headers: request.headers, body }
      seen.push(one)
      answer(one, response, request)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  closers.push(
    () =>
      new Promise<void>((resolve) => {
        server.closeAllConnections()
        server.close(() => resolve())
      }),
  )
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/jobs`, seen }
}

const driverOf = (options: Omit<HttpOptions, 'driver'>, fds: number[] = []): Driver => {
  const driver = createHttpDriver({ driver: 'http', ...options }, contextIn('/nowhere'), { abortOnClose: (fd) => fds.push(fd) })
  closers.push(() => driver.close())
  return driver
}

describe('a job by itself', () => {
  test('is sent as one JSON object with the spec as it stands, and its key', async () => {
    const { url, seen } = await serve((_, response) => response.end('{"jobId":17}'))
    const one = {
      ...job({ executable: '/bin/true' }),
      specJson: '{"executable" : "/bin/true","x":"\\u00e9 as written"}',
      traceparent: '00-a-b-01',
    }
    expect(await driverOf({ url }).submit([one], origin, never)).toEqual([{ kind: 'submitted', jobId: '17' }])
    expect(seen).toHaveLength(1)
    expect(seen[0]?.body).toBe(
      `{"id":"${one.id}","spec":${one.specJson},"term":7,"host":"testhost","instance":"${origin.instance}"}`,
    )
    expect(seen[0]?.headers).toMatchObject({
      'idempotency-key': one.id,
      'content-type': 'application/json',
      traceparent: '00-a-b-01',
    })
  })

  test.each([
    [200, '', { kind: 'submitted', jobId: null }],
    [201, '{"jobId":"a/b"}', { kind: 'submitted', jobId: 'a/b' }],
    [409, '{"jobId":5}', { kind: 'submitted', jobId: '5' }],
    [400, 'no such queue', { kind: 'refused', reason: 'answered 400 no such queue' }],
    [422, '', { kind: 'refused', reason: 'answered 422' }],
    [403, '', { kind: 'refused', reason: 'answered 403' }],
    [401, '', { kind: 'later', reason: 'answered 401' }],
    [302, '', { kind: 'later', reason: 'answered 302' }],
    [429, '', { kind: 'later', reason: 'answered 429', afterMs: 3000 }],
    [500, 'oops', { kind: 'later', reason: 'answered 500 oops', afterMs: 3000 }],
    [503, '', { kind: 'later', reason: 'answered 503', afterMs: 3000 }],
  ])('answered with %i %j is %j', async (status, body, outcome) => {
    const { url } = await serve((_, response) => {
      if (status === 429 || status >= 500) response.setHeader('retry-after', '3')
      response.statusCode = status
      response.end(body)
    })
    expect((await driverOf({ url }).submit([job({ executable: 'x' })], origin, never))[0]).toMatchObject(outcome)
  })

  test('is later when nobody listens, since nothing was sent', async () => {
    const server = createTcpServer()
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as AddressInfo
    await new Promise((resolve) => server.close(resolve))
    expect(
      (await driverOf({ url: `http://127.0.0.1:${port}/` }).submit([job({ executable: 'x' })], origin, never))[0]?.kind,
    ).toBe('later')
  })

  test('is in doubt when the connection breaks after the request, within the answer, or when no answer comes', async () => {
    const modes: ((response: ServerResponse, request: IncomingMessage) => void)[] = [
      (_, request) => request.socket.destroy(),
      (response, request) => {
        response.writeHead(200, { 'content-length': 100 })
        response.write('{"jobId"')
        setImmediate(() => request.socket.destroy())
      },
      () => {},
    ]
    for (const mode of modes) {
      const { url } = await serve((_, response, request) => mode(response, request))
      expect((await driverOf({ url, timeout: 0.3 }).submit([job({ executable: 'x' })], origin, never))[0]?.kind).toBe('doubt')
    }
  })

  test('is in doubt when a kept-alive connection is closed under it, and is not sent again by itself', async () => {
    let requests = 0
    const { url, seen } = await serve((_, response, request) => {
      requests += 1
      if (requests === 1) response.end('{}')
      else request.socket.destroy()
    })
    const driver = driverOf({ url, in_flight: 1 })
    expect((await driver.submit([job({ executable: 'x' })], origin, never))[0]?.kind).toBe('submitted')
    expect((await driver.submit([job({ executable: 'x' })], origin, never))[0]?.kind).toBe('doubt')
    expect(seen).toHaveLength(2)
  })

  test('is in doubt when it is given up after it was sent', async () => {
    const controller = new AbortController()
    const { url } = await serve(() => controller.abort())
    expect((await driverOf({ url }).submit([job({ executable: 'x' })], origin, controller.signal))[0]?.kind).toBe('doubt')
  })
})

describe('connections', () => {
  test('are set to abort before anything is sent on them, and kept alive', async () => {
    const sockets = new Set<Socket>()
    const { url, seen } = await serve((_, response, request) => {
      sockets.add(request.socket)
      response.end('{}')
    })
    const fds: number[] = []
    const driver = driverOf({ url, in_flight: 4 }, fds)
    for (let round = 0; round < 5; round += 1) {
      await Promise.all([1, 2, 3, 4].map(() => driver.submit([job({ executable: 'x' })], origin, never)))
    }
    expect(seen).toHaveLength(20)
    expect(sockets.size).toBeLessThanOrEqual(4)
    expect(fds).toHaveLength(sockets.size)
  })

  test('are not asked for when a header cannot be sent', async () => {
    const { url, seen } = await serve((_, response) => response.end('{}'))
    const outcome = (
      await driverOf({ url }).submit([{ ...job({ executable: 'x' }), traceparent: 'line\nfeed' }], origin, never)
    )[0]
    expect(outcome?.kind).toBe('later')
    expect(seen).toHaveLength(0)
  })

  test('that cannot be set to abort carry no job', async () => {
    const { url, seen } = await serve((_, response) => response.end('{}'))
    const driver = createHttpDriver({ driver: 'http', url }, contextIn('/nowhere'), {
      abortOnClose: () => {
        throw new Error('EBADF')
      },
    })
    closers.push(() => driver.close())
    expect((await driver.submit([job({ executable: 'x' })], origin, never))[0]).toMatchObject({
      kind: 'later',
      reason: expect.stringContaining('EBADF'),
    })
    expect(seen).toHaveLength(0)
  })
})

describe('a batch', () => {
  test('goes as lines and is answered by lines, each for its own job', async () => {
    const { url, seen } = await serve((_, response) =>
      response.end('{"jobId":1}\n{"status":409,"jobId":2}\n{"status":400,"error":"bad queue"}\n{"status":503}\n'),
    )
    const jobs = [1, 2, 3, 4, 5].map(() => job({ executable: 'x' }))
    const outcomes = await driverOf({ url, batch: 10 }).submit(jobs, origin, never)
    expect(outcomes.map((outcome) => outcome.kind)).toEqual(['submitted', 'submitted', 'refused', 'later', 'doubt'])
    expect(outcomes[1]).toMatchObject({ jobId: '2' })
    expect(outcomes[2]).toMatchObject({ reason: expect.stringContaining('bad queue') })
    expect(seen[0]?.headers['content-type']).toBe('application/x-ndjson')
    expect(seen[0]?.headers['idempotency-key']).toMatch(/^batch-[0-9a-f]{32}$/)
    expect(
      seen[0]?.body
        .trimEnd()
        .split('\n')
        .map((line) => (JSON.parse(line) as { id: string }).id),
    ).toEqual(jobs.map((one) => one.id))
  })

  test('is in doubt as a whole when its answers are for other jobs or too many', async () => {
    for (const body of ['{"id":"other","jobId":1}\n{"jobId":2}\n', '{}\n{}\n{}\n']) {
      const { url } = await serve((_, response) => response.end(body))
      const outcomes = await driverOf({ url, batch: 10 }).submit(
        [job({ executable: 'x' }), job({ executable: 'x' })],
        origin,
        never,
      )
      expect(outcomes.map((outcome) => outcome.kind)).toEqual(['doubt', 'doubt'])
    }
  })

  test('that is refused is taken apart, so that only the guilty job is', async () => {
    const guilty = newId()
    const { url } = await serve((seen, response) => {
      response.statusCode = seen.body.includes(guilty) ? 400 : 200
      response.end(seen.body.includes(guilty) ? 'no' : '{"jobId":1}')
    })
    const outcomes = await driverOf({ url, batch: 10 }).submit(
      [job({ executable: 'x' }), job({ executable: 'x' }, guilty), job({ executable: 'x' })],
      origin,
      never,
    )
    expect(outcomes.map((outcome) => outcome.kind)).toEqual(['submitted', 'refused', 'submitted'])
  })
})

test('find asks for each id and tells absent from unknown', async () => {
  const [there, gone, broken] = [newId(), newId(), newId()]
  const { url, seen } = await serve((one, response) => {
    response.statusCode = one.url.includes(there) ? 200 : one.url.includes(gone) ? 404 : 500
    response.end('{"jobId":9}')
  })
  const driver = driverOf({ url: `${url}/?token=a` })
  expect(await driver.find?.([there, gone, broken], never)).toEqual(
    [{ kind: 'found', jobId: '9' }, { kind: 'absent' }, { kind: 'unknown', reason: expect.stringContaining('500') }].map(
      (finding) => expect.objectContaining(finding),
    ),
  )
  expect(seen.map((one) => one.url)).toContain(`/jobs/${there}?token=a`)
})

test('preflight takes any 2xx and nothing else', async () => {
  const { url } = await serve((_, response) => {
    response.statusCode = 204
    response.end()
  })
  expect((await driverOf({ url }).preflight(never)).ok).toBe(true)
  const other = await serve((_, response) => {
    response.statusCode = 404
    response.end('nothing here')
  })
  expect(await driverOf({ url: other.url }).preflight(never)).toEqual({
    ok: false,
    kind: 'refused',
    reason: expect.stringContaining('404 nothing here'),
  })
})

test('preflight tells a refusal from a service that answers nobody now', async () => {
  const statuses = { 401: 'refused', 403: 'refused', 408: 'unreachable', 429: 'unreachable', 500: 'unreachable', 503: 'unreachable' }
  for (const [status, kind] of Object.entries(statuses)) {
    const { url } = await serve((_, response) => {
      response.statusCode = Number(status)
      response.end()
    })
    expect(await driverOf({ url }).preflight(never), status).toMatchObject({ ok: false, kind })
  }
  expect(await driverOf({ url: 'http://127.0.0.1:1/jobs' }).preflight(never)).toMatchObject({ ok: false, kind: 'unreachable' })
  expect(await driverOf({ url: 'http://127.0.0.1:1/jobs', token_file: '/nowhere/token' }).preflight(never)).toMatchObject({ ok: false, kind: 'refused' })
})
