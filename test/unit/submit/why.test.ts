import { describe, expect, it } from 'vitest'
import type { Looked } from '../../../src/hosts/present.ts'
import { parsePresence } from '../../../src/observe/instance.ts'
import { conflictReason } from '../../../src/submit/books.ts'
import type { Trace, TraceStep } from '../../../src/submit/trace.ts'
import { explain } from '../../../src/submit/why.ts'
import type { World } from '../../../src/submit/why.ts'

const id = '9f8c2e71a4b0d3e5-17'
const [first, second] = ['node1-20261123T040000-aaaaaa', 'node2-20261123T040000-bbbbbb'] as const
const startMs = Date.parse('2026-11-23T05:00:00.000Z')
const at = (seconds: number): string => new Date(startMs + seconds * 1000).toISOString()

const step = (name: string, seconds: number, more: Partial<TraceStep> = {}): TraceStep => ({
  step: name,
  at: at(seconds),
  host: 'node1',
  instance: first,
  pid: 1,
  version: '0.1.0',
  configDigest: 'c',
  segment: `${first}/1`,
  ...more,
})

const traced = (state: string, steps: TraceStep[], jobId: string | null = null): Trace => ({ id, state, cluster: { name: 'main', jobId }, steps, spec: null })

const looked = (instance: string, alive: boolean, more: Record<string, unknown> = {}): Looked => ({
  instance,
  alive,
  presence: parsePresence({ instance, host: instance.slice(0, 5), role: 'follower', eligible: true, accepting: true, acceptLeaseMs: 3000, at: at(10), ...more }),
})

const leader = { instance: second, host: 'node2', term: 7, leaseMs: 3000, until: at(13) }
const world = (more: Partial<World> = {}): World => ({
  leader,
  instances: [looked(first, true), looked(second, true, { role: 'leader', term: 7 })],
  nowMs: startMs + 10_000,
  retryMinMs: 200,
  retryMaxMs: 60_000,
  ...more,
})
const nobody = world({
  leader: null,
  instances: [
    looked(first, true, { role: 'ineligible', eligible: false, reason: 'cluster main: the token has expired' }),
    looked(second, true, { role: 'ineligible', eligible: false, accepting: false, reason: 'waiting for admission: usher admit node2' }),
  ],
})
const accepted = [step('accepted', 0), step('written', 0), step('transformed', 1)]
const admitted = [...accepted, step('admitted', 2, { term: 7, host: 'node2' })]
const intent = step('intent', 3, { term: 7, host: 'node2' })

