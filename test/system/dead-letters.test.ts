// What a cluster refuses: for good, which makes dead letters that operators decide about, or for now, which is tried again.
import { afterEach, describe, expect, it } from 'vitest'
import { scriptedServer } from '../support/cluster-server.ts'
import { sendJobs } from '../support/sending.ts'
import { settledAudit, statusOf, traceOf, until, usher } from '../support/usher-process.ts'

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup()
})

describe('a job that the cluster refuses for good', () => {
  it('is a dead letter with the reason, and is submitted once when it is retried', async () => {
    const { cluster, store, folder, serve, command, list } = await scriptedServer(cleanups)
    const reasons = ['no such queue', 'no such account', 'no such queue']
    cluster.onPost = (id) => {
      const reason = reasons[Number(id.slice(id.lastIndexOf('-') + 1)) - 1]
      return reason === undefined ? { status: 200 } : { status: 422, body: reason }
    }
    let server = await serve()
    const sent = await sendJobs(server.address, Array.from({ length: 5 }, () => ({ executable: '/bin/true' })), { folder })
    expect(sent).toMatchObject({ status: 0, summary: { sent: 5, accepted: 5, refused: 0, inDoubt: 0 } })
    const [first, second, third] = sent.ids as [string, string, string]
    expect(await settledAudit(store)).toMatchObject({ accepted: 5, submitted: 2, dead: 3, balanced: true })
    const listed = await list('dead')
    expect(listed.map(({ id }) => id).sort()).toEqual([first, second, third].sort())
    for (const { id, reason, at, segment } of listed) {
      expect(reason).toContain(id === second ? 'no such account' : 'no such queue')
      expect(reason).toContain('422')
      expect(Date.parse(at)).toBeGreaterThan(Date.now() - 60_000)
      expect(segment).toContain(server.instance)
    }
    expect(await command('dead', 'list')).toContain('no such account')
    const refused = await traceOf(store, first)
    expect(refused.state).toBe('dead')
    expect(refused.steps.find(({ step }) => step === 'refused')?.detail).toContain('no such queue')

    // As long as the cluster says no, a retry leads to the same dead letter.
    expect(await command('dead', 'retry', first)).toBe('retry: 1 job\n')
    await until('it is refused again', () => cluster.attempts(first) === 2)
    expect(await settledAudit(store)).toMatchObject({ submitted: 2, dead: 3, balanced: true })

    // Dead letters outlive the server.
    await server.end('SIGKILL')
    server = await serve()
    cluster.onPost = () => ({ status: 200 })
    expect(await command('dead', 'retry', first)).toBe('retry: 1 job\n')
    await until('it is taken', () => cluster.times(first) === 1)
    expect(await settledAudit(store)).toMatchObject({ submitted: 3, dead: 2, balanced: true })
    expect(await command('dead', 'retry', '--reason', 'account')).toBe('retry: 1 job\n')
    await until('it is taken', () => cluster.times(second) === 1)
    expect(await command('dead', 'retry', '--all')).toBe('retry: 1 job\n')
    await until('it is taken', () => cluster.times(third) === 1)
    expect(await settledAudit(store)).toMatchObject({ accepted: 5, submitted: 5, dead: 0, balanced: true })
    expect(await list('dead')).toEqual([])
    expect(await command('dead', 'retry', '--all')).toBe('retry: 0 jobs\n')
    // Named jobs that are no dead letters are named, and nothing is done to them.
    const wrong = await usher(['dead', 'retry', first, '--store', store])
    expect(wrong).toMatchObject({ status: 65, stdout: 'retry: 0 jobs\n' })
    expect(wrong.stderr).toContain(first)
    expect([...cluster.taken.values()]).toEqual([1, 1, 1, 1, 1])
    const { state, steps, cluster: at } = await traceOf(store, first)
    expect(state).toBe('submitted')
    expect(at).toEqual({ name: 'web', jobId: `c-${first}` })
    expect(steps.map(({ step }) => step)).toEqual([
      'accepted', 'written', 'transformed', 'admitted', 'intent', 'refused', 'retried', 'intent', 'refused', 'retried', 'intent', 'submitted',
    ])
  })

  it('is gone from the list when it is discarded, by id or by reason, and stays so', async () => {
    const { cluster, store, folder, serve, command, list } = await scriptedServer(cleanups)
    cluster.onPost = (id) => ({ status: 422, body: id.endsWith('-1') ? 'too large' : 'too many' })
    let server = await serve()
    const { ids } = await sendJobs(server.address, Array.from({ length: 4 }, () => ({ executable: '/bin/true' })), { folder })
    expect(await settledAudit(store)).toMatchObject({ dead: 4, balanced: true })
    expect(await command('dead', 'discard', ids[3]!)).toBe('discard: 1 job\n')
    expect(await command('dead', 'discard', '--all', '--reason', 'large')).toBe('discard: 1 job\n')
    expect((await list('dead')).map(({ id }) => id)).toEqual([ids[1], ids[2]])
    expect((await statusOf(store)).audit).toMatchObject({ dead: 2, discarded: 2, balanced: true })
    await server.end('SIGTERM')
    // Nobody leads: the command says so, and the decision waits in the store for whoever does.
    const early = await usher(['dead', 'discard', '--all', '--wait', '0.3', '--store', store])
    expect(early).toMatchObject({ status: 75, stdout: '', stderr: expect.stringContaining('no leader') as string })
    expect((await statusOf(store)).audit).toMatchObject({ dead: 2, discarded: 2, balanced: true })
    server = await serve()
    await until('the decision is carried out', async () => (await statusOf(store)).audit.dead === 0)
    expect((await statusOf(store)).audit).toMatchObject({ accepted: 4, dead: 0, discarded: 4, balanced: true })
    expect((await traceOf(store, ids[0]!)).state).toBe('discarded')
    expect(cluster.taken.size).toBe(0)
  })
})

