// Which hosts work on a store: admission, expulsion, drains asked for from elsewhere, and a second start on one host.
import { afterEach, describe, expect, it } from 'vitest'
import { Client } from '../../src/client/client.ts'
import { Sink } from '../support/sink.ts'
import { makeFolder, ServerProcess, settledAudit, statusOf, until, usher } from '../support/usher-process.ts'

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup()
})

const stage = async () => {
  const folder = await makeFolder()
  cleanups.push(folder.remove)
  const sink = await Sink.start()
  cleanups.push(() => sink.close())
  const store = `${folder.path}/store`
  const settings = (host: string, more = '') => ({
    config: `host = "${host}"\nlease = 1\naccept_lease = 2\n${more}\n[log]\nlevel = "info"\nformat = "json"\n[cluster.sink]\ndriver = "http"\nurl = "${sink.url}"\nsettle = 0.5\n`,
    store,
    folder: folder.path,
  })
  const launch = async (host: string, more = '') => {
    const launched = await ServerProcess.launch(settings(host, more))
    cleanups.push(() => launched.child.kill('SIGKILL'))
    return launched
  }
  const serve = async (host: string, more = '') => (await launch(host, more)).ready
  const run = (...args: string[]) => usher([...args, '--store', store])
  const hostOf = async (host: string) => (await statusOf(store)).instances.find((one) => one.host === host)
  return { store, sink, settings, launch, serve, run, hostOf }
}

const listed = 'admission = "listed"'

describe('a host that is not admitted', () => {
  it('waits, seen by everybody, and accepts by itself once it is admitted', async () => {
    const { store, sink, launch, run, hostOf } = await stage()
    const { child, ready, log } = await launch('one', listed)
    await until('it waits', async () => (await statusOf(store).catch(() => null))?.instances[0]?.reason.startsWith('waiting for admission') === true)
    expect(await hostOf('one')).toMatchObject({ role: 'ineligible', eligible: false, accepting: false, listen: '', reason: 'waiting for admission: usher admit one', pid: child.pid })
    expect((await run('status')).stdout).toContain('waiting for admission: usher admit one')
    expect(JSON.parse((await run('admit', '--list', '--json')).stdout)).toEqual({ inForce: false, hosts: [], waiting: ['one'] })
    // It has no submitter, so it can't lead however long it waits.
    expect((await statusOf(store)).leader).toBeNull()

    expect(await run('admit', 'one')).toMatchObject({ status: 0, stdout: 'one is admitted\n' })
    const server = await ready
    expect(log()).toContain('no jobs are accepted or submitted: waiting for admission')
    const client = new Client({ addresses: server.address })
    cleanups.push(() => client.close())
    const { id, instance } = await client.send({ executable: '/bin/true' })
    expect(instance).toBe((await hostOf('one'))?.instance)
    await until('it is submitted', () => sink.taken.has(id))
    expect(await run('admit', 'one')).toMatchObject({ status: 0, stdout: 'one was admitted already\n' })
    const list = JSON.parse((await run('admit', '--list', '--json')).stdout) as { hosts: unknown[] }
    expect(list).toMatchObject({ inForce: true, hosts: [{ host: 'one', admitted: true }], waiting: [] })
    expect(list.hosts).toHaveLength(1)
  })

  it('waits though its own configuration says open, where the store has a list', async () => {
    const { store, launch, serve, run, hostOf } = await stage()
    await serve('one')
    // Nobody who works is shut out by surprise.
    const refused = await run('admit', 'two')
    expect(refused.status).toBe(65)
    expect(refused.stderr).toContain('one would stop')
    expect(refused.stderr).toContain('usher admit one two')
    expect((await run('admit', 'one')).status).toBe(0)
    const { ready } = await launch('forgotten')
    await until('it waits', async () => (await hostOf('forgotten'))?.reason === 'waiting for admission: usher admit forgotten')
    expect((await statusOf(store)).leader?.host).toBe('one')
    expect((await run('admit', '--clear')).status).toBe(0)
    await ready
  })
})

describe('a host that is expelled', () => {
  it('sends its producers elsewhere, resigns, shows why, and comes back when it is admitted', async () => {
    const { store, sink, serve, run, hostOf } = await stage()
    const one = await serve('one')
    await until('one leads', async () => (await statusOf(store)).leader?.host === 'one')
    const two = await serve('two')
    await until('two follows', async () => (await hostOf('two'))?.role === 'follower')
    const client = new Client({ addresses: one.address, backoffBaseMs: 10, backoffMostMs: 100 })
    cleanups.push(() => client.close())
    const named: string[] = []
    client.on('goodbye', ({ addresses }) => named.push(...addresses))
    const before = [await client.send({ executable: '/bin/true' })]
    expect(before[0]?.instance).toBe(one.instance)

    expect(await run('expel', 'one')).toMatchObject({ status: 0, stdout: 'one is expelled\n' })
    await until('two leads', async () => (await statusOf(store)).leader?.host === 'two')
    await until('the producer is sent on', () => named.length > 0)
    expect(named).toEqual([two.address])
    const after = await client.send({ executable: '/bin/true' })
    expect(after.instance).toBe(two.instance)
    await until('it shows why', async () => (await hostOf('one'))?.reason.startsWith('expelled by ') === true)
    expect(await hostOf('one')).toMatchObject({ role: 'ineligible', eligible: false, accepting: false })
    expect(one.exited).toBe(false)
    const direct = new Client({ addresses: one.address, retry: false, timeoutMs: 300 })
    await expect(direct.send({ executable: '/bin/true' })).rejects.toThrow()
    direct.destroy()

    await settledAudit(store)
    const taken = [...sink.taken.values()].flat()
    expect(taken.map(({ id }) => id).sort()).toEqual([before[0]!.id, after.id].sort())
    expect(taken.find(({ id }) => id === after.id)?.host).toBe('two')
    expect((await run('admit', 'one', '--only')).status).toBe(0)
    // The list names only it now.
    await until('two waits', async () => (await hostOf('two'))?.reason.startsWith('waiting') === true)
    await until('one leads again', async () => (await statusOf(store)).leader?.host === 'one')
    expect(await hostOf('one')).toMatchObject({ accepting: true, listen: one.address })
  })
})

