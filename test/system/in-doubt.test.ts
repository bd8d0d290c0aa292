// Submissions of which nobody knows whether they happened: never repeated on a guess. The cluster is asked; where it can't say,
// an operator does.
import { chmod, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { scriptedServer } from '../support/cluster-server.ts'
import { sendJobs } from '../support/sending.ts'
import { makeFolder, ServerProcess, settledAudit, statusOf, traceOf, until, usher } from '../support/usher-process.ts'

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup()
})

const inDoubt = (store: string, count: number): Promise<void> =>
  until(`${count} jobs are in doubt`, async () => {
    const { audit } = await statusOf(store)
    expect(audit.balanced, JSON.stringify(audit)).toBe(true)
    return audit.inDoubt === count && audit.waiting === 0
  })

describe('a cluster that takes a job and never answers', () => {
  it('is asked, has it, and the job is submitted once', async () => {
    const { cluster, store, folder, serve } = await scriptedServer(cleanups, 'timeout = 0.5\nsettle = 0.5')
    cluster.onPost = () => ({ status: 200, silent: true })
    const server = await serve()
    const { ids } = await sendJobs(server.address, [{ executable: '/bin/true' }, { executable: '/bin/false' }], { folder })
    expect(await settledAudit(store)).toMatchObject({ accepted: 2, submitted: 2, inDoubt: 0, balanced: true })
    expect(ids.map((id) => [cluster.times(id), cluster.attempts(id)])).toEqual([[1, 1], [1, 1]])
    const { state, cluster: at, steps } = await traceOf(store, ids[0]!)
    expect(state).toBe('submitted')
    expect(at).toEqual({ name: 'web', jobId: `c-${ids[0]!}` })
    expect(steps.map(({ step }) => step).slice(-3)).toEqual(['intent', 'in doubt', 'resolved'])
    expect(steps.at(-2)?.detail).toContain('no answer within 0.5 s')
  })

  it('and hasn\'t it, gets it again once its absence is proven', async () => {
    const { cluster, store, folder, serve } = await scriptedServer(cleanups, 'timeout = 0.4\nsettle = 1')
    cluster.onPost = (_id, attempt) => (attempt === 1 ? { status: 200, takes: false, silent: true } : { status: 200 })
    const server = await serve()
    const { ids } = await sendJobs(server.address, [{ executable: '/bin/true' }], { folder })
    expect(await settledAudit(store)).toMatchObject({ submitted: 1, inDoubt: 0, balanced: true })
    expect(cluster.times(ids[0]!)).toBe(1)
    const [first, second] = cluster.posts
    // The time-out, then the time for which the cluster might still show it late.
    expect(second!.atMs - first!.atMs).toBeGreaterThanOrEqual(1400 - 20)
    const { steps } = await traceOf(store, ids[0]!)
    expect(steps.find(({ step }) => step === 'resolved')?.detail).toContain("provably doesn't have it")
  })

  it('and can\'t say, leaves it in doubt over restarts until an operator decides', async () => {
    const { cluster, store, folder, serve, command, list } = await scriptedServer(cleanups, 'timeout = 0.3\nsettle = 0.3')
    cluster.onPost = () => ({ status: 200, silent: true })
    cluster.onFind = () => 500
    let server = await serve()
    const { ids } = await sendJobs(server.address, Array.from({ length: 3 }, () => ({ executable: '/bin/true' })), { folder })
    await inDoubt(store, 3)
    await until('the cluster was asked', () => cluster.finds >= 3)
    const doubtful = await list('doubt')
    expect(doubtful.map(({ id }) => id)).toEqual(ids)
    for (const { reason } of doubtful) expect(reason).toContain('no answer')
    expect(await command('resolve')).toContain(ids[0]!)
    expect((await traceOf(store, ids[0]!)).state).toBe('in doubt')

    await server.end('SIGKILL')
    await inDoubt(store, 3)
    server = await serve()
    await until('the new leader has asked', () => cluster.finds >= 6)
    await inDoubt(store, 3)
    expect([...cluster.taken.values()]).toEqual([1, 1, 1])

    expect(await command('resolve', ids[0]!, '--as', 'submitted', '--job-id', '4711')).toBe('submitted: 1 job\n')
    await inDoubt(store, 2)
    const { state, cluster: at, steps } = await traceOf(store, ids[0]!)
    expect(state).toBe('submitted')
    expect(at).toEqual({ name: 'web', jobId: '4711' })
    expect(steps.at(-1)).toMatchObject({ step: 'resolved', detail: expect.stringContaining('decided by') as string })

    // An operator who made sure that the cluster hasn't got it.
    cluster.forget(ids[1]!)
    cluster.onPost = () => ({ status: 200 })
    expect(await command('resolve', ids[1]!, '--as', 'absent')).toBe('absent: 1 job\n')
    await inDoubt(store, 1)
    expect(cluster.times(ids[1]!)).toBe(1)
    expect(cluster.attempts(ids[1]!)).toBe(2)
    // The cluster can say at last.
    cluster.onFind = () => undefined
    expect(await settledAudit(store)).toMatchObject({ accepted: 3, submitted: 3, inDoubt: 0, dead: 0, balanced: true })
    expect([...cluster.taken.values()]).toEqual([1, 1, 1])
    expect(await list('doubt')).toEqual([])
    expect(await server.end('SIGTERM'), server.log).toBe(0)
  })
})

