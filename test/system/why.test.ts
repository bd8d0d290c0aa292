// `usher why` and the warnings of `usher status`, on real servers: what people read when something doesn't go on.
import { readFile } from 'node:fs/promises'
import { afterEach, describe, expect, it } from 'vitest'
import { codes } from '../../src/base/errors.ts'
import type { Why } from '../../src/submit/why.ts'
import { ScriptedCluster } from '../support/scripted-cluster.ts'
import { leaveSegments, segmentFiles } from '../support/segments.ts'
import { sendJobs } from '../support/sending.ts'
import { makeFolder, ServerProcess, statusOf, until, usher } from '../support/usher-process.ts'

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup()
})

const stage = async () => {
  const folder = await makeFolder()
  cleanups.push(folder.remove)
  const cluster = await ScriptedCluster.start()
  cleanups.push(() => cluster.close())
  const store = `${folder.path}/store`
  const good = `driver = "http"\nurl = "${cluster.url}"\nsettle = 0.2\ntimeout = 1`
  /** Its program isn't there: this host can't submit. */
  const broken = 'driver = "command"\nsubmit = ["/nowhere/submit"]'
  const serve = async (host: string, main = good, more = 'retry_max = 2', top = ''): Promise<ServerProcess> => {
    const config = `host = "${host}"\nlease = 0.5\naccept_lease = 1\n${top}\n[log]\nlevel = "warn"\n[submit]\n${more}\n[cluster.main]\n${main}\n`
    const server = await ServerProcess.start({ config, store, folder: folder.path })
    cleanups.push(() => server.end('SIGKILL'))
    return server
  }
  const run = (...args: string[]) => usher([...args, '--store', store])
  const why = async (id: string): Promise<Why> => {
    const { status, stdout, stderr } = await run('why', id, '--json')
    if (status !== 0) throw new Error(`usher why ended with ${status}: ${stderr}`)
    return JSON.parse(stdout) as Why
  }
  const send = async (server: ServerProcess, count = 1) => {
    const { ids } = await sendJobs(server.address, Array.from({ length: count }, () => ({ executable: '/bin/true' })), { folder: folder.path })
    return ids
  }
  const hostOf = async (host: string) => (await statusOf(store)).instances.find((one) => one.host === host)
  return { folder: folder.path, store, cluster, broken, serve, run, why, send, hostOf }
}

