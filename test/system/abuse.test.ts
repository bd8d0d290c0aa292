// Producers that misbehave: each costs itself, and nobody else anything. Memory stays bounded, the others are served.
import { readFile } from 'node:fs/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Client } from '../../src/client/client.ts'
import { encodePreamble } from '../../src/protocol/frame.ts'
import { encodeMessage } from '../../src/protocol/messages.ts'
import { RawConnection } from '../support/raw-connection.ts'
import { seeded, seedOf } from '../support/random.ts'
import { makeFolder, ServerProcess, statusOf, until, usher } from '../support/usher-process.ts'

const folder = await makeFolder()
const store = `${folder.path}/store`
const config = `[log]\nlevel = "warn"\n[limits]\nconnections = 10100\nframe_timeout = 3\nhello_timeout = 20\npartial_bytes = "16 MiB"\n[cluster.main]\ndriver = "discard"\n`
let server: ServerProcess
let good: Client

beforeAll(async () => {
  server = await ServerProcess.start({ config, store, folder: folder.path })
  good = new Client({ addresses: server.address, timeoutMs: 20_000 })
})
afterAll(async () => {
  await good.close()
  expect(await server.end('SIGTERM')).toBe(0)
  await folder.remove()
})

const hello = (producer: bigint): Buffer => Buffer.concat([encodePreamble(1, 1), encodeMessage({ type: 'HELLO', producer, features: 0, name: 'abuse' })])
const residentMiB = async (): Promise<number> => {
  const status = await readFile(`/proc/${server.child.pid}/status`, 'utf8')
  return Number(/^VmRSS:\s+([0-9]+)/m.exec(status)![1]) / 1024
}
/** The well-behaved producer is served, however the others behave. */
const othersAreServed = async (): Promise<void> => {
  const { accepted } = await good.sendAll(Array.from({ length: 50 }, () => ({ executable: '/bin/true' })))
  expect(accepted).toBe(50)
  expect(server.exited).toBe(false)
}

describe('a producer that', () => {
  it('sends garbage is told so and cut off', async () => {
    const seed = seedOf()
    const random = seeded(seed)
    const connections = Array.from({ length: 200 }, () => {
      const connection = new RawConnection(server.address)
      const bytes = Buffer.from(Array.from({ length: 1 + Math.floor(random() * 3000) }, () => Math.floor(random() * 256)))
      // Half of them greet properly first, so that the garbage reaches the frames.
      connection.write(random() < 0.5 ? bytes : Buffer.concat([hello(7n), bytes]))
      return connection
    })
    await othersAreServed()
    await until(`all are closed (seed ${seed})`, () => connections.filter(({ closed }) => !closed).length < 40)
    const told = connections.filter(({ received }) => received.length >= 8)
    expect(told.length, `seed ${seed}`).toBeGreaterThan(150)
    for (const connection of connections) connection.destroy()
  })

  it('stops within a frame is cut off after the frame time-out, however slowly it drips', { timeout: 30_000 }, async () => {
    const frame = encodeMessage({ type: 'PING', token: 1n })
    const slow = Array.from({ length: 20 }, () => {
      const connection = new RawConnection(server.address)
      connection.write(Buffer.concat([hello(8n), frame.subarray(0, 5)]))
      return connection
    })
    let at = 5
    const drip = setInterval(() => {
      if (at < frame.length - 1) for (const connection of slow) connection.write(frame.subarray(at, at + 1))
      at += 1
    }, 400)
    await othersAreServed()
    await until('all are closed', () => slow.every(({ closed }) => closed), 10_000)
    clearInterval(drip)
    for (const connection of slow) expect(connection.messages.at(-1)).toMatchObject({ type: 'ERROR', code: 10 })
  })

  it("begins large frames and doesn't finish them can't fill memory", { timeout: 30_000 }, async () => {
    const before = await residentMiB()
    const header = Buffer.alloc(12)
    header.writeUInt32LE(1024 * 1024, 4)
    header[8] = 3
    header.writeUInt16LE(1, 10)
    const many = Array.from({ length: 100 }, () => {
      const connection = new RawConnection(server.address)
      connection.write(Buffer.concat([hello(9n), header, Buffer.alloc(900 * 1024)]))
      return connection
    })
    const exhausted = (): number => many.filter(({ messages }) => messages.some((message) => message.type === 'ERROR' && message.code === 12)).length
    await until('those beyond the bound are told', () => exhausted() >= 70)
    await othersAreServed()
    expect((await residentMiB()) - before).toBeLessThan(100)
    for (const connection of many) connection.destroy()
  })

  it("doesn't read its answers is cut off", { timeout: 30_000 }, async () => {
    const connection = new RawConnection(server.address)
    connection.write(hello(10n))
    connection.socket.pause()
    const pings = Buffer.concat(Array.from({ length: 50_000 }, (_, token) => encodeMessage({ type: 'PING', token: BigInt(token) })))
    let sent = 0
    connection.socket.on('drain', () => undefined)
    while (!connection.closed && sent < 400 && connection.error === null) {
      connection.write(pings)
      sent += 1
      await new Promise((resolve) => setTimeout(resolve, 5))
      if ((await residentMiB()) > 600) break
    }
    await othersAreServed()
    connection.socket.resume()
    await until('it is closed', () => connection.closed || connection.error !== null, 10_000)
  })
})

const filesMax = Number(/Max open files\s+[0-9]+\s+([0-9]+)/.exec(await readFile('/proc/self/limits', 'utf8'))![1])

describe.skipIf(filesMax < 11_000)('ten thousand connections', () => {
  it('are served, one more than allowed is told so, and memory stays bounded', { timeout: 120_000 }, async () => {
    const open: RawConnection[] = []
    for (let batch = 0; batch < 20; batch += 1) {
      const some = Array.from({ length: 500 }, (_, index) => {
        const connection = new RawConnection(server.address)
        connection.write(hello(BigInt(batch * 500 + index + 1000)))
        return connection
      })
      open.push(...some)
      await until('they are greeted', () => some.every(({ received }) => received.length > 8))
    }
    await othersAreServed()
    expect(await residentMiB()).toBeLessThan(700)
    const more = Array.from({ length: 300 }, () => new RawConnection(server.address))
    await until('those beyond the limit are told', () => more.filter(({ messages }) => messages.some((message) => message.type === 'ERROR' && message.code === 8)).length >= 100)
    await othersAreServed()
    for (const connection of [...open, ...more]) connection.destroy()
    await until('the server has let go of them', async () => {
      const { stdout } = await usher(['send', '-', '--to', server.address, '--json'], { input: '{"executable":"/bin/true"}\n' })
      return stdout.includes('"accepted":1')
    })
  })
})

it('has accepted nothing but what the well-behaved sent', async () => {
  await until('everything is submitted', async () => (await statusOf(store)).audit.waiting === 0)
  const { audit } = await statusOf(store)
  expect(audit).toMatchObject({ balanced: true, setAside: 0, dead: 0 })
  expect(audit.accepted).toBeGreaterThanOrEqual(300)
})
