import { link, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { UsherError } from '../../../src/base/errors.ts'
import { DirectoryStore } from '../../../src/store/directory-store.ts'
import { realFiles } from '../../../src/store/file-operations.ts'
import { isMissing, isTaken } from '../../../src/store/store-error.ts'
import type { Fault } from './faulty-files.ts'
import { errnoError, FaultyFiles } from './faulty-files.ts'

let root: string
let made = 0

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'usher-store-'))
})

afterEach(async () => {
  await rm(root, { recursive: true })
})

/** A new, empty store within the test's directory. */
const freshStore = async (files: FaultyFiles = new FaultyFiles()): Promise<DirectoryStore> => {
  const directory = join(root, `s${(made += 1)}`)
  await mkdir(directory)
  return new DirectoryStore(directory, files)
}

const healthy = (store: DirectoryStore): DirectoryStore => new DirectoryStore(store.root)

const failure = async (work: Promise<unknown>): Promise<UsherError> => {
  const error: unknown = await work.then(
    () => new Error('it did not fail'),
    (caught: unknown) => caught,
  )
  expect(error).toBeInstanceOf(UsherError)
  return error as UsherError
}

interface Scenario {
  /** What must be there before, made without faults. */
  readonly before?: (store: DirectoryStore) => Promise<void>
  readonly work: (store: DirectoryStore) => Promise<unknown>
  /** What must be true once the work has been done, or done again, without a failure. */
  readonly after: (store: DirectoryStore) => Promise<void>
}

const content = Buffer.from('what was written')
let prepared = 0

const scenarios: Record<string, Scenario> = {
  publish: {
    work: (store) => store.publish('file', content),
    after: async (store) => expect(await store.read('file')).toEqual(content),
  },
  'publish of what is there': {
    before: (store) => store.publish('file', content),
    work: (store) => store.publish('file', content),
    after: async (store) => expect(await store.read('file')).toEqual(content),
  },
  claim: {
    before: (store) => store.publish('mine', content),
    work: async (store) => expect(await store.claim('claim', 'mine')).toBe('won'),
    after: async (store) => expect(await store.read('claim')).toEqual(content),
  },
  'claim of a file that was prepared for it': {
    work: async (store) => {
      // For one use, as its maker does it: another name and another content for each.
      prepared += 1
      const bytes = Buffer.from(`claim ${prepared}`)
      await store.prepare(`private-${prepared}`, bytes)
      expect(await healthy(store).read(`private-${prepared}`)).toEqual(bytes)
      expect(await store.claim(`claim-${prepared}`, `private-${prepared}`)).toBe('won')
    },
    after: async (store) => expect((await store.read(`claim-${prepared}`)).toString()).toBe(`claim ${prepared}`),
  },
  'claim of what is taken': {
    before: async (store) => {
      await store.publish('mine', content)
      await store.publish('claim', Buffer.from('another'))
    },
    work: async (store) => expect(await store.claim('claim', 'mine')).toBe('lost'),
    after: async (store) => expect(await store.read('claim')).toEqual(Buffer.from('another')),
  },
  makeDirectory: {
    work: (store) => store.makeDirectory('a/b/c'),
    after: async (store) => expect(await store.list('a/b')).toEqual(['c']),
  },
  list: {
    before: (store) => store.publish('file', content),
    work: async (store) => expect(await store.list('')).toEqual(['file']),
    after: async () => undefined,
  },
  read: {
    before: (store) => store.publish('file', content),
    work: async (store) => expect(await store.read('file')).toEqual(content),
    after: async () => undefined,
  },
  remove: {
    before: (store) => store.publish('file', content),
    work: (store) => store.remove('file'),
    after: async (store) => expect(await store.list('')).toEqual([]),
  },
  presence: {
    work: async (store) => {
      const presence = await store.openPresence('presence')
      try {
        await presence.write({ beat: 1 })
        await presence.write({ beat: 2 })
      } finally {
        await presence.close()
      }
    },
    after: async (store) => expect(await store.readPresence('presence')).toEqual({ beat: 2 }),
  },
  freeBytes: {
    work: async (store) => expect(await store.freeBytes()).toBeGreaterThan(0),
    after: async () => undefined,
  },
}

const faults = [
  { errno: 'EIO', done: false },
  { errno: 'ENOSPC', done: false },
  { errno: 'ESTALE', done: false },
  { errno: 'EIO', done: true },
  // What a resent request finds: its own work.
  { errno: 'EEXIST', done: true },
]

