import { afterEach, describe, expect, it, vi } from 'vitest'
import { UsherError } from '../../../src/base/errors.ts'
import { ByteWriter, Client, type ClientOptions, connect, encodeJob, producerOfName } from '../../../src/client/client.ts'
import { type Script, ScriptedServer } from './scripted-server.ts'

const servers: ScriptedServer[] = []
const clients: Client[] = []

const serve = async (script: Script = {}): Promise<ScriptedServer> => {
  const server = await new ScriptedServer(script).listen()
  servers.push(server)
  return server
}

const client = (addresses: string | string[], options: Partial<ClientOptions> = {}): Client => {
  const made = new Client({ addresses, backoffBaseMs: 1, backoffMostMs: 5, ...options })
  clients.push(made)
  return made
}

const job = (text = 'x') => ({ executable: '/bin/echo', arguments: [text] })

const failure = async (promise: Promise<unknown>): Promise<UsherError> => {
  const error: unknown = await promise.then(
    () => new Error('it resolved'),
    (reason: unknown) => reason,
  )
  expect(error).toBeInstanceOf(UsherError)
  return error as UsherError
}

afterEach(async () => {
  for (const made of clients.splice(0)) made.destroy()
  const closing = servers.splice(0)
  await Promise.all(closing.map((server) => server.close()))
  expect(closing.flatMap((server) => server.violations)).toEqual([])
})

