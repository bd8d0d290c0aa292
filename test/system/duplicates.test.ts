// A producer that lost its connection can't know whether its job was accepted: it sends it again, with the same id, to any host.
// Whatever happened to the first copy meanwhile, and in whichever order the copies come to the leader: the job runs once. And an
// id that comes with two contents is never guessed about: one runs, the other is refused, and shows.
import { afterEach, describe, expect, it } from 'vitest'
import { connect, producerOfName } from '../../src/client/client.ts'
import type { Client, ClientOptions } from '../../src/client/client.ts'
import { CuttingProxy } from '../support/cutting-proxy.ts'
import { seeded, seedOf } from '../support/random.ts'
import { Sink } from '../support/sink.ts'
import { makeFolder, ServerProcess, settledAudit, statusOf, traceOf, until, usher } from '../support/usher-process.ts'
import type { Listed } from '../support/cluster-server.ts'

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup()
})

/** Segments stay open for longer than any test runs, but for an instance's first. */
const slowSeal = '[segments]\nage = 60\nseal_interval = 60\n'

const startPair = async (config: { readonly one?: string; readonly two?: string } = {}) => {
  const folder = await makeFolder()
  cleanups.push(folder.remove)
  const sink = await Sink.start()
  cleanups.push(() => sink.close())
  const store = `${folder.path}/store`
  const serve = async (host: 'one' | 'two', listen = '127.0.0.1:0'): Promise<ServerProcess> => {
    const text = `host = "${host}"\nlease = 1\naccept_lease = 1\n[log]\nlevel = "info"\nformat = "json"\n[submit]\nretry_max = 1\n[cluster.sink]\ndriver = "http"\nurl = "${sink.url}"\nsettle = 0.5\ntimeout = 5\n${config[host] ?? ''}`
    const server = await ServerProcess.start({ config: text, store, listen, folder: folder.path })
    cleanups.push(() => server.end('SIGKILL'))
    return server
  }
  const one = await serve('one')
  await until('the first leads', async () => (await statusOf(store)).leader?.instance === one.instance)
  const two = await serve('two')
  await until('the second follows', async () => (await statusOf(store)).instances.some(({ instance, role }) => instance === two.instance && role === 'follower'))
  return { store, sink, one, two, serve }
}

const proxyTo = async (address: string): Promise<CuttingProxy> => {
  const proxy = await CuttingProxy.start(address)
  cleanups.push(() => proxy.close())
  return proxy
}

const clientTo = async (addresses: string | readonly string[], options: Partial<ClientOptions> = {}): Promise<Client> => {
  const client = await connect({ addresses, backoffBaseMs: 10, backoffMostMs: 100, timeoutMs: 30_000, ...options })
  cleanups.push(() => client.destroy())
  return client
}

const name = 'resender'
const producer = producerOfName(name).toString(16).padStart(16, '0')
const idOf = (sequence: number): string => `${producer}-${sequence}`
const job = (content: string) => ({ executable: '/bin/true', arguments: [content] })

/** Jobs in one frame, by sequence and content; each is accepted. */
const send = async (address: string, jobs: Readonly<Record<number, string>>): Promise<void> => {
  const client = await clientTo(address, { clientId: name })
  await Promise.all(Object.entries(jobs).map(([sequence, content]) => client.send(job(content), { sequence: Number(sequence) })))
  await client.close()
}

/** The same, but nobody hears that they were accepted: their producer dies in the belief that they may not have been. */
const sendUnheard = async (address: string, jobs: Readonly<Record<number, string>>): Promise<void> => {
  const proxy = await proxyTo(address)
  const client = await clientTo(proxy.address, { clientId: name })
  client.on('disconnected', () => client.destroy())
  const sent = Object.entries(jobs)
  const results = await Promise.allSettled(sent.map(([sequence, content]) => client.send(job(content), { sequence: Number(sequence) })))
  for (const result of results) expect(result).toMatchObject({ status: 'rejected', reason: { code: 'in_doubt' } })
  expect(proxy.swallowed).toBe(sent.length)
  await proxy.close()
}

const contentOf = (sink: Sink, sequence: number): (string | undefined)[] => (sink.taken.get(idOf(sequence)) ?? []).map(({ spec }) => spec.arguments?.[0])

const deadLetters = async (store: string): Promise<Listed[]> => {
  const { status, stdout, stderr } = await usher(['dead', 'list', '--json', '--store', store])
  expect(status, stderr).toBe(0)
  return JSON.parse(stdout) as Listed[]
}

/** What was said of a job by the hosts that accepted it and by the leader, in the order of its trace. */
const accountOf = async (store: string, sequence: number): Promise<{ state: string; steps: string[] }> => {
  const { state, steps } = await traceOf(store, idOf(sequence))
  const shown = steps.filter(({ step }) => ['accepted', 'submitted', 'resolved', 'duplicate', 'refused'].includes(step))
  return { state, steps: shown.map(({ step, host }) => `${step} by ${host}`) }
}