describe('usher drain', () => {
  it('ends the usher of a host in order from any host, and no later one', async () => {
    const { store, sink, serve, run, hostOf } = await stage()
    const one = await serve('one')
    const two = await serve('two')
    await until('both stand', async () => (await hostOf('one'))?.eligible === true && (await hostOf('two'))?.eligible === true)
    const client = new Client({ addresses: [one.address, two.address], backoffBaseMs: 10, backoffMostMs: 100 })
    cleanups.push(() => client.close())
    const load = { on: true }
    const ids: string[] = []
    const sending = (async () => {
      while (load.on) ids.push((await client.send({ executable: '/bin/true' })).id)
    })()
    await until('jobs flow', () => sink.count > 20)
    const leader = (await statusOf(store)).leader!.host
    const [leading, following] = leader === 'one' ? [one, two] : [two, one]
    // A signal that changes nothing: only for its promise of the exit.
    const exited = leading.end('SIGCONT')
    const drained = await run('drain', '--host', leader, '--json')
    expect(drained, drained.stderr).toMatchObject({ status: 0 })
    expect(JSON.parse(drained.stdout)).toMatchObject({ host: leader, done: true, instances: [{ instance: leading.instance, state: 'ended' }] })
    expect(await exited, leading.log).toBe(0)
    expect(leading.log).toContain('asked to end by ')
    const count = sink.count
    await until('the other submits', () => sink.count > count + 20)
    expect((await statusOf(store)).leader?.instance).toBe(following.instance)
    load.on = false
    await sending
    const again = await serve(leader)
    expect(await settledAudit(store)).toMatchObject({ accepted: ids.length, submitted: ids.length, balanced: true })
    expect(sink.twice).toEqual([])
    expect((await hostOf(leader))?.instance).toBe(again.instance)
    expect(again.exited).toBe(false)
  })

  it('says what is not there, and 75 for what does not end in time', async () => {
    const { serve, run } = await stage()
    const one = await serve('one')
    const missing = await run('drain', '--host', 'nowhere')
    expect(missing.status).toBe(65)
    expect(missing.stderr).toContain('no usher of host nowhere runs')
    expect(missing.stderr).toContain('running: one')
    // Paused: it lives and sees nothing.
    one.child.kill('SIGSTOP')
    const late = await run('drain', '--host', 'one', '--wait', '0.2', '--json')
    one.child.kill('SIGCONT')
    expect(late.status).toBe(75)
    expect(JSON.parse(late.stdout)).toMatchObject({ done: false, instances: [{ state: 'running' }] })
    await until('it ends all the same', () => one.exited)
    expect(one.child.exitCode, one.log).toBe(0)
  })

  it('reaches a host that waits for admission', async () => {
    const { launch, run, hostOf } = await stage()
    const { child } = await launch('one', listed)
    await until('it waits', async () => (await hostOf('one').catch(() => undefined))?.role === 'ineligible')
    expect(await run('drain', '--host', 'one')).toMatchObject({ status: 0 })
    await until('it has ended', () => child.exitCode !== null)
    expect(child.exitCode).toBe(0)
  })
})

describe('a second start on one host', () => {
  it('is told who runs already, and what to do', async () => {
    const { launch, serve } = await stage()
    const one = await serve('one')
    const { child, ready } = await launch('one')
    const message = await ready.then(() => 'started', String)
    expect(child.exitCode).toBe(69)
    expect(message).toContain(`usher runs on one already: instance ${one.instance}, pid ${one.child.pid} of user `)
    expect(message).toContain(`accepts jobs on ${one.address}`)
    expect(message).toContain("usher drain --host one")
    // In JSON, as all messages with --json.
    expect(message).toContain('host = \\"…\\"')
    // On purpose, under a name of its own.
    await serve('one-b')
  })

  it('follows at once on one that was killed, or has ended, though it is paused no more', async () => {
    const { store, serve } = await stage()
    for (const signal of ['SIGKILL', 'SIGTERM'] as const) {
      const server = await serve('one')
      await server.end(signal)
    }
    const paused = await serve('one')
    paused.child.kill('SIGSTOP')
    // It lives, and would go on: no beat moves, but its process is there.
    const message = await serve('one').then(() => 'started', String)
    expect(message).toContain(`pid ${paused.child.pid} `)
    await paused.end('SIGKILL')
    const last = await serve('one')
    await until('it leads', async () => (await statusOf(store)).leader?.instance === last.instance)
  })
})
