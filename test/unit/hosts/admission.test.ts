import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Decision } from '../../../src/hosts/admission.ts'
import { AdmissionList, decide, foldAdmission, refusalOf } from '../../../src/hosts/admission.ts'
import { realFiles } from '../../../src/store/file-operations.ts'
import { openStore } from '../../../src/store/identity.ts'
import type { Store } from '../../../src/store/store.ts'
import { FaultyFiles } from '../store/faulty-files.ts'

let root: string
let store: Store

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'usher-admission-'))
  store = (await openStore(root, { create: true })).store
})

afterEach(async () => {
  await rm(root, { recursive: true })
})

const entry = (decision: Decision['decision'], ...hosts: string[]): Decision => ({ decision, hosts, by: 'ops@console', at: '2026-11-23T04:00:00.000Z' })
const folded = (...decisions: Decision[]) => foldAdmission(decisions.map((decision, index) => ({ ...decision, number: index + 1 })))

describe('the admission list', () => {
  it('lets everybody in while it names nobody, except those configured as listed', () => {
    expect(refusalOf(folded(), 'node1', 'open')).toBeNull()
    expect(refusalOf(folded(), 'node1', 'listed')).toBe('waiting for admission: usher admit node1')
  })

  it('binds a host whose own configuration says open, as soon as it names anybody', () => {
    const list = folded(entry('admit', 'node1'))
    expect(refusalOf(list, 'node1', 'listed')).toBeNull()
    expect(refusalOf(list, 'node1', 'open')).toBeNull()
    expect(refusalOf(list, 'forgotten', 'open')).toBe('waiting for admission: usher admit forgotten')
  })

  it('has the later of two decisions count, and says who expelled', () => {
    const expelled = folded(entry('admit', 'node1', 'node2'), entry('expel', 'node2'))
    expect(refusalOf(expelled, 'node1', 'open')).toBeNull()
    expect(refusalOf(expelled, 'node2', 'open')).toMatch(/^expelled by ops@console at .*usher admit node2/)
    expect(refusalOf(folded(entry('expel', 'node2'), entry('admit', 'node2')), 'node2', 'listed')).toBeNull()
  })

  it('expels without shutting out others, and does not open when its last host is expelled', () => {
    expect(refusalOf(folded(entry('expel', 'node2')), 'node1', 'open')).toBeNull()
    expect(refusalOf(folded(entry('admit', 'node1'), entry('expel', 'node1')), 'node2', 'open')).toMatch(/waiting/)
  })

  it('ends when it is cleared, expulsions too', () => {
    const list = folded(entry('admit', 'node1'), entry('expel', 'node2'), entry('clear'))
    for (const host of ['node1', 'node2', 'node3']) expect(refusalOf(list, host, 'open')).toBeNull()
    expect(refusalOf(list, 'node1', 'listed')).toMatch(/waiting/)
  })
})

describe('decisions of operators', () => {
  it('made at once by many all take a place of their own, the same for every reader', async () => {
    const hosts = Array.from({ length: 12 }, (_, index) => `node${index}`)
    const numbers = await Promise.all(hosts.map((host, index) => decide(store, entry(index % 2 === 0 ? 'admit' : 'expel', host, 'contested'))))
    expect([...numbers].sort((a, b) => a - b)).toEqual(hosts.map((_, index) => index + 1))
    const lists = await Promise.all([new AdmissionList(store).look(), new AdmissionList(store).look()])
    expect(lists[0]).toEqual(lists[1])
    const last = numbers.indexOf(hosts.length)
    expect(lists[0].hosts.get('contested')).toMatchObject({ number: hosts.length, decision: last % 2 === 0 ? 'admit' : 'expel' })
  })

  it('that a listing leaves out for a moment still count once they were seen', async () => {
    let hidden = ''
    const files = { ...realFiles, readdir: async (path: string) => (await realFiles.readdir(path)).filter((name) => name !== hidden) }
    const { store: hiding } = await openStore(root, { create: false, files })
    await decide(store, entry('admit', 'node1'))
    await decide(store, entry('expel', 'node1'))
    const list = new AdmissionList(hiding)
    expect(refusalOf(await list.look(), 'node1', 'open')).toMatch(/expelled/)
    hidden = '0000000002.json'
    expect(refusalOf(await list.look(), 'node1', 'open')).toMatch(/expelled/)
    // A new reader takes two listings before it believes one.
    let once = true
    const flickering = {
      ...realFiles,
      readdir: async (path: string) => {
        const hide = once && path.endsWith('admission')
        if (hide) once = false
        return (await realFiles.readdir(path)).filter((name) => !hide || name !== hidden)
      },
    }
    const { store: flicker } = await openStore(root, { create: false, files: flickering })
    expect(refusalOf(await new AdmissionList(flicker).look(), 'node1', 'open')).toMatch(/expelled/)
    // A number that a stale listing shows as free is taken by nobody a second time.
    expect(await decide(hiding, entry('admit', 'node2'))).toBe(3)
  })

  it('fail as a whole or are there, whichever call fails', async () => {
    const counting = new FaultyFiles()
    await decide((await openStore(root, { create: false, files: counting })).store, entry('expel', 'node0'))
    for (let nth = 1; nth <= counting.calls.length; nth += 1) {
      for (const done of [false, true]) {
        const host = `node${nth}-${done}`
        const files = new FaultyFiles({ nth, errno: 'EIO', done })
        const opened = await openStore(root, { create: false, files }).catch(() => null)
        const number = opened === null ? null : await decide(opened.store, entry('expel', host)).catch(() => null)
        const { hosts } = await new AdmissionList(store).look()
        if (number !== null) expect(hosts.get(host)).toMatchObject({ number, decision: 'expel' })
      }
    }
  })

  it('that no version wrote are an error, not nothing', async () => {
    for (const text of ['', 'null', '{}', '{"decision":"admit"}', '{"decision":"bless","hosts":[]}']) {
      await writeFile(join(root, 'admission', '0000000001.json'), text)
      await expect(new AdmissionList(store).look()).rejects.toMatchObject({ code: 'input_invalid', message: expect.stringContaining('admission/0000000001.json') as string })
    }
    await writeFile(join(root, 'admission', '0000000001.json'), JSON.stringify(entry('admit', 'node1')))
    await writeFile(join(root, 'admission', 'README'), 'not ours')
    expect((await new AdmissionList(store).look()).inForce).toBe(true)
  })
})
