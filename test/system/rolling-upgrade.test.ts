// Three hosts are upgraded one after the other while producers go on: told to stop, ended in order, started again in another
// version with another configuration. Nobody who sends jobs may notice, and every job runs once.
import { cp, readFile, rename, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { connect } from '../../src/client/client.ts'
import type { UsherError } from '../../src/client/client.ts'
import { codes } from '../../src/base/errors.ts'
import { storeFormat } from '../../src/store/identity.ts'
import { Sink } from '../support/sink.ts'
import { SteadyLoad } from '../support/steady-load.ts'
import { makeFolder, root, ServerProcess, settledAudit, statusOf, traceOf, until, usher } from '../support/usher-process.ts'

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup()
})

const versionOf = async (folder: string): Promise<string> => (JSON.parse(await readFile(join(folder, 'package.json'), 'utf8')) as { version: string }).version

/** This program under another version number: its files copied, since a link would lead back to this version's package.json. */
const programOf = async (folder: string, version: string): Promise<string> => {
  const copy = join(folder, `usher-${version}`)
  await cp(join(root, 'dist'), join(copy, 'dist'), { recursive: true })
  const manifest = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as Record<string, unknown>
  await writeFile(join(copy, 'package.json'), JSON.stringify({ ...manifest, version }))
  for (const shared of ['node_modules', 'build']) await symlink(join(root, shared), join(copy, shared))
  return join(copy, 'dist', 'cli', 'usher.cjs')
}

/** The same as it would be if it knew no later format of the store. */
const earlierProgramOf = async (folder: string, version: string): Promise<string> => {
  const program = await programOf(folder, version)
  const file = join(folder, `usher-${version}`, 'dist', 'store', 'identity.js')
  const text = await readFile(file, 'utf8')
  const earlier = text.replace(`storeFormat = ${storeFormat};`, `storeFormat = ${storeFormat - 1};`)
  expect(earlier).not.toBe(text)
  await writeFile(file, earlier)
  return program
}

const hosts = ['one', 'two', 'three'] as const
type Host = (typeof hosts)[number]
const [one, two, three] = hosts

const startThree = async () => {
  const folder = await makeFolder()
  cleanups.push(folder.remove)
  const sink = await Sink.start()
  cleanups.push(() => sink.close())
  const store = `${folder.path}/store`
  // So long a lease that a job which waits for one to run out shows, however slow the machine is.
  const serve = async (host: Host, retryMax: number, more: { readonly listen?: string; readonly program?: string } = {}): Promise<ServerProcess> => {
    const config = `host = "${host}"\nlease = 60\naccept_lease = 30\n[log]\nlevel = "info"\nformat = "json"\n[submit]\nretry_max = ${retryMax}\n[cluster.sink]\ndriver = "http"\nurl = "${sink.url}"\nsettle = 0.5\ntimeout = 5\n`
    const server = await ServerProcess.start({ config, store, folder: folder.path, ...more })
    cleanups.push(() => server.end('SIGKILL'))
    return server
  }
  const servers = { [one]: await serve(one, 1) } as Record<Host, ServerProcess>
  await until('the first leads', async () => (await statusOf(store)).leader?.host === one)
  for (const host of [two, three]) servers[host] = await serve(host, 1)
  const plays = async (server: ServerProcess, role: string): Promise<boolean> =>
    (await statusOf(store)).instances.some((instance) => instance.instance === server.instance && instance.role === role)
  for (const host of [two, three]) await until(`${host} follows`, () => plays(servers[host], 'follower'))
  return { folder: folder.path, store, sink, serve, servers, plays }
}

/** A producer that only knows this host, for what it is told when the host goes. */
const listenTo = async (address: string): Promise<{ told: () => readonly { code: number; addresses: readonly string[] }[]; end: () => void }> => {
  const client = await connect({ addresses: address, backoffBaseMs: 50, backoffMostMs: 200 })
  const told: { code: number; addresses: readonly string[] }[] = []
  client.on('goodbye', ({ code, addresses }) => {
    told.push({ code, addresses })
    client.destroy()
  })
  cleanups.push(() => client.destroy())
  return { told: () => told, end: () => client.destroy() }
}