describe('usher why', () => {
  it('follows a job that its cluster puts off, refuses, takes, and leaves in doubt', async () => {
    const { cluster, serve, run, why, send } = await stage()
    const server = await serve('one')
    cluster.onPost = () => ({ status: 503, body: 'come back later' })
    const [put] = await send(server)
    await until('it was put off', async () => (await why(put!)).postponed >= 2)
    const waiting = await why(put!)
    expect(waiting).toMatchObject({ state: 'waiting', cluster: 'main', leader: { host: 'one' } })
    expect(waiting.sentence).toMatch(/^waiting: cluster main didn't take it when it was last asked by one in term \d+ at .*503.*; tried \d+ times, and tried again (any moment|in at most about \d s)$/)
    expect((await run('why', put!)).stdout).toMatch(/^waiting: cluster main didn't take it .*\n$/)

    cluster.onPost = () => ({ status: 200 })
    await until('it is submitted', async () => (await why(put!)).state === 'submitted')
    expect((await why(put!)).sentence).toMatch(new RegExp(`^submitted to cluster main as c-${put} by one in term \\d+ at `))

    cluster.onPost = () => ({ status: 400, body: 'no such queue' })
    const [refused] = await send(server)
    await until('it is dead', async () => (await why(refused!)).state === 'dead')
    expect(await why(refused!)).toMatchObject({ command: `usher dead retry ${refused}`, sentence: expect.stringContaining('no such queue') as string })

    cluster.onPost = () => ({ status: 200, takes: false, silent: true })
    cluster.onFind = () => 500
    const [doubted] = await send(server)
    await until('it is in doubt', async () => (await why(doubted!)).state === 'in doubt')
    expect((await why(doubted!)).sentence).toMatch(/^in doubt since .*; one, which leads, asks cluster main whether it has it; where nobody can tell, 'usher resolve /)
  })

  it('says that nobody leads and why, that a decision waits, and that a gone instance is adopted', async () => {
    const { store, cluster, broken, serve, run, why, send } = await stage()
    const server = await serve('one', broken)
    const [id] = await send(server)
    await until('the preflight has failed', async () => (await statusOf(store)).whyNobodyLeads.some((reason) => reason.startsWith('one is not eligible (cluster main: ')))
    expect((await why(id!)).sentence).toMatch(/^waiting: accepted on one at .*; nobody leads: one is not eligible \(cluster main: .*\/nowhere\/submit/)
    const { stdout } = await run('status')
    expect(stdout).toContain('nobody leads: jobs are accepted, and wait')
    expect(stdout).toContain('one is not eligible (cluster main: ')
    // From a machine that isn't the leader, with nobody leading: kept for whoever leads next.
    const decision = await run('dead', 'discard', '--all', '--wait', '0.2')
    expect(decision.status).toBe(codes.timed_out.exit)
    expect(decision.stderr).toContain('it stays in the store')
    const resolving = await run('resolve', id!, '--as', 'absent', '--wait', '0.2')
    expect(resolving.status).toBe(codes.timed_out.exit)

    // What a host accepted and never transformed, seen without a leader, and adopted by one.
    const [xml] = await segmentFiles(store, '.xml')
    const orphan = 'lost-20261123T040000-abcdef'
    const text = await readFile(xml!.path, 'utf8')
    const left = id!.replace(/-\d+$/, '-987654321')
    await leaveSegments(store, orphan, { '0000000001.xml': text.replaceAll(id!, left).replace(/<\?usher-commit[^>]*\?>\n/g, '') })
    expect((await why(left)).sentence).toMatch(/not yet transformed; nobody leads: one is not eligible/)
    expect((await run('why', '0000000000000001-1')).status).toBe(codes.not_found.exit)
    expect((await run('why', '0000000000000001-1')).stderr).toContain('was never accepted by this store')

    await serve('two')
    for (const job of [id!, left]) await until(`${job} is submitted`, async () => (await why(job)).state === 'submitted')
    expect((await why(id!)).sentence).toMatch(/by two in term/)
    expect(cluster.times(left)).toBe(1)
  })
})

describe('usher status', () => {
  it('names the host that cannot submit and why, and which host has which configuration', async () => {
    const { store, broken, serve, run, hostOf } = await stage()
    await serve('one')
    await serve('two')
    await serve('three', broken, 'retry_max = 3')
    await until('three says why it is not eligible', async () => (await hostOf('three'))?.reason.includes('/nowhere/submit') === true)
    await until('somebody leads', async () => (await statusOf(store)).leader !== null)
    const { instances, warnings, whyNobodyLeads } = await statusOf(store)
    const digest = (host: string) => instances.find((one) => one.host === host)?.configDigest
    expect(digest('one')).toBe(digest('two'))
    expect(warnings).toEqual([`hosts run different configurations: ${digest('one')} on one, two; ${digest('three')} on three: compare 'usher config show'`])
    expect(whyNobodyLeads).toEqual([])
    expect(await hostOf('three')).toMatchObject({ accepting: true, eligible: false, reason: expect.stringContaining('/nowhere/submit') as string })
    expect((await run('status')).stdout).toMatch(/three .* ineligible .*\/nowhere\/submit/)
  })

  it('says of a silent instance whether its process is no more', async () => {
    const { store, serve, hostOf } = await stage()
    const one = await serve('one')
    await one.end('SIGKILL')
    expect(await hostOf('one')).toMatchObject({ role: 'gone', reason: `its process ${one.child.pid} is no more` })
    expect((await statusOf(store)).whyNobodyLeads).toEqual([])
    expect((await usher(['status', '--store', store])).stdout).toContain('nobody leads: no job is accepted or submitted')
  })
})

describe('a leader whose host lacks one of two clusters', () => {
  it('makes room for a host that has both, so that no job waits for ever', async () => {
    const { store, cluster, serve, why, send, folder } = await stage()
    const both = (second: string): string => `driver = "http"\nurl = "${cluster.url}"\n[cluster.second]\n${second}`
    const lacking = await serve('one', both('driver = "command"\nsubmit = ["/nowhere/submit"]'), 'retry_max = 2', 'default_cluster = "main"')
    await until('one leads', async () => (await statusOf(store)).leader?.host === 'one')
    const { ids } = await sendJobs(lacking.address, [{ executable: '/bin/true', cluster: 'second' }], { folder })
    const [id] = await send(lacking)
    await until('what it can submit is submitted', () => cluster.times(id!) === 1)
    await until('it is known why the other waits', async () => (await why(ids[0]!)).sentence.startsWith("waiting: one, which leads, can't submit to cluster second now: "))
    const able = await serve('two', both(`driver = "http"\nurl = "${cluster.url}"`), 'retry_max = 2', 'default_cluster = "main"')
    await until('it is submitted', () => cluster.times(ids[0]!) === 1)
    expect((await statusOf(store)).leader?.instance).toBe(able.instance)
    expect([cluster.times(id!), cluster.times(ids[0]!)]).toEqual([1, 1])
  })
})
