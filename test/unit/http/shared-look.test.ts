// One look for all who ask.
import { describe, expect, it } from 'vitest'
import { SharedLook } from '../../../src/http/shared-look.ts'

const stage = (restFactor = 1) => {
  let now = 0
  let looks = 0
  const settle: ((how: 'ok' | 'fail') => void)[] = []
  const shared = new SharedLook({
    look: () => {
      looks += 1
      const nth = looks
      return new Promise<number>((resolve, reject) => settle.push((how) => (how === 'ok' ? resolve(nth) : reject(new Error('away')))))
    },
    nowMs: () => now,
    everyMs: 1000,
    restFactor,
    what: 'it',
  })
  return { shared, looks: () => looks, settle: (how: 'ok' | 'fail' = 'ok') => settle.shift()!(how), pass: (ms: number) => (now += ms) }
}

describe('a shared look', () => {
  it('is one for all who ask at a time, and for all who ask within its pace', async () => {
    const { shared, looks, settle, pass } = stage()
    const asked = [shared.latest(5000), shared.latest(5000), shared.latest(5000)]
    settle()
    expect((await Promise.all(asked)).map((seen) => seen?.value)).toEqual([1, 1, 1])
    pass(999)
    expect((await shared.latest(5000))?.value).toBe(1)
    expect(looks()).toBe(1)
    pass(1)
    const next = shared.latest(5000)
    settle()
    expect((await next)?.value).toBe(2)
  })

  it('rests longer the longer it takes', async () => {
    const { shared, looks, settle, pass } = stage(19)
    const first = shared.latest(5000)
    pass(500)
    settle()
    await first
    pass(19 * 500 - 1)
    await shared.latest(5000)
    expect(looks()).toBe(1)
    pass(1)
    const second = shared.latest(5000)
    settle()
    await second
    expect(looks()).toBe(2)
  })

  it('gives what was seen last while a look hangs, and starts no other', async () => {
    const { shared, looks, settle, pass } = stage()
    const first = shared.latest(5000)
    settle()
    await first
    pass(2000)
    expect((await shared.latest(1))?.value).toBe(1)
    pass(60_000)
    expect((await shared.latest(1))?.value).toBe(1)
    expect(looks()).toBe(2)
  })

  it('says so when nothing has been seen, and works again when the look does', async () => {
    const { shared, settle, pass } = stage()
    expect(await shared.latest(1)).toBeNull()
    settle('fail')
    await expect(shared.required(1)).rejects.toMatchObject({ code: 'unavailable', retryable: true })
    pass(1000)
    const again = shared.required(5000)
    settle()
    expect((await again).value).toBe(2)
    pass(1000)
    const failing = shared.required(5000)
    settle('fail')
    expect((await failing).value).toBe(2)
  })
})
