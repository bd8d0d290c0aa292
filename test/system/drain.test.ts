// SIGTERM: producers are told to go elsewhere, what they had sent is answered, what was accepted is kept.
import { afterEach, describe, expect, it } from 'vitest'
import { Client } from '../../src/client/client.ts'
import { ByteWriter } from '../../src/protocol/byte-writer.ts'
import { encodePreamble, encodeFrame, frameTypes } from '../../src/protocol/frame.ts'
import { encodeJob } from '../../src/protocol/job-encoder.ts'
import { encodeMessage } from '../../src/protocol/messages.ts'
import { RawConnection } from '../support/raw-connection.ts'
import { makeFolder, ServerProcess, statusOf, until } from '../support/usher-process.ts'

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup()
})

const jobsFrame = (sequence: number): Buffer => {
  const out = new ByteWriter(256)
  encodeJob(out, sequence, { spec: { executable: '/bin/true' } })
  return encodeFrame(frameTypes.JOBS, 1, out.take())
}

const start = async () => {
  const folder = await makeFolder()
  cleanups.push(folder.remove)
  const store = `${folder.path}/store`
  const settings = { config: '[log]\nlevel = "warn"\n[cluster.main]\ndriver = "discard"\n', store, folder: folder.path }
  const server = await ServerProcess.start(settings)
  cleanups.push(() => server.end('SIGKILL'))
  return { server, store, settings }
}

describe('a server that is told to stop', () => {
  it('says goodbye with a reason, refuses what crosses with it, and exits 0', async () => {
    const { server, store } = await start()
    const connection = new RawConnection(server.address)
    cleanups.push(() => connection.destroy())
    connection.write(Buffer.concat([encodePreamble(1, 1), encodeMessage({ type: 'HELLO', producer: 5n, features: 0, name: '' }), jobsFrame(1)]))
    await until('the first job is acknowledged', () => connection.messages.some(({ type }) => type === 'ACK'))
    const exited = server.end('SIGTERM')
    await until('it says goodbye', () => connection.messages.some(({ type }) => type === 'GOODBYE'))
    expect(connection.messages.find(({ type }) => type === 'GOODBYE')).toMatchObject({ code: 66 })
    connection.write(jobsFrame(2))
    await until('the late job is refused', () => connection.messages.some(({ type }) => type === 'REFUSED'))
    expect(connection.messages.find(({ type }) => type === 'REFUSED')).toMatchObject({ jobs: [{ sequence: 2n, code: 66 }] })
    connection.destroy()
    expect(await exited, server.log).toBe(0)
    const { audit, instances, leader } = await statusOf(store)
    expect(audit).toMatchObject({ accepted: 1, balanced: true })
    expect(leader).toBeNull()
    expect(instances).toEqual([])
  })

  it("doesn't wait for ever for a producer that won't go", async () => {
    const { server } = await start()
    const connection = new RawConnection(server.address)
    cleanups.push(() => connection.destroy())
    connection.write(Buffer.concat([encodePreamble(1, 1), encodeMessage({ type: 'HELLO', producer: 6n, features: 0, name: '' })]))
    await until('it is greeted', () => connection.messages.some(({ type }) => type === 'WELCOME'))
    const begun = Date.now()
    expect(await server.end('SIGTERM'), server.log).toBe(0)
    expect(Date.now() - begun).toBeLessThan(20_000)
  })

  it('loses no client of the library: it goes on with the next server of the store', async () => {
    const { server, store, settings } = await start()
    const other = await ServerProcess.start({ ...settings, config: `host = "other"\n${settings.config}` })
    cleanups.push(() => other.end('SIGKILL'))
    const client = new Client({ addresses: [server.address, other.address], backoffBaseMs: 10, backoffMostMs: 100, random: () => 0 })
    cleanups.push(() => client.close())
    const hosts = new Set<string>()
    const load = { on: true }
    let acked = 0
    const sending = (async () => {
      while (load.on) {
        hosts.add((await client.send({ executable: '/bin/true' })).instance)
        acked += 1
      }
    })()
    await until('some are accepted', () => acked > 20)
    const first = client.connectedTo!.address === server.address ? server : other
    const named: string[] = []
    client.on('goodbye', ({ addresses }) => named.push(...addresses))
    expect(await first.end('SIGTERM'), first.log).toBe(0)
    expect(named).toEqual([first === server ? other.address : server.address])
    const before = acked
    await until('the other accepts', () => acked > before + 20)
    load.on = false
    await sending
    expect(hosts.size).toBe(2)
    await until('all are submitted', async () => (await statusOf(store)).audit.submitted === acked)
    expect((await statusOf(store)).audit).toMatchObject({ accepted: acked, duplicates: 0, balanced: true })
  })
})