describe('sending', () => {
  it('resolves with the id and who accepted it', async () => {
    const server = await serve()
    const sender = client(server.address)
    expect(await sender.send(job())).toEqual({ id: sender.idOf(1), host: 'test', instance: 'i-1' })
    expect(server.peers[0]!.producer).toBe(sender.producer)
    expect(sender.stats).toMatchObject({ acceptedJobs: 1, heldJobs: 0, heldBytes: 0, connections: 1 })
  })

  it('puts jobs of one turn into one frame, in their order', async () => {
    const server = await serve()
    const sender = client(server.address, { producer: 7n, firstSequence: 100 })
    await Promise.all(Array.from({ length: 50 }, () => sender.send(job())))
    expect(server.frames.map((frame) => frame.sequences)).toEqual([Array.from({ length: 50 }, (_, i) => 100 + i)])
    expect(server.peers[0]!.producer).toBe(7n)
  })

  it('respects batch sizes in jobs and in bytes', async () => {
    const server = await serve()
    const sender = client(server.address, { batchJobs: 10 })
    await Promise.all(Array.from({ length: 35 }, () => sender.send(job())))
    expect(server.frames.map((frame) => frame.sequences.length)).toEqual([10, 10, 10, 5])
    const bytes = client(server.address, { batchBytes: 1000 })
    await Promise.all(Array.from({ length: 20 }, () => bytes.send(job('y'.repeat(200)))))
    for (const frame of server.peers[1]!.frames) expect(frame.size).toBeLessThanOrEqual(1012)
    expect(server.peers[1]!.frames.flatMap((frame) => frame.sequences)).toHaveLength(20)
  })

  it('lets a job linger for others, and drain() sends it at once', async () => {
    const server = await serve()
    const sender = client(server.address, { lingerMs: 60_000 })
    const first = sender.send(job())
    await vi.waitFor(() => expect(sender.connectedTo).toBeDefined())
    await sender.drain()
    await first
    expect(sender.stats.heldJobs).toBe(0)
  })

  it('derives the producer from a name and wants sequences for it', async () => {
    const server = await serve()
    const sender = client(server.address, { clientId: 'nightly' })
    expect((await failure(sender.send(job()))).code).toBe('usage')
    await sender.send(job(), { sequence: 12 })
    expect(server.peers[0]!.producer).toBe(producerOfName('nightly'))
    expect(server.peers[0]!.name).toBe('nightly')
    expect(server.sequences).toEqual([12])
  })

  it('rejects what is no job before it is sent, with the field', async () => {
    const server = await serve()
    const sender = client(server.address)
    const error = await failure(sender.send({ executable: '/bin/echo', arguments: ['ok', 'a\0b'] }))
    expect(error).toMatchObject({ code: 'text_not_xml', retryable: false, details: { field: 'arguments', detail: '1' } })
    expect(sender.stats.heldJobs).toBe(0)
    await sender.send(job())
    expect(server.sequences).toEqual([1])
  })

  it('names the job that it refuses itself where the caller has numbered it, and mints no id where not', async () => {
    const server = await serve()
    const sender = client(server.address)
    const numbered = await failure(sender.send({ executable: '' }, { sequence: 7 }))
    expect(numbered).toMatchObject({ code: 'field_invalid', details: { id: sender.idOf(7), field: 'executable' } })
    const unnumbered = await failure(sender.send({ executable: '' }))
    expect(unnumbered.details).toEqual({ field: 'executable' })
    expect(await sender.send(job())).toMatchObject({ id: sender.idOf(1) })
  })

  it('refuses a sequence that is in flight', async () => {
    const server = await serve({ onJobs: () => undefined })
    const sender = client(server.address)
    const first = sender.send(job(), { sequence: 5 })
    expect((await failure(sender.send(job(), { sequence: 5 }))).code).toBe('usage')
    sender.destroy()
    await failure(first)
  })

  it('never sends without credit, and goes on when it is granted', async () => {
    const server = await serve({ welcome: { frameBytesMax: 4096, credit: 4108n }, onJobs: () => undefined })
    const sender = client(server.address)
    const sent = Promise.all(Array.from({ length: 200 }, () => sender.send(job('z'.repeat(100)))))
    await vi.waitFor(() => expect(server.frames.length).toBeGreaterThan(0))
    expect(server.sequences.length).toBeLessThan(200)
    // From here on each frame is answered when it comes, and those that came are answered now.
    server.script = { welcome: { frameBytesMax: 4096, credit: 4108n } }
    for (const frame of server.frames) server.peers[0]!.acceptAll(frame)
    expect(await sent).toHaveLength(200)
    expect(server.frames.length).toBeGreaterThan(5)
  })

  it('reports a refusal with code, id, field and detail', async () => {
    const server = await serve({ onJobs: (peer, frame) => (peer.refuse('cluster_unknown', frame.sequences, 1, 'x'), peer.credit(frame.size)) })
    const sender = client(server.address)
    const error = await failure(sender.send({ ...job(), cluster: 'elsewhere' }))
    expect(error).toMatchObject({ code: 'cluster_unknown', retryable: false, details: { id: sender.idOf(1), field: 'cluster', detail: 'x', host: 'test' } })
  })

  it('sends again what was refused for now, with the same bytes', async () => {
    let refusals = 0
    const server = await serve({
      onJobs: (peer, frame) => {
        peer.credit(frame.size)
        if (refusals++ < 3) peer.refuse('store_full', frame.sequences)
        else peer.ack(...frame.sequences)
      },
    })
    const sender = client(server.address)
    await Promise.all([sender.send(job('a')), sender.send(job('b'))])
    expect(server.frames.map((frame) => frame.sequences)).toEqual([[1, 2], [1, 2], [1, 2], [1, 2]])
    expect(new Set(server.frames.map((frame) => JSON.stringify(frame.jobs))).size).toBe(1)
    expect(sender.stats).toMatchObject({ retriedJobs: 6, acceptedJobs: 2 })
  })

  it('rejects with the refusal when time is over, and at once without retry', async () => {
    const server = await serve({ onJobs: (peer, frame) => (peer.refuse('draining', frame.sequences), peer.credit(frame.size)) })
    // The second attempt would come long after the job's time.
    const patient = client(server.address, { backoffBaseMs: 100_000, backoffMostMs: 100_000, random: () => 0.99 })
    expect(await failure(patient.send(job(), { timeoutMs: 200 }))).toMatchObject({ code: 'draining', retryable: true })
    expect(server.sequences).toEqual([1])
    const hasty = client(server.address, { retry: false })
    expect(await failure(hasty.send(job()))).toMatchObject({ code: 'draining', details: { id: hasty.idOf(1) } })
  })

  it.each(['store_full', 'store_failing'] as const)('calls in doubt what is given up after %s: some of it may have reached the disk', async (code) => {
    const server = await serve({ onJobs: (peer, frame) => (peer.refuse(code, frame.sequences), peer.credit(frame.size)) })
    const patient = client(server.address, { backoffBaseMs: 100_000, backoffMostMs: 100_000, random: () => 0.99 })
    expect(await failure(patient.send(job(), { timeoutMs: 200 }))).toMatchObject({ code: 'in_doubt', cause: { code } })
    const hasty = client(server.address, { retry: false })
    expect(await failure(hasty.send(job()))).toMatchObject({ code: 'in_doubt', details: { id: hasty.idOf(1) }, cause: { code } })
  })

  it('refuses a job that no frame can take, and only that', async () => {
    const server = await serve({ welcome: { frameBytesMax: 1000, credit: 1012n } })
    const sender = client(server.address)
    const [large, small] = await Promise.allSettled([sender.send(job('x'.repeat(2000))), sender.send(job())])
    expect(large).toMatchObject({ status: 'rejected', reason: { code: 'job_too_large', details: { id: sender.idOf(1) } } })
    expect(small).toMatchObject({ status: 'fulfilled' })
  })
})