/** The one copy ran; the other is a dead letter that says why, and can't be run by any retry. */
const expectConflict = async (store: string, sequences: readonly number[]): Promise<void> => {
  const dead = await deadLetters(store)
  expect(dead.map(({ id }) => id).toSorted()).toEqual(sequences.map(idOf).toSorted())
  for (const { reason } of dead) expect(reason).toContain('id_conflict')
  const retry = await usher(['dead', 'retry', idOf(sequences[0]!), '--store', store])
  expect(retry.status, retry.stderr).not.toBe(0)
  expect(retry.stderr).toContain(idOf(sequences[0]!))
}

describe('a producer whose acknowledgement is lost', () => {
  it('and whose client sends the jobs again to another host by itself gets each run once', async () => {
    const { store, sink, one, two } = await startPair()
    const proxies = [await proxyTo(one.address), await proxyTo(two.address)]
    // Whichever host it goes to first takes its jobs, and is not heard.
    let lost = false
    for (const proxy of proxies) proxy.cuts = () => !lost && (lost = true)
    const client = await clientTo(proxies.map(({ address }) => address))
    const first = client.connectedTo!.host
    const accepted = await Promise.all(Array.from({ length: 50 }, (_, at) => client.send(job(`${at}`))))
    const swallowed = proxies[0]!.swallowed + proxies[1]!.swallowed
    expect(swallowed).toBeGreaterThan(0)
    expect(new Set(accepted.map(({ host }) => host))).toEqual(new Set([first === 'one' ? 'two' : 'one']))
    expect(client.stats).toMatchObject({ acceptedJobs: 50, refusedJobs: 0, inDoubtJobs: 0, connections: 2 })
    const audit = await settledAudit(store)
    expect(audit).toMatchObject({ submitted: 50, dead: 0, setAside: 0, balanced: true })
    // The host may have accepted more than it could say before the line was cut.
    expect(audit.duplicates).toBeGreaterThanOrEqual(swallowed)
    expect(audit.accepted).toBe(50 + audit.duplicates)
    expect(sink.twice).toEqual([])
    expect([...sink.taken.keys()].toSorted()).toEqual(accepted.map(({ id }) => id).toSorted())
    const { state, steps } = await traceOf(store, accepted[0]!.id)
    expect(state).toBe('submitted')
    expect(steps.filter(({ step }) => step === 'accepted').map(({ host }) => host).toSorted()).toEqual(['one', 'two'])
    expect(steps.filter(({ step }) => step === 'duplicate')).toMatchObject([{ host: 'one', detail: expect.stringContaining('submitted once') as string }])
    expect(steps.filter(({ step }) => step === 'submitted')).toHaveLength(1)
  })

  it('gets its job run once where the copy comes to the leader before the original, which a killed host had still open', async () => {
    const { store, sink, one, two } = await startPair({ two: slowSeal })
    await send(two.address, { 1: 'sealed at once' })
    await sendUnheard(two.address, { 2: 'same', 3: 'the original' })
    await send(one.address, { 2: 'same', 3: 'the copy' })
    // The sink hears of a job before its receipt is in the ledger.
    await until('the copies are submitted', async () => (await statusOf(store)).audit.submitted === 3)
    expect((await statusOf(store)).audit).toMatchObject({ accepted: 5, submitted: 3, waiting: 2, duplicates: 0, dead: 0, balanced: true })
    await two.end('SIGKILL')
    await until('the originals are adopted', async () => (await statusOf(store)).audit.waiting === 0)
    expect(await settledAudit(store)).toMatchObject({ accepted: 5, submitted: 3, duplicates: 1, dead: 1, balanced: true })
    expect(sink.count).toBe(3)
    expect(contentOf(sink, 2)).toEqual(['same'])
    expect(contentOf(sink, 3)).toEqual(['the copy'])
    expect(await accountOf(store, 2)).toEqual({ state: 'submitted', steps: ['accepted by two', 'accepted by one', 'submitted by one', 'duplicate by one'] })
    expect(await accountOf(store, 3)).toEqual({ state: 'submitted', steps: ['accepted by two', 'accepted by one', 'submitted by one', 'refused by one'] })
    await expectConflict(store, [3])
    expect((await deadLetters(store))[0]!.segment).toContain(two.instance)
  })

  it('gets its job run once where the host of the original is dead by then', async () => {
    const { store, sink, one, two, serve } = await startPair({ two: slowSeal })
    await send(two.address, { 1: 'sealed at once' })
    await sendUnheard(two.address, { 2: 'same', 3: 'the original' })
    await two.end('SIGKILL')
    await send(one.address, { 2: 'same', 3: 'the copy' })
    expect(await settledAudit(store)).toMatchObject({ accepted: 5, submitted: 3, duplicates: 1, dead: 1, balanced: true })
    expect(sink.count).toBe(3)
    expect(contentOf(sink, 2)).toEqual(['same'])
    // Whichever came first to the leader; the other is kept as well, as a dead letter.
    const [ran] = contentOf(sink, 3)
    expect(['the original', 'the copy']).toContain(ran)
    await expectConflict(store, [3])
    expect((await deadLetters(store))[0]!.segment).toContain(ran === 'the original' ? one.instance : two.instance)
    // Again, when the host is back and has nothing of its former life in memory.
    const again = await serve('two', two.address)
    await send(again.address, { 2: 'same' })
    await until('it is known', async () => (await statusOf(store)).audit.accepted === 6)
    expect(await settledAudit(store)).toMatchObject({ submitted: 3, duplicates: 2, dead: 1, balanced: true })
    expect(sink.count).toBe(3)
  })

  it('gets its jobs run once over the death of the leader: submitted, in mid-submission, or not yet read', async () => {
    const { store, sink, one, two } = await startPair({ one: slowSeal })
    // The cluster takes these, and the leader dies before it hears so.
    const unheard = new Set([2, 12].map(idOf))
    sink.delayMs = (id) => (unheard.has(id) ? 3000 : 0)
    await sendUnheard(one.address, { 1: 'same', 11: 'the original', 2: 'same', 12: 'the original' })
    await until('the cluster has taken them', () => sink.count === 4)
    await until('those that it answered for are written down', async () => (await statusOf(store)).audit.submitted === 2)
    await sendUnheard(one.address, { 3: 'same', 13: 'the original' })
    expect((await statusOf(store)).audit).toMatchObject({ accepted: 6, submitted: 2, waiting: 4, balanced: true })
    await one.end('SIGKILL')
    await send(two.address, { 1: 'same', 2: 'same', 3: 'same', 11: 'the copy', 12: 'the copy', 13: 'the copy' })
    await until('the other leads', async () => (await statusOf(store)).leader?.instance === two.instance).catch((error: unknown) => {
      throw new Error(`${String(error)}\n${two.log}`)
    })
    expect(await settledAudit(store)).toMatchObject({ accepted: 12, submitted: 6, duplicates: 3, dead: 3, balanced: true })
    expect(sink.count).toBe(6)
    for (const sequence of [1, 2, 3]) expect(contentOf(sink, sequence)).toEqual(['same'])
    for (const sequence of [11, 12]) expect(contentOf(sink, sequence)).toEqual(['the original'])
    expect(['the original', 'the copy']).toContain(contentOf(sink, 13)[0])
    expect(await accountOf(store, 1)).toEqual({ state: 'submitted', steps: ['accepted by one', 'submitted by one', 'accepted by two', 'duplicate by two'] })
    // The cluster may be asked about it before or after the copy is read.
    for (const [sequence, copy] of [[2, 'duplicate by two'], [12, 'refused by two']] as const) {
      const { state, steps } = await accountOf(store, sequence)
      expect(state).toBe('submitted')
      expect(steps.toSorted()).toEqual(['accepted by one', 'accepted by two', copy, 'resolved by two'].toSorted())
    }
    await expectConflict(store, [11, 12, 13])
  })

  it('as often as it happens, with hosts killed meanwhile, gets every job run once', async () => {
    const seed = seedOf()
    const random = seeded(seed)
    const { store, sink, one, two, serve } = await startPair()
    sink.delayMs = () => (random() < 0.2 ? random() * 50 : 0)
    const hosts = { one, two }
    const addresses = { one: one.address, two: two.address }
    const proxies = [await proxyTo(one.address), await proxyTo(two.address)]
    for (const proxy of proxies) proxy.cuts = () => random() < 0.25
    const ids = new Set<string>()
    const load = { on: true }
    const producers = Array.from({ length: 3 }, async () => {
      const client = await clientTo(proxies.map(({ address }) => address))
      while (load.on) {
        const count = 1 + Math.floor(random() * 10)
        for (const { id } of await Promise.all(Array.from({ length: count }, (_, at) => client.send(job(`${at}`))))) ids.add(id)
        await new Promise((resolve) => setTimeout(resolve, random() * 20))
      }
      await client.close()
    })
    for (let round = 0; round < 4; round += 1) {
      const before = ids.size
      await until('jobs are accepted', () => ids.size > before + 60)
      const host = random() < 0.5 ? 'one' : 'two'
      await hosts[host].end('SIGKILL')
      hosts[host] = await serve(host, addresses[host])
    }
    load.on = false
    await Promise.all(producers)
    const audit = await settledAudit(store)
    const swallowed = proxies.reduce((sum, proxy) => sum + proxy.swallowed, 0)
    const context = `seed ${seed}; ${JSON.stringify({ jobs: ids.size, swallowed, sink: sink.count, audit })}`
    process.stderr.write(`duplicates: ${context}\n`)
    expect(swallowed, context).toBeGreaterThan(0)
    expect(sink.twice, context).toEqual([])
    expect([...sink.taken.keys()].toSorted(), context).toEqual([...ids].toSorted())
    expect(audit, context).toMatchObject({ submitted: ids.size, dead: 0, setAside: 0, inDoubt: 0, balanced: true })
    expect(audit.duplicates, context).toBeGreaterThanOrEqual(swallowed)
    expect(audit.accepted, context).toBe(ids.size + audit.duplicates)
  })
})
