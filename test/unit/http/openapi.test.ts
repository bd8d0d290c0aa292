// The description and the routes are one: each route answers what it says, judged by a validator of JSON Schema that knows
// nothing of how either was made.
import { Ajv2020 } from 'ajv/dist/2020.js'
import { describe, expect, it } from 'vitest'
import { effectiveConfig } from '../../../src/http/effective-config.ts'
import { describeRoutes } from '../../../src/http/openapi.ts'
import { Responder } from '../../../src/http/responder.ts'
import { routes } from '../../../src/http/routes.ts'
import type { Context } from '../../../src/http/routes.ts'
import { loadConfig } from '../../../src/config/load.ts'
import { contextOf, instanceView, job } from '../../support/http-stage.ts'
import { schemaOf } from '../../support/openapi.ts'
import type { Description } from '../../support/openapi.ts'
import { rowsUnder } from '../docs/pages.ts'

const description = describeRoutes(routes, '0.1.0') as unknown as Description
const ajv = new Ajv2020({ strict: true, validateFormats: false })

const ask = async (context: Context, path: string, query = '') => {
  const responder = new Responder({ routes, context, listen: { host: '127.0.0.1', port: 0 }, requestsMax: 9, onAnswer: () => undefined, onBug: (error) => expect(error).toBeUndefined() })
  const { status, headers, body } = await responder.answer({ method: 'GET', path, query, host: '127.0.0.1' })
  return { status, type: headers['content-type'] ?? '', body: body.toString() }
}

const expectAsDescribed = (path: string, { status, type, body }: Awaited<ReturnType<typeof ask>>): void => {
  const content = schemaOf(description, path, status)
  expect(Object.keys(content).some((each) => type.startsWith(each)), `${path} ${status} is ${type}`).toBe(true)
  const { schema } = Object.values(content)[0]!
  if (!type.startsWith('application/json') || path === '/openapi.json') return
  const validate = ajv.compile(schema)
  expect(validate(JSON.parse(body)), `${path} ${status}: ${ajv.errorsText(validate.errors)} in ${body}`).toBe(true)
}

describe('openapi.json', () => {
  it('describes every route, with every name in its path', () => {
    expect(description.openapi).toBe('3.1.0')
    expect(Object.keys(description.paths).sort()).toEqual([...new Set(routes.map(({ path }) => path))].sort())
    for (const { path, parameters } of routes) {
      const names = Array.from(path.matchAll(/\{(\w+)\}/g), ([, name]) => name)
      expect((parameters ?? []).filter((each) => each.in === 'path').map(({ name }) => name)).toEqual(names)
    }
  })

  it('is true of each answer', async () => {
    const leads = contextOf()
    const follows = contextOf(() => instanceView({ role: 'follower', accepting: false }))
    const bare = contextOf(() => null, { ...leads.store, jobs: async () => null })
    const paths = routes.map(({ path }) => path.replace('{id}', job.trace.id))
    const seen = new Set<string>()
    for (const context of [leads, follows, bare]) {
      for (const [index, path] of paths.entries()) {
        for (const query of ['', 'verbose', 'limit=2']) {
          const answer = await ask(context, path, query)
          expectAsDescribed(routes[index]!.path, answer)
          seen.add(`${routes[index]!.path} ${answer.status}`)
        }
      }
    }
    // Every answer that is described has been seen.
    const described = routes.flatMap(({ path, answers }) => Object.keys(answers).map((status) => `${path} ${status}`))
    expect([...seen].sort()).toEqual(described.sort())
  })

  it('is true of errors', async () => {
    for (const [path, query, status] of [['/v1/jobs/7', '', 400], ['/v1/jobs/9f8c2e71a4b0d3e5-18', '', 404], ['/v1/terms', 'limit=0', 400]] as const) {
      const answer = await ask(contextOf(), path, query)
      expect(answer.status).toBe(status)
      expectAsDescribed(path.replace(/\/jobs\/.*/, '/jobs/{id}'), answer)
    }
  })

  it('is what docs/http.md lists', () => {
    const documented = rowsUnder('docs/http.md', '## Routes').map(([route = '', role = '']) => [route.replace(/`/g, ''), role])
    expect(documented).toEqual(routes.map(({ method, path, role }) => [`${method} ${path}`, role]))
  })
})

describe('routes', () => {
  it('give as many terms as were asked for, the newest first', async () => {
    const { body } = await ask(contextOf(), '/v1/terms', 'limit=2')
    expect((JSON.parse(body) as { terms: { term: number }[] }).terms.map(({ term }) => term)).toEqual([4, 3])
  })

  it('say why a host is not ready', async () => {
    const { status, body } = await ask(contextOf(() => instanceView({ accepting: false })), '/readyz', 'verbose')
    expect(status).toBe(503)
    expect(JSON.parse(body)).toMatchObject({ ready: false, checks: expect.arrayContaining([{ name: 'accepting', ok: false, needed: true, detail: 'store_full: less than the reserve of 64 MiB is free' }]) as unknown })
  })

  it('show the configuration without what could hide a secret', () => {
    const env = {
      USHER_CLUSTER_A_DRIVER: 'command',
      USHER_CLUSTER_A_SUBMIT: '["/opt/submit","--password","hunter2"]',
      USHER_CLUSTER_B_DRIVER: 'http',
      USHER_CLUSTER_B_URL: 'https://jobs.example/submit?key=hunter2',
      USHER_CLUSTER_B_TOKEN_FILE: '/etc/usher/token',
    }
    const { keys } = effectiveConfig(loadConfig({ flags: {}, env, cwd: '/', systemFile: '/nowhere/usher.toml' }))
    expect(JSON.stringify(keys)).not.toContain('hunter2')
    expect(keys['cluster.a.submit']).toEqual({ value: ['/opt/submit', '(left out)'], origin: 'USHER_CLUSTER_A_SUBMIT' })
    expect(keys['cluster.b.url']).toEqual({ value: 'https://jobs.example/submit?(left out)', origin: 'USHER_CLUSTER_B_URL' })
    expect(keys['cluster.b.token_file']?.value).toBe('/etc/usher/token')
    expect(keys['lease']).toEqual({ value: '3 s', origin: 'default' })
  })
})
