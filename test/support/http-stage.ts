// The table of routes over what a host and a store might say, without either: for tests of answers.
import { loadConfig } from '../../src/config/load.ts'
import { effectiveConfig } from '../../src/http/effective-config.ts'
import type { HostView, InstanceView } from '../../src/http/host-view.ts'
import { Metrics } from '../../src/http/metrics.ts'
import type { Context } from '../../src/http/routes.ts'
import type { JobStatus, StoreView } from '../../src/http/store-view.ts'

export const at = '2026-11-23T10:00:00.000Z'
const by = { host: 'one', instance: 'one-20261123T100000-abcdef', pid: 7, version: '0.1.0', configDigest: '00112233' }

export const instanceView = (changes: { readonly name?: string; readonly accepted?: number; readonly role?: 'leader' | 'follower'; readonly accepting?: boolean } = {}): InstanceView => {
  const { name = by.instance, accepted = 3, role = 'leader', accepting = true } = changes
  return {
    name,
    accepted,
    presence: {
      instance: name,
      host: 'one',
      user: 'usher',
      version: '0.1.0',
      config: '00112233',
      role,
      term: 4,
      eligible: true,
      reason: accepting ? '' : 'store_full: less than the reserve of 64 MiB is free',
      accepting,
      clusters: ['main'],
      acceptLeaseMs: 3000,
      listen: '127.0.0.1:7433',
      started: at,
      published: 2,
      pid: 7,
      pidStart: '1',
      pidNamespace: '',
      bootId: '',
    },
    stats: { connections: 1, acceptedJobs: accepted, refusedJobs: 1, jobsBytes: 300, uncommittedBytes: 0, partialBytes: 0, commits: 2, segments: 2, syncMs: 4 },
    books:
      role === 'leader'
        ? {
            term: 4,
            audit: { submitted: 1, waiting: 1, inDoubt: 1, dead: 0, discarded: 0, duplicates: 0, setAside: 0 },
            oldestWaiting: `${by.instance}/1`,
            tallies: { main: { submitted: 1, refused: 0, later: 2, doubt: 1 } },
          }
        : null,
  }
}

export const job: JobStatus = {
  trace: {
    id: '9f8c2e71a4b0d3e5-17',
    state: 'submitted',
    cluster: { name: 'main', jobId: '1234' },
    steps: [
      { step: 'accepted', at, ...by, segment: `${by.instance}/1`, detail: 'to be run on cluster main' },
      { step: 'admitted', at, ...by, term: 4, segment: `${by.instance}/1` },
    ],
    spec: { executable: '/bin/true' } as JobStatus['trace']['spec'],
  },
  why: {
    id: '9f8c2e71a4b0d3e5-17',
    state: 'submitted',
    sentence: 'submitted to cluster main as 1234',
    cluster: 'main',
    jobId: '1234',
    since: at,
    postponed: 0,
    reason: null,
    leader: null,
    command: null,
  },
}

export const storeView: StoreView = {
  fleet: async () => ({
    at,
    value: {
      leader: { instance: by.instance, host: 'one', term: 4, leaseMs: 3000, until: at },
      whyNobodyLeads: [],
      instances: [{ ...by, user: 'usher', role: 'leader', eligible: true, reason: '', listen: '127.0.0.1:7433', accepting: true, heartbeatAgeMs: 12 }],
      warnings: ['hosts run different versions: …'],
    },
  }),
  jobs: async () => ({
    at,
    value: {
      audit: { accepted: 3, submitted: 1, waiting: 1, inDoubt: 1, dead: 0, discarded: 0, duplicates: 0, setAside: 0, balanced: true },
      warnings: [],
      setAside: [{ segment: `${by.instance}/2`, jobs: 0, reason: 'xml_malformed' }],
    },
  }),
  terms: async () => ({ at, value: [4, 3, 2, 1].map((term) => ({ term, at, ...by })) }),
  job: async (id) => (id === job.trace.id ? job : null),
  acceptedAt: async () => at,
}

export const hostView = (instance: () => InstanceView | null): HostView => ({
  host: 'one',
  version: '0.1.0',
  configDigest: '00112233',
  started: at,
  instance,
  refusal: () => null,
  stopping: () => false,
})

export const contextOf = (instance: () => InstanceView | null = () => instanceView(), store: StoreView = storeView): Context => {
  const metrics = new Metrics()
  const host = hostView(instance)
  metrics.read(host, store)
  const loaded = loadConfig({ flags: {}, env: {}, cwd: '/', systemFile: '/nowhere/usher.toml' })
  return { host, store, metrics, config: effectiveConfig(loaded) }
}