describe('three hosts under load', () => {
  it.each<[string, readonly Host[]]>([
    ['the leader last', [two, three, one]],
    ['the leader first', [one, two, three]],
  ])('are upgraded one by one, %s: no job is lost, doubled or refused, and producers are led to the others', async (_, order) => {
    const { folder, store, sink, serve, servers, plays } = await startThree()
    const [before, after] = [await versionOf(root), '99.1.0']
    const program = await programOf(folder, after)
    const addresses = hosts.map((host) => servers[host].address)
    // Each begins with another host: what chance leaves in their order, this takes as it is.
    const random = (): number => 0.999_999
    const loads = addresses.map((_address, at) => new SteadyLoad([...addresses.slice(at), ...addresses.slice(0, at)], 15, { random }))
    const unreachable: UsherError[] = []
    for (const { client } of loads) {
      for (const event of ['unreachable', 'disconnected'] as const) client.on(event, ({ error }) => unreachable.push(error))
    }
    await until('the load is at work', () => sink.count > 100)

    for (const [at, host] of order.entries()) {
      const server = servers[host]
      const leads = (await statusOf(store)).leader!.instance === server.instance
      const listener = await listenTo(server.address)
      expect(await server.end('SIGTERM'), server.log).toBe(0)
      await until('it said goodbye', () => listener.told().length > 0)
      listener.end()
      const [goodbye] = listener.told()
      expect(goodbye!.code).toBe(codes.draining.wire)
      expect(goodbye!.addresses.toSorted()).toEqual(addresses.filter((address) => address !== server.address).toSorted())
      const taken = sink.count
      await until('jobs are submitted without it', () => sink.count > taken + 30)
      const leader = (await statusOf(store)).leader!
      expect(leader.instance).not.toBe(server.instance)
      if (leads) expect(leader.host).not.toBe(host)

      servers[host] = await serve(host, 2, { listen: server.address, program })
      await until('it follows', () => plays(servers[host], 'follower'))
      const { instances, warnings } = await statusOf(store)
      expect(instances.map((instance) => [instance.host, instance.version]).toSorted()).toEqual(
        hosts.map((name) => [name, order.indexOf(name) <= at ? after : before]).toSorted(),
      )
      const differing = at < order.length - 1
      expect(warnings).toEqual(differing ? [expect.stringContaining(`different versions: `), expect.stringContaining('different configurations: ')] : [])
      for (const version of differing ? [before, after] : []) expect(warnings[0]).toContain(version)
    }

    const count = sink.count
    await until('jobs are submitted after it all', () => sink.count > count + 50)
    const stats = loads.map(({ client }) => client.stats)
    const jobs = (await Promise.all(loads.map((load) => load.stop()))).flat()
    const audit = await settledAudit(store)
    const latencies = jobs.map(({ id, sentMs }) => (sink.taken.get(id)?.[0]?.atMs ?? Number.NaN) - sentMs).toSorted((a, b) => a - b)
    const context = JSON.stringify({ jobs: jobs.length, sink: sink.count, audit, stats, p50: latencies[latencies.length >> 1], max: latencies.at(-1) })
    process.stderr.write(`upgrade, ${order.join(', ')}: ${context}\n`)
    expect(audit, context).toMatchObject({ accepted: jobs.length, submitted: jobs.length, duplicates: 0, dead: 0, setAside: 0, balanced: true })
    expect(sink.twice, context).toEqual([])
    expect([...sink.taken.keys()].toSorted()).toEqual(jobs.map(({ id }) => id).toSorted())
    for (const { refusedJobs, inDoubtJobs } of stats) expect({ refusedJobs, inDoubtJobs }).toEqual({ refusedJobs: 0, inDoubtJobs: 0 })
    expect(unreachable.filter(({ retryable }) => !retryable)).toEqual([])
    // Nobody waited for a lease to run out.
    expect(latencies.at(-1), context).toBeLessThan(60_000)
    expect(new Set(jobs.map(({ host }) => host)).size).toBe(3)
    // A job's way tells which version did what.
    const inOrder = jobs.toSorted((a, b) => a.acceptedMs - b.acceptedMs)
    expect((await traceOf(store, inOrder[0]!.id)).steps.map(({ version }) => version)).toEqual(Array.from({ length: 6 }, () => before))
    expect((await traceOf(store, inOrder.at(-1)!.id)).steps.map(({ version }) => version)).toEqual(Array.from({ length: 6 }, () => after))
  })

  it('of a version that knows an earlier format keep the store at it until the last of them has ended, and none starts there after', async () => {
    const folder = await makeFolder()
    cleanups.push(folder.remove)
    const sink = await Sink.start()
    cleanups.push(() => sink.close())
    const store = `${folder.path}/store`
    const config = (host: Host): string => `host = "${host}"\n[log]\nlevel = "info"\nformat = "json"\n[cluster.sink]\ndriver = "http"\nurl = "${sink.url}"\n`
    const start = async (host: Host, program?: string): Promise<ServerProcess> => {
      const server = await ServerProcess.start({ config: config(host), store, folder: folder.path, ...(program === undefined ? {} : { program }) })
      cleanups.push(() => server.end('SIGKILL'))
      return server
    }
    const formatNow = async (): Promise<unknown> => JSON.parse(await readFile(`${store}/store.json`, 'utf8')) as unknown
    const earlier = await earlierProgramOf(folder.path, '0.0.9')
    const old = await start(one, earlier)
    const identity = (await formatNow()) as Record<string, unknown>
    expect(identity['format']).toBe(storeFormat - 1)
    const client = await connect({ addresses: old.address })
    cleanups.push(() => client.destroy())
    await client.send({ executable: '/bin/true' })
    const early = await ServerProcess.launch({ config: config(two), store, folder: folder.path })
    await expect(early.ready).rejects.toThrow('ended with status 69')
    expect(early.log()).toMatch(/earlier version.*runs on one \(version 0\.0\.9\): stop it on all hosts/)
    expect(await formatNow()).toEqual(identity)
    expect(await old.end('SIGTERM')).toBe(0)
    await start(two)
    expect(await formatNow()).toEqual({ ...identity, format: storeFormat })
    expect(await settledAudit(store)).toMatchObject({ accepted: 1, submitted: 1, balanced: true })
    const late = await ServerProcess.launch({ config: config(three), store, folder: folder.path, program: earlier })
    await expect(late.ready).rejects.toThrow('ended with status 78')
    expect(late.log()).toMatch(/format 2.*upgrade usher on this host/)
  })

  it('stop, and never write again, when the store is upgraded to a format that they do not know; nor does an old version start on it', async () => {
    const { folder, store, servers } = await startThree()
    const file = `${store}/store.json`
    const identity = JSON.parse(await readFile(file, 'utf8')) as Record<string, unknown>
    await writeFile(`${folder}/next`, JSON.stringify({ ...identity, format: 99 }))
    await rename(`${folder}/next`, file)
    for (const host of hosts) {
      const server = servers[host]
      await until(`${host} stops`, () => server.exited)
      expect(server.child.exitCode, server.log).toBe(codes.store_wrong.exit)
      expect(server.log).toMatch(/format 99.*upgrade usher/)
    }
    const late = await usher(['serve', '--json', '--store', store, '--listen', '127.0.0.1:0'])
    expect(late.status).toBe(codes.store_wrong.exit)
    expect(late.stderr).toMatch(/format 99.*upgrade usher/)
  })
})