describe('a store in which any primitive call fails once', () => {
  for (const [name, { before, work, after }] of Object.entries(scenarios)) {
    it(`does ${name} rightly or says why not, and rightly the next time`, async () => {
      const counting = new FaultyFiles()
      const first = await freshStore(counting)
      await before?.(healthy(first))
      await work(first)
      await after(healthy(first))
      expect(counting.calls.length).toBeGreaterThan(0)
      for (let nth = 1; nth <= counting.calls.length; nth++) {
        for (const { errno, done } of faults) {
          const files = new FaultyFiles({ nth, errno, done })
          const store = await freshStore(files)
          const what = `call ${nth}, ${counting.calls[nth - 1]}, ${errno}${done ? ', done' : ''}`
          await before?.(healthy(store))
          let failed: unknown = null
          await work(store).catch((error: unknown) => (failed = error))
          expect(files.struck, what).toBe(true)
          // Nothing half-done is ever shown, whatever came of it.
          for (const listed of await healthy(store).list('')) {
            if (listed === 'file') expect(await healthy(store).read(listed), what).toEqual(content)
            if (listed === 'presence') expect(await healthy(store).readPresence(listed), what).not.toBeNull()
          }
          if (failed !== null) {
            expect(failed, what).toBeInstanceOf(UsherError)
            const error = failed as UsherError
            expect(error.code, what).toBe(errno === 'ENOSPC' ? 'store_full' : 'store_unavailable')
            const some = expect.any(String) as string
            expect(error.details, what).toMatchObject({ errno, operation: some, name: some })
            // Stale handles are opened again by path; a link, though, is never made twice.
            if (errno === 'ESTALE' && counting.calls[nth - 1] !== 'close') expect(name, what).toMatch(/^claim/)
            await work(healthy(store))
          }
          await after(healthy(store))
        }
      }
    })
  }
})

describe('prepare', () => {
  it('never writes into a file that is there', async () => {
    const store = await freshStore()
    await store.prepare('private', content)
    expect(isTaken(await failure(store.prepare('private', Buffer.from('other'))))).toBe(true)
    expect(await store.read('private')).toEqual(content)
  })
})

describe('publish', () => {
  it('never replaces other content', async () => {
    const store = await freshStore()
    await store.publish('file', content)
    const error = await failure(store.publish('file', Buffer.from('other')))
    expect(isTaken(error)).toBe(true)
    expect(error.message).toContain('file')
    expect(await store.read('file')).toEqual(content)
  })

  it('leaves no private name behind, and lists none that a crash left', async () => {
    const store = await freshStore()
    await writeFile(join(store.root, '.file.0123456789abcdef.tmp'), 'half')
    await writeFile(join(store.root, '.nfs000000000001'), 'silly')
    await store.publish('file', content)
    expect(await store.list('')).toEqual(['file'])
    expect((await readdir(store.root)).sort()).toEqual(['.file.0123456789abcdef.tmp', '.nfs000000000001', 'file'])
  })

  it('syncs the file before it has its name and the directory after', async () => {
    const files = new FaultyFiles()
    const store = await freshStore(files)
    await store.publish('file', content)
    const order = files.calls.filter((call) => ['write', 'sync', 'close', 'link'].includes(call))
    expect(order).toEqual(['write', 'sync', 'close', 'link', 'sync', 'close'])
  })

  it('refuses names that lead out of the store', async () => {
    const store = await freshStore()
    for (const name of ['../x', '/x', 'a//b', 'a/.', '']) {
      expect((await failure(store.publish(name, content))).code).toMatch(/internal|store_unavailable/)
    }
    expect(await readdir(root)).toHaveLength(1)
  })
})