describe('usher why says of a job that', () => {
  it('is not transformed who is at work on it, or when it is adopted', () => {
    const fresh = traced('waiting', [step('accepted', 9)])
    expect(explain(fresh, world()).sentence).toBe(`waiting: accepted on node1 at ${at(9)}, not yet transformed; its instance ${first} is at work on it`)
    // 3.3 s of accept lease with its margin, 3 s of lease; silent for 2 s.
    const silent = world({ instances: [looked(first, false, { at: at(8) }), looked(second, true)] })
    expect(explain(fresh, silent).sentence).toMatch(/is silent for 2 s, and node2, which leads, has it adopted in at most about 4 s$/)
    const gone = world({ instances: [looked(first, false, { at: at(-60) }), looked(second, true)] })
    expect(explain(fresh, gone).sentence).toMatch(/is gone, and node2, which leads, has it adopted$/)
    const orphaned = { ...nobody, instances: [looked(first, false), ...nobody.instances.slice(1)] }
    expect(explain(fresh, orphaned).sentence).toMatch(/nobody leads: node2 is not eligible \(waiting for admission: usher admit node2\)$/)
  })

  it('is transformed that the leader admits it, or that nobody leads', () => {
    expect(explain(traced('waiting', accepted), world())).toMatchObject({
      state: 'waiting',
      since: at(1),
      sentence: `waiting: accepted on node1 at ${at(0)} and transformed; node2 leads and admits it next`,
    })
    expect(explain(traced('waiting', accepted), nobody).sentence).toContain(
      "nobody leads: node1 is not eligible (cluster main: the token has expired); node2 is not eligible (waiting for admission: usher admit node2)",
    )
    expect(explain(traced('waiting', accepted), world({ leader: null, instances: [] })).sentence).toMatch(/no usher runs on this store$/)
    expect(explain(traced('waiting', accepted), world({ leader: null })).sentence).toContain('node1 may, once the last claim has run out')
  })

  it('waits its turn who submits it, and what brought it back', () => {
    expect(explain(traced('waiting', admitted), world()).sentence).toBe(
      'waiting for its turn at cluster main: node2 leads in term 7 and submits in the order of admission',
    )
    const forgotten = [...admitted, intent, step('submitted', 4, { term: 7 }), step('forgotten', 5, { term: 7 })]
    expect(explain(traced('waiting', forgotten), world()).sentence).toMatch(/; cluster main had lost it$/)
    const retried = [...admitted, intent, step('refused', 4, { term: 7 }), step('retried', 5, { term: 7 })]
    expect(explain(traced('waiting', retried), world()).sentence).toMatch(/; an operator wants it tried again$/)
  })

  it('was not taken why, how often, and when it is tried again at the latest', () => {
    const tries = [1, 2, 3, 4].flatMap((n) => [{ ...intent, at: at(n * 2) }, step('postponed', n * 2, { term: 7, host: 'node2', detail: 'HTTP 503: busy' })])
    const found = explain(traced('waiting', [...admitted, ...tries]), world({ retryMinMs: 2000 }))
    // The fourth attempt of a term is followed within 16 s, 2 s ago.
    expect(found).toMatchObject({ state: 'waiting', postponed: 4, reason: 'HTTP 503: busy', since: at(8) })
    expect(found.sentence).toBe(
      `waiting: cluster main didn't take it when it was last asked by node2 in term 7 at ${at(8)}: HTTP 503: busy; tried 4 times, and tried again in at most about 14 s`,
    )
    expect(explain(traced('waiting', [...admitted, ...tries]), nobody).sentence).toMatch(/^waiting: nobody leads: .*tried 4 times$/)
    const held = world({ instances: [looked(second, true, { role: 'leader', reason: 'cluster main: connection refused' })] })
    expect(explain(traced('waiting', [...admitted, ...tries.slice(0, 2)]), held).sentence).toMatch(
      /^waiting: node2, which leads, can't submit to cluster main now: cluster main: connection refused; .*tried once$/,
    )
  })

  it('is being submitted by whom, and that it is in doubt once that one is gone', () => {
    const steps = [...admitted, intent]
    expect(explain(traced('submitting', steps), world())).toMatchObject({ state: 'submitting', sentence: expect.stringContaining('node2 is handing it to cluster main') as string })
    const successor = world({ leader: { ...leader, host: 'node1', instance: first, term: 12 } })
    expect(explain(traced('submitting', steps), successor)).toMatchObject({
      state: 'in doubt',
      since: at(3),
      command: `usher resolve ${id}`,
      sentence: expect.stringMatching(/^in doubt since .*: node2's submitter ended between intent and receipt in term 7; node1, which leads, asks cluster main/) as string,
    })
    expect(explain(traced('submitting', steps), nobody)).toMatchObject({ state: 'in doubt', sentence: expect.stringContaining('nobody leads: ') as string })
  })

  it('is in doubt since when, why, and what decides', () => {
    const found = explain(traced('in doubt', [...admitted, intent, step('in doubt', 4, { term: 7, detail: 'no answer within 30 s' })]), world())
    expect(found.sentence).toBe(
      `in doubt since ${at(4)}: no answer within 30 s; node2, which leads, asks cluster main whether it has it; where nobody can tell, 'usher resolve ${id} --as submitted' or '--as absent' decides`,
    )
  })

  it('names no cluster where none is known any more', () => {
    const steps = [...admitted, intent]
    for (const state of ['waiting', 'submitting', 'in doubt', 'dead', 'submitted']) {
      const { sentence, cluster } = explain({ ...traced(state, steps), cluster: null }, world())
      expect([state, cluster, sentence]).toEqual([state, null, expect.stringContaining('its cluster')])
      expect(sentence).not.toContain('cluster ?')
    }
  })

  it('is dead who refused it, why, and what can be done', () => {
    const refused = step('refused', 4, { term: 7, host: 'node2', detail: 'invalid partition' })
    expect(explain(traced('dead', [...admitted, intent, refused]), world())).toMatchObject({
      command: `usher dead retry ${id}`,
      sentence: `dead: cluster main refused it for good when it was submitted by node2 in term 7 at ${at(4)}: invalid partition; 'usher dead retry ${id}' submits it again`,
    })
    const conflict = explain(traced('dead', [...accepted, step('refused', 2, { term: 7, detail: conflictReason })]), world())
    expect(conflict).toMatchObject({ command: `usher dead discard ${id}`, sentence: expect.stringContaining('can only be discarded') as string })
  })

  it('is submitted as what, by whom, whether it is held, and how it ended', () => {
    const submitted = step('submitted', 4, { term: 7, host: 'node2', detail: 'the cluster calls it 4711; held' })
    const held = traced('submitted', [...admitted, intent, submitted], '4711')
    expect(explain(held, world())).toMatchObject({
      jobId: '4711',
      command: null,
      sentence: `submitted to cluster main as 4711 by node2 in term 7 at ${at(4)}, held until it is released`,
    })
    const released = [...held.steps, step('released', 5, { term: 7 })]
    expect(explain({ ...held, steps: released }, world()).sentence).toMatch(new RegExp(`at ${at(4)}$`))
    const ended = [...released, step('ended', 6, { term: 7, detail: 'exit status 3; exited' })]
    expect(explain({ ...held, state: 'ended', steps: ended }, world()).sentence).toMatch(/^ended: exit status 3; exited; it was submitted to cluster main as 4711/)
  })

  it('came more than once which one counts', () => {
    const twice = [...admitted, step('accepted', 5), step('duplicate', 6, { term: 7 }), step('refused', 7, { term: 7, detail: conflictReason })]
    const { sentence, state } = explain(traced('waiting', twice), world())
    expect(state).toBe('waiting')
    expect(sentence).toMatch(/^waiting for its turn .*; it was accepted 2 times and counts once; another job came with its id and other content, and is a dead letter \(id_conflict\)$/)
    expect(explain(traced('duplicate', [...accepted, step('duplicate', 6, { term: 7 })]), world()).sentence).toMatch(/^duplicate: /)
  })

  it('was discarded or set aside by whom and why', () => {
    expect(explain(traced('discarded', [...admitted, step('discarded', 9, { term: 7, detail: 'decided by ops@node1: discard' })]), world()).sentence).toBe(
      'discarded: decided by ops@node1: discard',
    )
    expect(explain(traced('set aside', [step('set aside', 1, { term: 7, detail: 'segment_corrupt: …' })]), world()).sentence).toContain(`segment ${first}/1`)
  })
})
