// What one id stands for: the same job sent twice is submitted once, another job under its id is not submitted at all, and
// both stay true over restarts.
import { afterEach, describe, expect, it } from 'vitest'
import { Client } from '../../src/client/client.ts'
import { ScriptedCluster } from '../support/scripted-cluster.ts'
import { makeFolder, ServerProcess, settledAudit, statusOf, traceOf, usher } from '../support/usher-process.ts'

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup()
})

const start = async () => {
  const folder = await makeFolder()
  cleanups.push(folder.remove)
  const cluster = await ScriptedCluster.start()
  cleanups.push(() => cluster.close())
  const store = `${folder.path}/store`
  const config = `lease = 0.5\naccept_lease = 2\n[log]\nlevel = "warn"\n[cluster.web]\ndriver = "http"\nurl = "${cluster.url}"\nsettle = 0.5\n`
  const serve = async (): Promise<ServerProcess> => {
    const server = await ServerProcess.start({ config, store, folder: folder.path })
    cleanups.push(() => server.end('SIGKILL'))
    return server
  }
  return { cluster, store, serve }
}

const producer = 0x9f8c2e71a4b0d3e5n
const idOf = (sequence: number): string => `9f8c2e71a4b0d3e5-${sequence}`

/** One connection for one job. */
const sendOn = async (server: ServerProcess, sequence: number, ...args: string[]): Promise<string> => {
  const client = new Client({ addresses: server.address, producer })
  try {
    const { id } = await client.send({ executable: '/bin/echo', arguments: args }, { sequence })
    return id
  } finally {
    await client.close()
  }
}

interface Listed {
  readonly id: string
  readonly reason: string
  readonly segment: string
  readonly at: string
}

const deadLetters = async (store: string): Promise<Listed[]> => {
  const { status, stdout, stderr } = await usher(['dead', 'list', '--json', '--store', store])
  expect(status, stderr).toBe(0)
  return JSON.parse(stdout) as Listed[]
}

describe('a job id', () => {
  it('that comes twice with one content is submitted once and counted as a duplicate, after restarts too', async () => {
    const { cluster, store, serve } = await start()
    let server = await serve()
    expect(await sendOn(server, 17, 'hello')).toBe(idOf(17))
    expect(await settledAudit(store)).toMatchObject({ accepted: 1, submitted: 1, duplicates: 0, balanced: true })
    expect(await sendOn(server, 17, 'hello')).toBe(idOf(17))
    expect(await settledAudit(store)).toMatchObject({ accepted: 2, submitted: 1, duplicates: 1, dead: 0, balanced: true })

    for (const [round, signal] of (['SIGTERM', 'SIGKILL'] as const).entries()) {
      await server.end(signal)
      server = await serve()
      await sendOn(server, 17, 'hello')
      await sendOn(server, 18 + round, 'another')
      const audit = await settledAudit(store)
      expect(audit, server.log).toMatchObject({ accepted: 4 + 2 * round, submitted: 2 + round, duplicates: 2 + round, dead: 0, balanced: true })
    }
    expect([...cluster.taken]).toEqual([[idOf(17), 1], [idOf(18), 1], [idOf(19), 1]])
    const { state, cluster: at, steps } = await traceOf(store, idOf(17))
    expect(state).toBe('submitted')
    expect(at).toEqual({ name: 'web', jobId: `c-${idOf(17)}` })
    expect(steps.filter(({ step }) => step === 'accepted')).toHaveLength(4)
    expect(steps.filter(({ step }) => step === 'duplicate')).toHaveLength(3)
    expect(steps.filter(({ step }) => step === 'submitted')).toHaveLength(1)
  })

  it('that comes on several connections at once is submitted once', async () => {
    const { cluster, store, serve } = await start()
    const server = await serve()
    const ids = await Promise.all(Array.from({ length: 8 }, () => sendOn(server, 5, 'x')))
    expect(new Set(ids)).toEqual(new Set([idOf(5)]))
    expect(await settledAudit(store)).toMatchObject({ accepted: 8, submitted: 1, duplicates: 7, balanced: true })
    expect([...cluster.taken]).toEqual([[idOf(5), 1]])
  })

  it('that comes again with another content is a dead letter that can be discarded and never submitted', async () => {
    const { cluster, store, serve } = await start()
    let server = await serve()
    await sendOn(server, 7, 'the first')
    await settledAudit(store)
    await sendOn(server, 7, 'the second')
    expect(await settledAudit(store)).toMatchObject({ accepted: 2, submitted: 1, dead: 1, duplicates: 0, balanced: true })
    const [letter, ...others] = await deadLetters(store)
    expect(others).toEqual([])
    expect(letter).toMatchObject({ id: idOf(7), reason: expect.stringContaining('id_conflict') as string })

    // The first content holds, whoever looks: after a restart, too.
    await server.end('SIGKILL')
    server = await serve()
    await sendOn(server, 7, 'the first')
    await sendOn(server, 7, 'the third')
    expect(await settledAudit(store)).toMatchObject({ accepted: 4, submitted: 1, dead: 2, duplicates: 1, balanced: true })
    const trace = await traceOf(store, idOf(7))
    expect(trace.spec?.arguments).toEqual(['the first'])
    expect(trace.state).toBe('submitted')

    // By name it is said that it can't be: the id belongs to another job.
    for (const [args, status] of [[[idOf(7)], 65], [['--all'], 0]] as const) {
      const retried = await usher(['dead', 'retry', ...args, '--store', store])
      expect(retried.status, retried.stderr).toBe(status)
      expect(retried.stdout).toContain('0 jobs')
    }
    expect((await statusOf(store)).audit).toMatchObject({ submitted: 1, dead: 2, waiting: 0, balanced: true })
    const discarded = await usher(['dead', 'discard', idOf(7), '--store', store, '--json'])
    expect(discarded.status, discarded.stderr).toBe(0)
    expect(JSON.parse(discarded.stdout)).toMatchObject({ result: 'discard: 2 jobs' })
    expect(await deadLetters(store)).toEqual([])
    expect((await statusOf(store)).audit).toMatchObject({ accepted: 4, submitted: 1, dead: 0, discarded: 2, duplicates: 1, balanced: true })

    await server.end('SIGTERM')
    server = await serve()
    expect(await settledAudit(store)).toMatchObject({ accepted: 4, submitted: 1, dead: 0, discarded: 2, duplicates: 1, balanced: true })
    expect([...cluster.taken]).toEqual([[idOf(7), 1]])
    expect(cluster.posts.map(({ body }) => (JSON.parse(body) as { spec: { arguments: string[] } }).spec.arguments)).toEqual([['the first']])
  })
})