describe('time and the caller', () => {
  it('tells a job that was never sent from one in doubt', async () => {
    const server = await serve({ onJobs: () => undefined })
    const sent = client(server.address)
    expect(await failure(sent.send(job(), { timeoutMs: 30 }))).toMatchObject({ code: 'in_doubt', details: { reason: 'timed_out', id: sent.idOf(1) } })
    const address = server.address
    await server.close()
    const unsent = client(address)
    const error = await failure(unsent.send(job(), { timeoutMs: 30 }))
    expect(error).toMatchObject({ code: 'timed_out', retryable: true })
    expect((error.cause as UsherError).code).toBe('disconnected')
  })

  it('does not send what was aborted before there was a connection', async () => {
    const server = await serve()
    const sender = client(server.address)
    const abort = new AbortController()
    const aborted = failure(sender.send(job('a'), { signal: abort.signal }))
    const kept = sender.send(job('b'))
    abort.abort()
    expect((await aborted).code).toBe('aborted')
    await kept
    expect(server.sequences).toEqual([2])
  })

  it('calls what was aborted after it was sent in doubt, and ignores the late answer', async () => {
    const server = await serve({ onJobs: () => undefined })
    const sender = client(server.address)
    const abort = new AbortController()
    const aborted = failure(sender.send(job(), { signal: abort.signal }))
    await vi.waitFor(() => expect(server.sequences).toEqual([1]))
    abort.abort()
    expect(await aborted).toMatchObject({ code: 'in_doubt', details: { reason: 'aborted' } })
    server.peers[0]!.ack(1)
    server.script = {}
    await sender.send(job())
    expect(sender.stats).toMatchObject({ acceptedJobs: 1, inDoubtJobs: 1, heldJobs: 0 })
    expect((await failure(sender.send(job(), { signal: AbortSignal.abort() }))).code).toBe('aborted')
  })

  it('rejects when full if told so, and waits for room otherwise', async () => {
    const server = await serve({ onJobs: () => undefined })
    const rejecting = client(server.address, { heldJobsMax: 2, whenFull: 'reject' })
    const held = [rejecting.send(job()), rejecting.send(job())].map((promise) => failure(promise))
    expect(await failure(rejecting.send(job()))).toMatchObject({ code: 'queue_full', retryable: true })
    rejecting.destroy()
    expect((await Promise.all(held)).map((error) => error.code).sort()).toEqual(['closed', 'closed'])

    const waiting = client(server.address, { heldJobsMax: 2 })
    const sends = [1, 2, 3, 4].map(() => waiting.send(job()))
    await vi.waitFor(() => expect(server.sequences).toEqual([1, 2]))
    expect(waiting.stats.heldJobs).toBe(2)
    server.script = {}
    server.peers.at(-1)!.ack(1, 2)
    await Promise.all(sends)
    expect(server.sequences).toEqual([1, 2, 3, 4])
  })

  it('waits for room no longer than the job may take', async () => {
    const server = await serve({ onJobs: () => undefined })
    const sender = client(server.address, { heldJobsMax: 1 })
    const first = failure(sender.send(job()))
    expect((await failure(sender.send(job(), { timeoutMs: 20 }))).code).toBe('timed_out')
    const abort = new AbortController()
    const second = failure(sender.send(job(), { signal: abort.signal }))
    abort.abort()
    expect((await second).code).toBe('aborted')
    sender.destroy()
    await first
  })

  it('settles everything when destroyed, and takes nothing afterwards', async () => {
    const server = await serve({ onJobs: () => undefined })
    const sender = client(server.address)
    const sent = failure(sender.send(job()))
    await vi.waitFor(() => expect(server.sequences).toEqual([1]))
    const unsent = failure(sender.send(job()))
    sender.destroy()
    expect((await sent).code).toBe('in_doubt')
    expect((await unsent).code).toBe('closed')
    expect((await failure(sender.send(job()))).code).toBe('closed')
  })

  it('close() waits for answers, says GOODBYE, and may be called twice', async () => {
    const server = await serve()
    const sender = client(server.address, { lingerMs: 60_000 })
    const sent = sender.send(job())
    await Promise.all([sender.close(), sender.close()])
    await sent
    expect(server.peers.map((peer) => peer.saidGoodbye)).toEqual([true])
  })
})

