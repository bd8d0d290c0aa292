// What a scrape says: by the names that are documented, with labels that can't grow without end, and as Prometheus wants it.
import { execFileSync, spawnSync } from 'node:child_process'
import { describe, expect, it } from 'vitest'
import type { Metrics } from '../../../src/http/metrics.ts'
import type { InstanceView } from '../../../src/http/host-view.ts'
import { contextOf, instanceView, storeView } from '../../support/http-stage.ts'
import { rowsUnder } from '../docs/pages.ts'

const hasPromtool = spawnSync('promtool', ['--version']).status === 0

/** Lines that are samples, by name and labels. */
const samplesOf = (text: string): Map<string, number> =>
  new Map(
    text
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'))
      .map((line) => {
        const space = line.lastIndexOf(' ')
        return [line.slice(0, space), Number(line.slice(space + 1))]
      }),
  )

const scrape = async (metrics: Metrics): Promise<Map<string, number>> => samplesOf(await metrics.render())

/** Everything that can be there is. */
const full = (): Metrics => {
  const { metrics } = contextOf()
  metrics.stage('transform', 3)
  metrics.storeOperation('read', 0.4)
  metrics.request('GET', 200, 1)
  return metrics
}

describe('metrics', () => {
  it('say what a host, and what a leader knows', async () => {
    const samples = await scrape(full())
    const expected: Readonly<Record<string, number>> = {
      [`usher_build_info{version="0.1.0",config="00112233",node="${process.versions.node}"}`]: 1,
      usher_leader: 1,
      usher_term: 4,
      usher_accepting: 1,
      'usher_hosts{state="leader"}': 1,
      'usher_hosts{state="follower"}': 0,
      'usher_jobs{state="waiting"}': 1,
      'usher_jobs{state="in_doubt"}': 1,
      usher_oldest_waiting_timestamp_seconds: Date.parse('2026-11-23T10:00:00Z') / 1000,
      usher_jobs_accepted_total: 3,
      'usher_jobs_submitted_total{cluster="main",outcome="later"}': 2,
      'usher_stage_duration_seconds_count{stage="transform"}': 1,
      'usher_store_operation_seconds_count{op="read"}': 1,
      'usher_store_operation_seconds_bucket{le="0.0005",op="read"}': 1,
    }
    expect(Object.fromEntries(Object.keys(expected).map((name) => [name, samples.get(name)]))).toEqual(expected)
  })

  it('leave to the leader what it alone knows', async () => {
    const samples = await scrape(contextOf(() => instanceView({ role: 'follower' })).metrics)
    expect(samples.get('usher_leader')).toBe(0)
    expect([...samples.keys()].filter((name) => /^usher_(jobs\{|oldest)/.test(name))).toEqual([])
  })

  it('forget what a host said as a leader when it leads no more', async () => {
    let instance: InstanceView | null = instanceView()
    const { metrics } = contextOf(() => instance)
    expect((await scrape(metrics)).has('usher_jobs{state="waiting"}')).toBe(true)
    instance = null
    const samples = await scrape(metrics)
    expect([...samples.keys()].filter((name) => /^usher_(jobs\{|oldest)/.test(name))).toEqual([])
    expect(samples.get('usher_accepting')).toBe(0)
    // What was counted stays counted.
    expect(samples.get('usher_jobs_accepted_total')).toBe(3)
  })

  it('count on from one instance of the process to the next', async () => {
    let instance = instanceView({ accepted: 3 })
    const { metrics } = contextOf(() => instance)
    expect((await scrape(metrics)).get('usher_jobs_accepted_total')).toBe(3)
    instance = instanceView({ accepted: 5 })
    expect((await scrape(metrics)).get('usher_jobs_accepted_total')).toBe(5)
    instance = instanceView({ name: 'one-20261123T110000-abcdee', accepted: 2 })
    expect((await scrape(metrics)).get('usher_jobs_accepted_total')).toBe(7)
  })

  it('come without what only the store can say when it is away', async () => {
    const away = { ...storeView, fleet: () => Promise.reject(new Error('away')), acceptedAt: () => new Promise<never>(() => undefined) }
    const samples = await scrape(contextOf(() => instanceView(), away).metrics)
    expect(samples.get('usher_jobs{state="waiting"}')).toBe(1)
    expect([...samples.keys()].filter((name) => /^usher_(hosts|oldest)/.test(name))).toEqual([])
  })

  it('are those that docs/http.md has, with their labels, and no others', async () => {
    const text = await full().render()
    const actual = Array.from(text.matchAll(/^# TYPE (\S+) (\S+)$/gm), ([, name = '', type = '']) => {
      const labels = [...new Set(Array.from(text.matchAll(new RegExp(`^${name}(?:_bucket|_sum|_count)?\\{([^}]*)\\}`, 'gm')), ([, list = '']) =>
        Array.from(list.matchAll(/(\w+)="/g), ([, label = '']) => label).filter((label) => label !== 'le'),
      ).flat())]
      return [name, type, labels.join(', ')]
    }).sort()
    const documented = rowsUnder('docs/http.md', '## Metrics').map(([name = '', type = '', labels = '']) => [name.replace(/`/g, ''), type, labels.replace(/`/g, '')]).sort()
    expect(actual.length).toBeGreaterThan(15)
    expect(documented).toEqual(actual)
  })

  // It comes with Debian's prometheus package.
  it.skipIf(!hasPromtool)('pass promtool check metrics', async () => {
    const text = await full().render()
    expect(() => execFileSync('promtool', ['check', 'metrics'], { input: text, stdio: ['pipe', 'pipe', 'pipe'] })).not.toThrow()
    // It would say so if they didn't.
    expect(spawnSync('promtool', ['check', 'metrics'], { input: '# TYPE a counter\na 1\n' }).status).not.toBe(0)
  })
})