describe('claim', () => {
  for (const fault of [
    { errno: 'EEXIST', done: true },
    { errno: 'EIO', done: true },
  ]) {
    it(`is won when the link was made and ${fault.errno} reported`, async () => {
      const store = await freshStore(new FaultyFiles({ ...fault, operation: 'link', nth: 1 } satisfies Fault))
      await healthy(store).publish('mine', content)
      expect(await store.claim('claim', 'mine')).toBe('won')
    })
  }

  it('is neither won nor lost when the link failed and nothing is there', async () => {
    const store = await freshStore(new FaultyFiles({ errno: 'EIO', done: false, operation: 'link', nth: 1 }))
    await healthy(store).publish('mine', content)
    expect((await failure(store.claim('claim', 'mine'))).details).toEqual({ operation: 'claim', name: 'claim', errno: 'EIO' })
  })

  it('is lost when success was reported for a name that is another file', async () => {
    const lying = { ...realFiles, link: () => Promise.resolve() }
    const store = await freshStore()
    await store.publish('mine', content)
    await store.publish('claim', Buffer.from('another'))
    expect(await new DirectoryStore(store.root, lying).claim('claim', 'mine')).toBe('lost')
  })

  it('is won by exactly one of many at once', async () => {
    const store = await freshStore()
    const names = Array.from({ length: 20 }, (_, i) => `mine${i}`)
    for (const name of names) await store.publish(name, Buffer.from(name))
    const results = await Promise.all(names.map((name) => store.claim('claim', name)))
    expect(results.filter((result) => result === 'won')).toHaveLength(1)
    expect((await store.read('claim')).toString()).toBe(names[results.indexOf('won')])
  })

  it('never looks up the name before it is there', async () => {
    const looked: string[] = []
    const stat = (path: string): ReturnType<typeof realFiles.stat> => {
      looked.push(path)
      return realFiles.stat(path)
    }
    const files = { ...realFiles, stat, link: () => Promise.reject(errnoError('EIO')) }
    const store = await freshStore()
    await store.publish('mine', content)
    await failure(new DirectoryStore(store.root, files).claim('claim', 'mine'))
    expect(looked).toEqual([])
  })
})

describe('appender', () => {
  it('gathers what is appended while a sync runs into one write and one sync', async () => {
    const files = new FaultyFiles()
    const store = await freshStore(files)
    const appender = await store.createAppender('log')
    files.calls.length = 0
    await Promise.all(Array.from({ length: 100 }, (_, i) => appender.append(Buffer.from(`${i}\n`))))
    expect(files.calls).toEqual(['write', 'datasync'])
    const text = Array.from({ length: 100 }, (_, i) => `${i}\n`).join('')
    expect(appender.syncedBytes).toBe(text.length)
    const first = appender.append(Buffer.from('a'))
    await new Promise(setImmediate)
    await Promise.all([first, appender.append(Buffer.from('b')), appender.append(Buffer.from('c'))])
    await appender.close()
    expect((await readFile(join(store.root, 'log'))).toString()).toBe(`${text}abc`)
  })

  it('is dead after any failure: nothing that waited or comes later is called appended', async () => {
    for (const operation of ['write', 'datasync']) {
      const store = await freshStore(new FaultyFiles({ operation, nth: 2, errno: 'ENOSPC', done: true }))
      const appender = await store.createAppender('log')
      await appender.append(Buffer.from('good'))
      const second = appender.append(Buffer.from('lost'))
      const third = appender.append(Buffer.from('waiting'))
      for (const append of [second, third]) expect((await failure(append)).code).toBe('store_full')
      expect((await failure(appender.append(Buffer.from('later')))).details).toMatchObject({ name: 'log', errno: 'ENOSPC' })
      expect(appender.syncedBytes).toBe(4)
      await appender.close()
    }
  })

  it('goes on writing where a short write ended', async () => {
    const short = {
      ...realFiles,
      open: async (...args: Parameters<typeof realFiles.open>) => {
        const file = await realFiles.open(...args)
        return { ...file, write: (bytes: Uint8Array, position: number) => file.write(bytes.subarray(0, 3), position) }
      },
    }
    const store = new DirectoryStore((await freshStore()).root, short)
    const appender = await store.createAppender('log')
    await appender.append(content)
    await appender.append(content)
    await appender.close()
    expect(await store.read('log')).toEqual(Buffer.concat([content, content]))
  })

  it('reports a failing close, and refuses what is appended after it', async () => {
    // The first close is that of the directory's sync.
    const store = await freshStore(new FaultyFiles({ operation: 'close', nth: 2, errno: 'EDQUOT', done: true }))
    const appender = await store.createAppender('log')
    await appender.append(content)
    expect((await failure(appender.close())).code).toBe('store_full')
    expect((await failure(appender.append(content))).code).toBe('closed')
  })

  it('is never made of a file that exists', async () => {
    const store = await freshStore()
    await store.publish('log', content)
    expect(isTaken(await failure(store.createAppender('log')))).toBe(true)
  })
})