describe('lost connections', () => {
  it('sends everything unanswered again with the same ids and bytes', async () => {
    const server = await serve({
      onJobs: (peer, frame) => {
        if (server.peers.length > 1) return peer.acceptAll(frame)
        peer.ack(frame.sequences[1]!)
        // The acknowledgement goes out before the connection ends.
        peer.socket.end()
      },
    })
    const sender = client(server.address)
    const accepted = await Promise.all(['a', 'b', 'c'].map((text) => sender.send(job(text))))
    expect(accepted.map(({ id }) => id)).toEqual([1, 2, 3].map((sequence) => sender.idOf(sequence)))
    const [before, after] = server.peers.map((peer) => peer.frames.flatMap((frame) => frame.jobs))
    expect(after!.map(({ sequence }) => sequence)).toEqual([1, 3])
    expect(after).toEqual(before!.filter(({ sequence }) => sequence !== 2))
    expect(sender.stats).toMatchObject({ resentJobs: 2, connections: 2, acceptedJobs: 3 })
  })

  it('goes to another address', async () => {
    const [first, second] = [await serve({ onJobs: (peer) => peer.socket.destroy() }), await serve()]
    const sender = client([first.address, second.address], { random: () => 0.99 })
    await Promise.all([sender.send(job()), sender.send(job())])
    expect(second.sequences).toEqual([1, 2])
  })

  it('has one connection at a time', async () => {
    let open = 0
    let most = 0
    const server = await serve({
      onGreeted: (peer) => {
        most = Math.max(most, ++open)
        peer.socket.on('close', () => open--)
      },
      onJobs: (peer, frame) => (server.peers.length < 6 ? peer.socket.destroy() : peer.acceptAll(frame)),
    })
    await client(server.address).send(job())
    expect(server.peers.length).toBe(6)
    expect(most).toBe(1)
  })

  it('keeps a job in doubt when a later host refuses it for now', async () => {
    const server = await serve({
      onJobs: (peer, frame) => (server.peers.length === 1 ? peer.socket.destroy() : (peer.refuse('store_full', frame.sequences), peer.credit(frame.size))),
    })
    const error = await failure(client(server.address).send(job(), { timeoutMs: 80 }))
    expect(error).toMatchObject({ code: 'in_doubt', cause: { code: 'store_full' } })
  })

  it('gives up a host from which nothing comes back', async () => {
    const server = await serve({ onJobs: (peer, frame) => (server.peers.length > 1 ? peer.acceptAll(frame) : undefined), onPing: () => undefined })
    const sender = client(server.address, { silenceMs: 60 })
    const ended = new Promise<UsherError>((resolve) => sender.once('disconnected', ({ error }) => resolve(error)))
    await sender.send(job())
    expect((await ended).code).toBe('disconnected')
    expect(server.sequences).toEqual([1, 1])
  })

  it('pings while it has nothing to send', async () => {
    const server = await serve({ welcome: { idleMs: 60 } })
    const sender = client(server.address)
    await vi.waitFor(() => expect(server.peers[0]?.pings).toBeGreaterThan(2), { timeout: 5000 })
    expect(sender.stats.connections).toBe(1)
  })

  it('drops a connection whose bytes are not the protocol, and goes on with another', async () => {
    const server = await serve({
      onJobs: (peer, frame) => (server.peers.length === 1 ? void peer.socket.write(Buffer.alloc(64, 0x41)) : peer.acceptAll(frame)),
    })
    const sender = client(server.address)
    await sender.send(job())
    expect(server.sequences).toEqual([1, 1])
    expect(sender.lastError?.code).toMatch(/^frame_/)
  })
})