describe('a job that the cluster refuses for now', () => {
  it.each([429, 503])('with %d and Retry-After is tried again no sooner, and submitted once', async (status) => {
    const { cluster, store, folder, serve } = await scriptedServer(cleanups)
    cluster.onPost = (_id, attempt) => (attempt <= 2 ? { status, body: 'busy', headers: { 'retry-after': '1' } } : { status: 200 })
    const server = await serve()
    const { ids } = await sendJobs(server.address, [{ executable: '/bin/true' }], { folder })
    const id = ids[0]!
    expect(await settledAudit(store)).toMatchObject({ accepted: 1, submitted: 1, dead: 0, balanced: true })
    const times = cluster.posts.map(({ atMs }) => atMs)
    expect(times).toHaveLength(3)
    for (const at of [1, 2]) expect(times[at]! - times[at - 1]!).toBeGreaterThanOrEqual(990)
    expect(cluster.times(id)).toBe(1)
    const { steps } = await traceOf(store, id)
    expect(steps.filter(({ step }) => step === 'postponed').map(({ detail }) => detail)).toEqual(Array(2).fill(expect.stringContaining(`${status}`)))
    for (const { headers } of cluster.posts) expect(headers['idempotency-key']).toBe(id)
  })

  it('without Retry-After is tried again until it is taken, and others are not held up by it', async () => {
    const { cluster, store, folder, serve } = await scriptedServer(cleanups, 'in_flight = 2')
    cluster.onPost = (id, attempt) => (id.endsWith('-1') && attempt < 6 ? { status: 500, body: 'down' } : { status: 200 })
    const server = await serve()
    const { ids } = await sendJobs(server.address, Array.from({ length: 20 }, () => ({ executable: '/bin/true' })), { folder })
    expect(await settledAudit(store)).toMatchObject({ accepted: 20, submitted: 20, balanced: true })
    expect(ids.map((id) => cluster.times(id))).toEqual(Array(20).fill(1))
    expect(cluster.attempts(ids[0]!)).toBe(6)
    const order = cluster.posts.map(({ id }) => id)
    expect(order.lastIndexOf(ids[0]!)).toBe(order.length - 1)
  })
})