describe('presence', () => {
  it('is 1,024 bytes of JSON, spaces and a line feed, rewritten in place', async () => {
    const store = await freshStore()
    const presence = await store.openPresence('presence')
    expect(await store.readPresence('presence')).toBeNull()
    for (const value of [{ beat: 1, text: 'é'.repeat(200) }, { beat: 2 }]) {
      await presence.write(value)
      const bytes = await readFile(join(store.root, 'presence'))
      expect(bytes).toHaveLength(1024)
      expect(bytes.at(-1)).toBe(0x0a)
      expect(JSON.parse(bytes.toString())).toMatchObject(value)
      expect(await store.readPresence('presence')).toEqual(value)
    }
    await presence.close()
  })

  it('is null for what is torn or flipped at any byte', async () => {
    const store = await freshStore()
    const presence = await store.openPresence('presence')
    await presence.write({ beat: 1, name: 'node7' })
    const old = await readFile(join(store.root, 'presence'))
    await presence.write({ beat: 22, name: 'node8' })
    await presence.close()
    const now = await readFile(join(store.root, 'presence'))
    for (let at = 1; at < 1024; at += at < 80 ? 1 : 97) {
      const torn = Buffer.concat([now.subarray(0, at), old.subarray(at)])
      const flipped = Buffer.from(now)
      flipped[at]! ^= 0x10
      await writeFile(join(store.root, 'presence'), torn)
      const read = await store.readPresence('presence')
      // As long as nothing differs yet, half of the new one is all of the old one.
      if (torn.equals(now)) expect(read).toEqual({ beat: 22, name: 'node8' })
      else if (torn.equals(old)) expect(read).toEqual({ beat: 1, name: 'node7' })
      else expect(read).toBeNull()
      await writeFile(join(store.root, 'presence'), flipped)
      expect(await store.readPresence('presence'), `byte ${at}`).toBeNull()
    }
  })

  it('refuses what does not fit', async () => {
    const presence = await (await freshStore()).openPresence('presence')
    expect(() => presence.write({ text: 'x'.repeat(1_000) })).toThrow(/doesn't fit/)
    await presence.close()
  })

  it('works again after a write that failed', async () => {
    const store = await freshStore(new FaultyFiles({ operation: 'datasync', nth: 2, errno: 'EIO', done: true }))
    const presence = await store.openPresence('presence')
    await presence.write({ beat: 1 })
    expect((await failure(presence.write({ beat: 2 }))).details).toMatchObject({ name: 'presence', errno: 'EIO' })
    await presence.write({ beat: 3 })
    expect(await store.readPresence('presence')).toEqual({ beat: 3 })
    await presence.close()
  })
})

describe('reading', () => {
  it('gives ranges and tails, cut at the ends of the file', async () => {
    const store = await freshStore()
    await store.publish('file', Buffer.from('0123456789'))
    expect((await store.readRange('file', 3, 4)).toString()).toBe('3456')
    expect((await store.readRange('file', 8, 10)).toString()).toBe('89')
    expect((await store.readRange('file', 20, 10)).toString()).toBe('')
    expect((await store.readRange('file', 3, 16 * 1024 * 1024)).toString()).toBe('3456789')
    expect((await store.readRange('file', 20, 16 * 1024 * 1024)).toString()).toBe('')
    expect((await store.readTail('file', 4)).toString()).toBe('6789')
    expect((await store.readTail('file', 40)).toString()).toBe('0123456789')
    expect(await store.size('file')).toBe(10)
  })

  it('takes no more memory for a range than there is to read', async () => {
    const store = await freshStore()
    await store.publish('file', Buffer.from('0123456789'))
    expect((await store.readRange('file', 0, 1024 * 1024 * 1024)).buffer.byteLength).toBeLessThan(100_000)
  })

  it('tells what is missing from what is broken', async () => {
    const store = await freshStore()
    expect(await store.list('nothing')).toEqual([])
    expect(isMissing(await failure(store.read('nothing')))).toBe(true)
    await symlink('loop', join(store.root, 'loop'))
    const error = await failure(store.read('loop'))
    expect(isMissing(error)).toBe(false)
    expect(error.details).toEqual({ operation: 'read', name: 'loop', errno: 'ELOOP' })
  })

  it('takes the removal of what is gone for done', async () => {
    const store = await freshStore()
    await store.remove('nothing')
    await store.removeDirectory('nothing')
    await link(import.meta.filename, join(store.root, 'x')).catch(() => writeFile(join(store.root, 'x'), ''))
    await store.remove('x')
    expect(await store.list('')).toEqual([])
  })
})