describe('GOODBYE from a host', () => {
  it('finishes what is outstanding there and goes to the address it names', async () => {
    const other = await serve()
    const server = await serve({
      onJobs: (peer, frame) => {
        peer.write({ type: 'GOODBYE', code: 66, reason: 'upgrade', addresses: [other.address] })
        setImmediate(() => peer.acceptAll(frame))
      },
    })
    const sender = client(server.address)
    const goodbye = new Promise((resolve) => sender.once('goodbye', resolve))
    expect(await sender.send(job())).toMatchObject({ id: sender.idOf(1) })
    expect(await goodbye).toMatchObject({ reason: 'upgrade', addresses: [other.address] })
    await sender.send(job())
    expect([server.sequences, other.sequences]).toEqual([[1], [2]])
  })

  it('takes what crossed with it elsewhere', async () => {
    const other = await serve()
    const server = await serve({ onJobs: (peer, frame) => (peer.refuse('draining', frame.sequences), peer.credit(frame.size)) })
    const sender = client([server.address, other.address])
    await sender.send(job())
    await sender.send(job())
    expect(other.sequences).toEqual([1, 2])
  })

  it('comes back to the only host there is', async () => {
    const server = await serve({ onJobs: (peer, frame) => (server.peers.length < 3 ? peer.refuse('retired', frame.sequences) : peer.acceptAll(frame)) })
    const sender = client(server.address)
    await sender.send(job())
    expect(server.sequences).toEqual([1, 1, 1])
    expect(sender.stats.resentJobs).toBe(0)
  })
})

