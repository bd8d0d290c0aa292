import { createSocket } from 'node:dgram'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import type { Clock } from '../../../src/base/clock.ts'
import { systemClock } from '../../../src/base/clock.ts'
import { lookEveryMs, Nudges } from '../../../src/ingest/nudges.ts'
import type { Nudge } from '../../../src/protocol/nudge.ts'
import { encodeNudge } from '../../../src/protocol/nudge.ts'

const store = 'e35691c8-27ce-4d87-bc4e-fb143225f199'
const otherStore = '00000000-27ce-4d87-bc4e-fb143225f199'

const opened: { close(): Promise<void> }[] = []
afterEach(async () => {
  for (const each of opened.splice(0)) await each.close()
})

/** A UDP port that is free now, on loopback. */
const freePort = async (): Promise<number> => {
  const socket = createSocket('udp4')
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve))
  const { port } = socket.address() as AddressInfo
  await new Promise<void>((resolve) => socket.close(() => resolve()))
  return port
}

const make = (options: { storeUuid?: string; clock?: Clock } = {}) => {
  const heard: Nudge[] = []
  const logged: string[] = []
  let tell: () => void = () => undefined
  const nudges = new Nudges({
    storeUuid: store,
    clock: systemClock,
    onNudge: (nudge) => {
      heard.push(nudge)
      tell()
    },
    log: (_level, message) => void logged.push(message),
    ...options,
  })
  opened.push(nudges)
  const hears = async (count: number): Promise<void> => {
    while (heard.length < count) await new Promise<void>((resolve) => (tell = resolve))
  }
  return { nudges, heard, logged, hears }
}

/** Sends these datagrams, one after the other; UDP on loopback keeps their order. */
const sendAll = async (port: number, datagrams: readonly Buffer[]): Promise<void> => {
  const socket = createSocket('udp4')
  for (const bytes of datagrams) await new Promise<void>((resolve) => socket.send(bytes, port, '127.0.0.1', () => resolve()))
  await new Promise<void>((resolve) => socket.close(() => resolve()))
}

describe('nudges', () => {
  it('reach who listens there, by address and by name', async () => {
    const address = `127.0.0.1:${await freePort()}`
    const receiver = make()
    await receiver.nudges.open(address)
    const sender = make()
    sender.nudges.send('claims', [address])
    await receiver.hears(1)
    sender.nudges.send('published', [address.replace('127.0.0.1', 'localhost'), 'nobody.invalid:7433'])
    await receiver.hears(2)
    expect(receiver.heard).toEqual(['claims', 'published'])
  })

  it('tell the leader once of each segment that presence shows, and nobody while there is no leader', async () => {
    const address = `127.0.0.1:${await freePort()}`
    const leader = make()
    await leader.nudges.open(address)
    const { nudges } = make()
    nudges.published(1)
    nudges.leader(address)
    nudges.published(1)
    nudges.published(2)
    await leader.hears(1)
    expect(leader.heard).toEqual(['published'])
  })

  it('of another store, of another version and malformed ones are nothing', async () => {
    const port = await freePort()
    const { nudges, heard, hears } = make()
    await nudges.open(`127.0.0.1:${port}`)
    const wrongVersion = encodeNudge('claims', store)
    wrongVersion.writeUInt16LE(2, 4)
    const junk = [Buffer.alloc(0), Buffer.from('x'), Buffer.alloc(1400, 0xff), wrongVersion, encodeNudge('claims', otherStore)]
    await sendAll(port, [...junk, encodeNudge('published', store)])
    await hears(1)
    expect(heard).toEqual(['published'])
  })

  it('cause one look at once and one later, however many come', async () => {
    const port = await freePort()
    let now = 1_000
    const waiting: { ms: number; call: () => void }[] = []
    const clock: Clock = {
      nowMs: () => now,
      wallMs: () => now,
      after: (ms, call) => {
        waiting.push({ ms, call })
        return () => undefined
      },
    }
    const { nudges, heard, hears } = make({ clock })
    await nudges.open(`127.0.0.1:${port}`)
    await sendAll(port, [...Array.from({ length: 100 }, () => encodeNudge('claims', store)), encodeNudge('published', store)])
    await hears(2)
    expect(heard).toEqual(['claims', 'published'])
    expect(waiting.map(({ ms }) => ms)).toEqual([lookEveryMs])
    now += lookEveryMs
    waiting[0]!.call()
    expect(heard).toEqual(['claims', 'published', 'claims'])
    now += lookEveryMs
    await sendAll(port, [encodeNudge('claims', store)])
    await hears(4)
    expect(waiting).toHaveLength(1)
  })

  it('are done without where the port is taken, and that is said once', async () => {
    const taken = createSocket('udp4')
    await new Promise<void>((resolve) => taken.bind(0, '127.0.0.1', resolve))
    const { port } = taken.address() as AddressInfo
    const { nudges, logged } = make()
    await nudges.open(`127.0.0.1:${port}`)
    expect(logged).toEqual([expect.stringMatching(/^no nudges can be received on UDP 127\.0\.0\.1:\d+: .*EADDRINUSE/)])
    // Sending needs no port of its own.
    const receiver = make()
    const address = `127.0.0.1:${await freePort()}`
    await receiver.nudges.open(address)
    nudges.send('claims', [address])
    await receiver.hears(1)
    await new Promise<void>((resolve) => taken.close(() => resolve()))
  })

  it('that were to be sent before the end are sent', async () => {
    const address = `127.0.0.1:${await freePort()}`
    const receiver = make()
    await receiver.nudges.open(address)
    const sender = make()
    sender.nudges.send('claims', [address])
    await sender.nudges.close()
    await receiver.hears(1)
    expect(receiver.heard).toEqual(['claims'])
  })
})
