// Every route. Handlers read what others keep; none touches the store by itself, or does more work for more callers.

import { UsherError } from '../base/errors.ts'
import { jobIdPattern } from '../protocol/job-id.ts'
import { jsonAnswer, textAnswer } from './answers.ts'
import type { EffectiveConfig } from './effective-config.ts'
import { readiness } from './host-view.ts'
import type { HostView } from './host-view.ts'
import type { Metrics } from './metrics.ts'
import { describeRoutes } from './openapi.ts'
import type { Route } from './route.ts'
import { configShape, fleetShape, jobShape, leaderzShape, liveShape, readyShape, termsShape } from './shapes.ts'
import type { StoreView } from './store-view.ts'

export interface Context {
  readonly host: HostView
  readonly store: StoreView
  readonly metrics: Metrics
  readonly config: EffectiveConfig
}

const fleetWaitMs = 3000
/** The sums of a large store come when they are there; who is on it doesn't wait for them. */
const jobsWaitMs = 1000
const termsMax = 1000

export const routes: readonly Route<Context>[] = [
  {
    method: 'GET',
    path: '/livez',
    role: 'none',
    summary: 'Whether the process lives: it alone, never the store or a cluster.',
    answers: { 200: { description: 'It does.', schema: liveShape } },
    handle: ({ context: { host } }) => jsonAnswer(200, { live: true, version: host.version, host: host.host, started: host.started }),
  },
  {
    method: 'GET',
    path: '/readyz',
    role: 'none',
    summary: 'Whether this host accepts jobs. Followers do.',
    parameters: [{ in: 'query', name: 'verbose', description: 'Lists the checks, with why each fails.', schema: { type: 'string' } }],
    answers: {
      200: { description: 'It does.', schema: readyShape },
      503: { description: "It doesn't.", schema: readyShape },
    },
    handle: ({ context: { host }, query }) => {
      const { ready, checks } = readiness(host)
      return jsonAnswer(ready ? 200 : 503, query.has('verbose') ? { ready, checks } : { ready })
    },
  },
  {
    method: 'GET',
    path: '/leaderz',
    role: 'none',
    summary: 'Whether this host leads.',
    answers: {
      200: { description: 'It does.', schema: leaderzShape },
      503: { description: "It doesn't.", schema: leaderzShape },
    },
    handle: ({ context: { host } }) => {
      const presence = host.instance()?.presence
      const leader = presence?.role === 'leader'
      return jsonAnswer(leader ? 200 : 503, { leader, term: presence?.term ?? null })
    },
  },
  {
    method: 'GET',
    path: '/metrics',
    role: 'none',
    summary: 'Metrics in the text format of Prometheus.',
    answers: { 200: { description: 'The metrics.', type: 'text/plain' } },
    handle: async ({ context: { metrics } }) => textAnswer(200, await metrics.render(), metrics.contentType),
  },
  {
    method: 'GET',
    path: '/openapi.json',
    role: 'none',
    summary: 'This description.',
    answers: { 200: { description: 'OpenAPI 3.1.', type: 'application/json' } },
    handle: ({ context: { host } }) => jsonAnswer(200, describeRoutes(routes, host.version)),
  },
  {
    method: 'GET',
    path: '/v1/fleet',
    role: 'read',
    summary: 'Every instance on the store, who leads or why nobody does, and where the jobs are.',
    answers: {
      200: { description: 'As it was at `at`; `jobs` as they were at theirs, null while they are being counted for the first time.', schema: fleetShape },
    },
    handle: async ({ context: { store } }) => {
      const [fleet, jobs] = await Promise.all([store.fleet(fleetWaitMs), store.jobs(jobsWaitMs)])
      return jsonAnswer(200, { at: fleet.at, ...fleet.value, jobs: jobs === null ? null : { at: jobs.at, ...jobs.value } })
    },
  },
  {
    method: 'GET',
    path: '/v1/terms',
    role: 'read',
    summary: 'Who led when, the newest term first.',
    parameters: [
      { in: 'query', name: 'limit', description: 'Most terms.', schema: { type: 'integer', minimum: 1, maximum: termsMax, default: 100 } },
    ],
    answers: { 200: { description: 'The terms that the ledger still tells of.', schema: termsShape } },
    handle: async ({ context: { store }, query }) => {
      const limit = query.get('limit') ?? '100'
      if (!/^[1-9][0-9]{0,3}$/.test(limit) || Number(limit) > termsMax) {
        throw new UsherError('input_invalid', `limit is ${JSON.stringify(limit.slice(0, 40))}; allowed is a whole number from 1 to ${termsMax}`)
      }
      const { value, at } = await store.terms()
      return jsonAnswer(200, { at, terms: value.slice(0, Number(limit)) })
    },
  },
  {
    method: 'GET',
    path: '/v1/config',
    role: 'read',
    summary: 'The configuration in force here, with the origin of each value.',
    answers: { 200: { description: 'By full key. What could hide a secret is left out.', schema: configShape } },
    handle: ({ context: { config } }) => jsonAnswer(200, config),
  },
  {
    method: 'GET',
    path: '/v1/jobs/{id}',
    role: 'read',
    summary: 'One job: its state, why it is where it is, and every step with who did it.',
    parameters: [
      { in: 'path', name: 'id', description: 'As the producer minted it.', schema: { type: 'string', pattern: jobIdPattern.source } },
    ],
    answers: { 200: { description: 'The job.', schema: jobShape } },
    handle: async ({ context: { store }, path }) => {
      const id = path['id'] ?? ''
      if (!jobIdPattern.test(id)) {
        throw new UsherError('input_invalid', 'the id of a job is 16 hexadecimal digits, a hyphen and a number, as in 9f8c2e71a4b0d3e5-17')
      }
      const found = await store.job(id)
      if (found === null) throw new UsherError('not_found', `no job ${id} is in this store, or it was finished longer than the retention ago`)
      const { trace, why } = found
      return jsonAnswer(200, { id, state: why.state, cluster: trace.cluster, why: why.sentence, command: why.command, steps: trace.steps, spec: trace.spec })
    },
  },
]