describe('a program that submits and can\'t be asked', () => {
  it('leaves what it didn\'t answer for in doubt until an operator decides', async () => {
    const folder = await makeFolder()
    cleanups.push(folder.remove)
    const store = join(folder.path, 'store')
    const program = join(folder.path, 'submit')
    const mood = join(folder.path, 'unwell')
    const taken = join(folder.path, 'taken')
    await writeFile(program, `#!/bin/sh\ncat >>'${taken}'\nif [ -e '${mood}' ]; then echo 'lost my mind' >&2; exit 3; fi\necho "job-$USHER_JOB_ID"\n`)
    await chmod(program, 0o755)
    await writeFile(mood, '')
    const config = `lease = 0.5\n[log]\nlevel = "warn"\n[cluster.own]\ndriver = "command"\nsubmit = ["${program}"]\n`
    const server = await ServerProcess.start({ config, store, folder: folder.path })
    cleanups.push(() => server.end('SIGKILL'))
    const { ids } = await sendJobs(server.address, [{ executable: '/bin/true' }, { executable: '/bin/false' }], { folder: folder.path })
    await inDoubt(store, 2)
    const linesOf = async (): Promise<string[]> => (await readFile(taken, 'utf8')).trim().split('\n').map((line) => (JSON.parse(line) as { id: string }).id)
    expect((await linesOf()).sort()).toEqual([...ids].sort())
    const decide = async (...args: string[]): Promise<string> => {
      const { status, stdout, stderr } = await usher(['resolve', ...args, '--store', store])
      expect(status, stderr).toBe(0)
      return stdout
    }
    const listed = await decide()
    for (const id of ids) expect(listed).toContain(id)
    expect(listed).toContain('lost my mind')
    await rm(mood)
    await decide(ids[0]!, '--as', 'absent')
    await inDoubt(store, 1)
    expect((await linesOf()).filter((id) => id === ids[0])).toHaveLength(2)
    expect((await traceOf(store, ids[0]!)).cluster).toEqual({ name: 'own', jobId: `job-${ids[0]!}` })
    await decide(ids[1]!, '--as', 'submitted', '--job-id', '99')
    expect(await settledAudit(store)).toMatchObject({ accepted: 2, submitted: 2, inDoubt: 0, balanced: true })
    expect((await linesOf()).filter((id) => id === ids[1])).toHaveLength(1)
    expect((await traceOf(store, ids[1]!)).cluster).toEqual({ name: 'own', jobId: '99' })
  })
})
