// Several clusters behind one server: each job goes to its own, and one that takes nothing holds up nobody else.
import { afterEach, describe, expect, it } from 'vitest'
import { Client } from '../../src/client/client.ts'
import { scriptedServer } from '../support/cluster-server.ts'
import { sendJobs } from '../support/sending.ts'
import { settledAudit, statusOf, traceOf, until } from '../support/usher-process.ts'

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup()
})

const many = 50_000

describe('a cluster that takes nothing', () => {
  it(`doesn't hold up another's jobs behind ${many} of its own, which wait over a restart`, async () => {
    // A window far smaller than what waits.
    const { cluster, store, serve } = await scriptedServer(cleanups, 'batch = 1\n[cluster.paused]\ndriver = "discard"\npause = true', '[segments]\nbytes = "256 KiB"')
    let server = await serve()
    let client = new Client({ addresses: server.address })
    const waiting = Array.from({ length: many }, (_, i) => ({ executable: '/bin/true', arguments: [`${i}`], cluster: 'paused' }))
    const { accepted } = await client.sendAll(waiting)
    expect(accepted).toBe(many)
    const send = async (count: number): Promise<string[]> => (await Promise.all(Array.from({ length: count }, () => client.send({ executable: '/bin/true', cluster: 'web' })))).map(({ id }) => id)
    const first = await send(20)
    await until('they are submitted', () => first.every((id) => cluster.times(id) === 1), 10_000)
    // In one segment with jobs of the other, too.
    const mixed = (await Promise.all(Array.from({ length: 100 }, (_, i) => client.send({ executable: '/bin/true', cluster: i % 2 === 0 ? 'paused' : 'web' })))).map(({ id }) => id)
    await until('the ones in between are submitted', () => mixed.every((id, i) => cluster.times(id) === i % 2), 10_000)
    expect((await statusOf(store)).audit).toMatchObject({ accepted: many + 120, submitted: 70, waiting: many + 50, inDoubt: 0, dead: 0, balanced: true })
    await client.close()

    await server.end('SIGKILL')
    server = await serve()
    client = new Client({ addresses: server.address })
    const later = await send(20)
    await until('they are submitted', () => later.every((id) => cluster.times(id) === 1), 20_000)
    await client.close()
    expect((await statusOf(store)).audit).toMatchObject({ accepted: many + 140, submitted: 90, waiting: many + 50, balanced: true })
    expect((await traceOf(store, mixed[0]!)).state).toBe('waiting')
    expect((await traceOf(store, mixed[1]!)).cluster).toMatchObject({ name: 'web' })
    expect(cluster.taken.size).toBe(90)
    expect(await server.end('SIGTERM'), server.log).toBe(0)
  })
})

describe('a job among several clusters', () => {
  it('must name one that is configured, and goes there', async () => {
    const { cluster, store, folder, serve } = await scriptedServer(cleanups, '[cluster.bin]\ndriver = "discard"')
    const server = await serve()
    const jobs = [{ executable: '/bin/true' }, { executable: '/bin/true', cluster: 'moon' }, { executable: '/bin/true', cluster: 'web' }, { executable: '/bin/true', cluster: 'bin' }]
    const { status, failures, ids } = await sendJobs(server.address, jobs, { folder })
    expect(status).toBe(65)
    expect(failures.map(({ line, code }) => [line, code]).sort()).toEqual([[1, 'cluster_required'], [2, 'cluster_unknown']])
    expect(await settledAudit(store)).toMatchObject({ accepted: 2, submitted: 2, balanced: true })
    expect([...cluster.taken.keys()]).toEqual([ids.find((id) => id.endsWith('-3'))])
    const named = await sendJobs(server.address, [{ executable: '/bin/true' }, { executable: '/bin/true', cluster: 'bin' }], { folder, args: ['--cluster', 'web'] })
    expect(named.status).toBe(0)
    expect(await settledAudit(store)).toMatchObject({ accepted: 4, submitted: 4, balanced: true })
    expect(cluster.taken.size).toBe(2)
  })
})