describe('batches', () => {
  it('answers each job of an async iterable, however long, with bounded memory', async () => {
    const server = await serve()
    const sender = client(server.address, { heldJobsMax: 100 })
    let most = 0
    const source = async function* () {
      for (let i = 0; i < 5000; i++) {
        most = Math.max(most, sender.stats.heldJobs)
        yield i % 1000 === 7 ? { executable: '' } : job(String(i))
      }
    }
    const result = await sender.sendAll(source())
    expect(result).toMatchObject({ accepted: 4995, failed: 5 })
    expect(result.failures.map((error) => error.code)).toEqual(Array(5).fill('field_invalid'))
    expect(most).toBeLessThanOrEqual(100)
    expect(new Set(server.sequences).size).toBe(4995)
  })

  it('takes sequences with the jobs, and names the job that fails', async () => {
    const server = await serve()
    const sender = client(server.address, { clientId: 'file' })
    const accepted: number[] = []
    const failed: UsherError[] = []
    const result = await sender.sendAll(
      [{ job: job(), sequence: 3 }, { job: { executable: '' }, sequence: 5 }, { job: job(), sequence: 9 }],
      { onAccepted: (first, jobs) => accepted.push(...Array.from({ length: jobs }, (_, i) => first + i)), onFailed: (error) => failed.push(error) },
    )
    expect(accepted).toEqual([3, 9])
    expect(result).toEqual({ accepted: 2, failed: 1, failures: [] })
    expect(failed[0]!.details).toMatchObject({ id: sender.idOf(5), field: 'executable' })
  })

  it('stops at an abort and accounts for every job', async () => {
    const server = await serve({ onJobs: () => undefined })
    const sender = client(server.address, { heldJobsMax: 10 })
    const abort = new AbortController()
    const source = function* () {
      for (;;) yield job()
    }
    const done = sender.sendAll(source(), { signal: abort.signal })
    await vi.waitFor(() => expect(server.sequences.length).toBe(10))
    abort.abort()
    const result = await done
    expect(result.accepted).toBe(0)
    expect(result.failures.filter((error) => error.code === 'in_doubt')).toHaveLength(10)
    expect(sender.stats.heldJobs).toBe(0)
  })

  const encoded = (first: number, count: number) => {
    const out = new ByteWriter()
    for (let i = 0; i < count; i++) encodeJob(out, first + i, { spec: { executable: '/bin/true', arguments: [String(first + i)] } })
    return { bytes: out.take(), first, count }
  }

  it('sends encoded runs, splitting those that no frame takes', async () => {
    const server = await serve({ welcome: { frameJobsMax: 100, frameBytesMax: 65_536 } })
    const sender = client(server.address)
    const results = await Promise.all([sender.sendEncoded(encoded(1, 1000)), sender.sendEncoded(encoded(1001, 10))])
    expect(results.map((result) => result.accepted)).toEqual([1000, 10])
    expect(server.sequences).toEqual(Array.from({ length: 1010 }, (_, i) => i + 1))
  })

  it('sends again only what of a run has no answer', async () => {
    const server = await serve({
      onJobs: (peer, frame) => {
        if (server.peers.length > 1) return peer.acceptAll(frame)
        peer.write({ type: 'ACK', ranges: [{ first: 2n, jobs: 3 }, { first: 9n, jobs: 1 }] })
        peer.refuse('cluster_unknown', [6])
        peer.socket.end()
      },
    })
    const sender = client(server.address)
    const runs: [number, number][] = []
    const result = await sender.sendEncoded(encoded(1, 10), { onAccepted: (first, jobs) => runs.push([first, jobs]) })
    expect(result).toMatchObject({ accepted: 9, failed: 1, failures: [{ code: 'cluster_unknown', details: { id: sender.idOf(6) } }] })
    expect(server.peers[1]!.frames.flatMap((frame) => frame.sequences)).toEqual([1, 5, 7, 8, 10])
    expect(runs.reduce((sum, [, jobs]) => sum + jobs, 0)).toBe(9)
    expect(sender.stats).toMatchObject({ heldJobs: 0, heldBytes: 0 })
  })

  it('retries single jobs of a run', async () => {
    let round = 0
    const server = await serve({
      onJobs: (peer, frame) => {
        peer.credit(frame.size)
        if (round++ > 0) return peer.ack(...frame.sequences)
        peer.refuse('store_full', [2, 5])
        peer.ack(1, 3, 4)
      },
    })
    const sender = client(server.address)
    expect(await sender.sendEncoded(encoded(1, 5))).toMatchObject({ accepted: 5, failed: 0 })
    expect(server.frames[1]!.sequences).toEqual([2, 5])
    expect(sender.stats).toMatchObject({ heldJobs: 0, heldBytes: 0, retriedJobs: 2 })
  })
})

describe('connect()', () => {
  it('resolves once connected', async () => {
    const server = await serve()
    const made = await connect({ addresses: server.address })
    clients.push(made)
    expect(made.connectedTo).toMatchObject({ address: server.address, host: 'test' })
  })

  it('rejects when no host is there in time', async () => {
    const server = await serve()
    const { address } = server
    await server.close()
    const error = await failure(connect({ addresses: address, connectWithinMs: 50, backoffBaseMs: 1 }))
    expect(error).toMatchObject({ code: 'disconnected', retryable: true })
  })

  it('rejects at once when every host refuses for good, and waits while one may come', async () => {
    const wrong = await serve({ error: 'version_unsupported' })
    expect((await failure(connect({ addresses: wrong.address }))).code).toBe('version_unsupported')
    const busy = await serve({ error: 'connections_exhausted', onGreeted: () => undefined })
    setImmediate(() => (busy.script = {}))
    const made = await connect({ addresses: [wrong.address, busy.address], backoffBaseMs: 1 })
    clients.push(made)
    expect(made.connectedTo?.address).toBe(busy.address)
  })

  it.each(['', 'host:0', 'host:65536', 'a b', '[::1', ','])('refuses the address %j', async (addresses) => {
    expect((await failure(connect({ addresses }))).code).toBe('usage')
  })
})
