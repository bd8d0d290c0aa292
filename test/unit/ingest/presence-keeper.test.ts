// Presence: how often it is asked whether the directory is still the store, and what comes of it when it isn't.
import { describe, expect, it } from 'vitest'
import type { Clock } from '../../../src/base/clock.ts'
import type { UsherError } from '../../../src/base/errors.ts'
import { PresenceKeeper } from '../../../src/ingest/presence-keeper.ts'
import type { InstancePresence } from '../../../src/observe/instance.ts'
import type { Presence, Store } from '../../../src/store/store.ts'

const uuid = '00000000-0000-4000-8000-000000000000'
const other = '11111111-0000-4000-8000-000000000000'

const setUp = () => {
  let nowMs = 1000
  const clock: Clock = { nowMs: () => nowMs, wallMs: () => nowMs, after: () => () => undefined }
  const seen = { asked: 0, written: [] as Readonly<Record<string, unknown>>[], wrong: [] as string[], uuid, gone: false }
  const store = {
    list: () => {
      seen.asked += 1
      return Promise.resolve(seen.gone ? [] : ['store.json'])
    },
    read: () => Promise.resolve(Buffer.from(JSON.stringify({ format: 1, uuid: seen.uuid, created: '', by: '' }))),
  } as unknown as Store
  const presence = { write: (value: Readonly<Record<string, unknown>>) => Promise.resolve(void seen.written.push(value)), close: () => Promise.resolve() } as unknown as Presence
  const keeper = new PresenceKeeper({
    store,
    uuid,
    presence,
    clock,
    everyMs: 500,
    initial: { instance: 'h-20261123T040000-3fa9c1', host: 'h', reason: '', published: 0 } as InstancePresence,
    onWritten: () => undefined,
    acceptLeaseMs: 3000,
    onLapsed: () => undefined,
    onWrongStore: (error: UsherError) => void seen.wrong.push(error.code),
    log: () => undefined,
  })
  const publish = async (published: number): Promise<void> => {
    keeper.update({ published })
    // All of the store's answers are there already: a turn of the event loop is as long as any write takes.
    await new Promise((resolve) => setImmediate(resolve))
  }
  const pass = (ms: number): void => void (nowMs += ms)
  return { keeper, seen, publish, pass }
}

describe('presence', () => {
  it('is written at once for each segment, and asks once in a beat whether the store is still the same', async () => {
    const { keeper, seen, publish, pass } = setUp()
    await keeper.start(1000)
    for (let published = 1; published <= 10; published += 1) {
      await publish(published)
      pass(100)
    }
    expect(seen.written.map(({ published }) => published)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
    expect(seen.asked).toBe(2)
  })

  it('is not written where another store is, and says so within a beat', async () => {
    const { keeper, seen, publish, pass } = setUp()
    await keeper.start(1000)
    await publish(1)
    seen.uuid = other
    pass(500)
    await publish(2)
    expect(seen.wrong).toEqual(['store_wrong'])
    expect(seen.written.at(-1)!['published']).toBe(1)
  })

  it('is not written while the store is away, and asks before each attempt until it is back', async () => {
    const { keeper, seen, publish, pass } = setUp()
    await keeper.start(1000)
    seen.gone = true
    pass(500)
    for (const published of [1, 2, 3]) await publish(published)
    expect([seen.asked, seen.written.length]).toEqual([3, 1])
    seen.gone = false
    await publish(4)
    expect(seen.written.at(-1)!['published']).toBe(4)
    expect(seen.wrong).toEqual([])
  })
})
