import { mkdtemp, readdir, rm, rmdir, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { UsherError } from '../../../src/base/errors.ts'
import { DirectoryStore } from '../../../src/store/directory-store.ts'
import { openStore, raiseFormat, readIdentity, verifyIdentity } from '../../../src/store/identity.ts'
import { FaultyFiles } from './faulty-files.ts'

let root: string

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'usher-identity-'))
})

afterEach(async () => {
  await rm(root, { recursive: true })
})

const refused = async (work: Promise<unknown>): Promise<string> => {
  const error: unknown = await work.catch((caught: unknown) => caught)
  expect(error).toBeInstanceOf(UsherError)
  expect((error as UsherError).code).toBe('store_wrong')
  return (error as UsherError).message
}

describe('the identity of a store', () => {
  it('is made once, by one of many that start together, with every directory there', async () => {
    const directory = join(root, 'new', 'store')
    const hosts = Array.from({ length: 8 }, (_, i) => `host${i}`)
    const opened = await Promise.all(hosts.map((host) => openStore(directory, { create: true, host })))
    expect(new Set(opened.map(({ identity }) => identity.uuid)).size).toBe(1)
    const again = await openStore(directory, { create: false })
    expect(again.identity).toEqual(opened[0]!.identity)
    expect(await again.store.list('')).toEqual(['admission', 'claims', 'drains', 'hosts', 'ledger', 'requests', 'store.json', 'terms'])
  })

  it('of an earlier version gets the directories that came later, when it is opened to be worked on', async () => {
    const { identity } = await openStore(root, { create: true })
    await rmdir(join(root, 'admission'))
    await openStore(root, { create: false })
    expect(await readdir(root)).not.toContain('admission')
    const again = await openStore(root, { create: true })
    expect(again.identity).toEqual(identity)
    expect(await readdir(root)).toContain('admission')
  })

  it('is not made unless that was asked for, and the message says what to do', async () => {
    expect(await refused(openStore(root, { create: false }))).toMatch(/usher serve/)
    expect(await refused(openStore(join(root, 'missing'), { create: false }))).toMatch(/usher serve/)
  })

  it('is refused where it is not the one that was named, and none is made in its place', async () => {
    const expected = '00000000-0000-4000-8000-000000000000'
    const empty = join(root, 'not-mounted')
    expect(await refused(openStore(empty, { create: true, uuid: expected }))).toMatch(/holds no store.*mount the share/)
    expect(await readdir(root)).toEqual([])
    const { identity, created } = await openStore(root, { create: true })
    expect(created).toBe(true)
    expect(await refused(openStore(root, { create: true, uuid: expected }))).toMatch(/another share/)
    expect(await openStore(root, { create: true, uuid: identity.uuid })).toMatchObject({ identity, created: false })
  })

  it('is refused in a format that this version does not know', async () => {
    const uuid = '00000000-0000-4000-8000-000000000000'
    await writeFile(join(root, 'store.json'), JSON.stringify({ format: 3, uuid }))
    expect(await refused(openStore(root, { create: true }))).toMatch(/format 3.*formats 1 to 2: upgrade usher/)
    await writeFile(join(root, 'store.json'), JSON.stringify({ format: 0, uuid }))
    expect(await refused(openStore(root, { create: true }))).toMatch(/the version of usher that made it/)
    for (const text of ['', '{', '[]', 'null', '{"format":1}', '{"format":2,"uuid":"x"}', '{"format":"2"}']) {
      await writeFile(join(root, 'store.json'), text)
      expect(await refused(openStore(root, { create: true }))).toMatch(/store\.json/)
    }
  })

  it('of an earlier format is worked on as it is, and raised when that is asked for, by any number at once', async () => {
    const { store, identity } = await openStore(root, { create: true })
    const early = { ...identity, format: 1 }
    await writeFile(join(root, 'store.json'), `${JSON.stringify(early)}\n`)
    expect((await openStore(root, { create: true })).identity).toEqual(early)
    await verifyIdentity(store, identity.uuid)
    expect(await Promise.all(Array.from({ length: 8 }, () => raiseFormat(store, early)))).toEqual(Array.from({ length: 8 }, () => identity))
    expect((await openStore(root, { create: false })).identity).toEqual(identity)
    expect((await readdir(root)).filter((name) => name.startsWith('.'))).toEqual([])
  })

  it('is of the one format or the other when any call fails that raises it, and can be raised again', async () => {
    const { identity } = await openStore(root, { create: true })
    const early = { ...identity, format: 1 }
    const counting = new FaultyFiles()
    await raiseFormat(new DirectoryStore(root, counting), early)
    expect(counting.calls.length).toBeGreaterThan(6)
    for (let nth = 1; nth <= counting.calls.length; nth++) {
      for (const done of [false, true]) {
        await writeFile(join(root, 'store.json'), `${JSON.stringify(early)}\n`)
        const store = new DirectoryStore(root, new FaultyFiles({ nth, errno: 'EIO', done }))
        const raised = await raiseFormat(store, early).catch((error: unknown) => {
          expect(error).toBeInstanceOf(UsherError)
          return null
        })
        const found = await readIdentity(new DirectoryStore(root))
        if (raised === null) expect([1, 2]).toContain(found?.format)
        else expect(found).toEqual(identity)
        expect({ ...found, format: 2 }).toEqual(identity)
        expect(await raiseFormat(new DirectoryStore(root), early)).toEqual(identity)
      }
    }
  })

  it('shows when the directory is another store, or none, all of a sudden', async () => {
    const { store, identity } = await openStore(root, { create: true })
    await verifyIdentity(store, identity.uuid)
    const other = { ...identity, uuid: '00000000-0000-4000-8000-000000000000' }
    await writeFile(join(root, 'store.json'), JSON.stringify(other))
    expect(await refused(verifyIdentity(store, identity.uuid))).toMatch(/is the store 0000/)
    await rm(join(root, 'store.json'))
    await expect(verifyIdentity(store, identity.uuid)).rejects.toMatchObject({ code: 'store_unavailable', message: expect.stringMatching(/still mounted/) as string })
  })

  it('is made whole or not at all when any call fails, and by the next start then', async () => {
    const counting = new FaultyFiles()
    await openStore(join(root, 'counting'), { create: true, files: counting })
    for (let nth = 1; nth <= counting.calls.length; nth++) {
      for (const done of [false, true]) {
        const directory = join(root, `s${nth}${done ? 'done' : ''}`)
        const files = new FaultyFiles({ nth, errno: 'EIO', done })
        const first = await openStore(directory, { create: true, files }).catch((error: unknown) => {
          expect(error).toBeInstanceOf(UsherError)
          return null
        })
        const second = await openStore(directory, { create: true })
        if (first !== null) expect(second.identity).toEqual(first.identity)
        expect(await readIdentity(second.store)).toEqual(second.identity)
      }
    }
  })
})
