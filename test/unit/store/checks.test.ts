import { chmod, mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { CheckResult } from '../../../src/store/checks.ts'
import { checkStore, recheckStore } from '../../../src/store/checks.ts'
import { realFiles } from '../../../src/store/file-operations.ts'
import { openStore } from '../../../src/store/identity.ts'
import { findMount, judgeMount } from '../../../src/store/mounts.ts'
import { FaultyFiles } from './faulty-files.ts'

let root: string

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'usher-checks-'))
  await openStore(root, { create: true })
})

afterEach(async () => {
  await rm(root, { recursive: true })
})

const mountinfo = (options: string, type = 'nfs4'): string =>
  '21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n' +
  `36 21 0:50 / ${root} rw,relatime shared:2 - ${type} server:/export ${options}\n`

const failed = (results: readonly CheckResult[]): string[] => results.filter((result) => !result.ok).map((result) => result.name)

describe('the checks of a store', () => {
  it('pass on a good one, and leave nothing behind', async () => {
    const before = await readdir(root)
    const results = await checkStore(root, { reserveBytes: 1, mountinfo: mountinfo('rw,vers=4.2,hard') })
    expect(failed(results)).toEqual([])
    const names = ['mount', 'owner', 'identity', 'space', 'writable', 'link', 'sync', 'listing', 'removing']
    expect(results.map((result) => result.name)).toEqual(names)
    expect(await readdir(root)).toEqual(before)
  })

  it('find the real mount of a directory of this machine', async () => {
    const [mount] = await checkStore(root, { reserveBytes: 1 })
    expect(mount?.detail).toMatch(/ at \//)
  })

  it('name another identity, too little space and a directory open to everybody', async () => {
    expect(failed(await checkStore(root, { reserveBytes: 1, uuid: 'other' }))).toEqual(['identity'])
    expect(failed(await checkStore(root, { reserveBytes: Number.MAX_SAFE_INTEGER }))).toEqual(['space'])
    await chmod(root, 0o777)
    expect(failed(await checkStore(root, { reserveBytes: 1 }))).toEqual(['owner'])
  })

  it('say once that there is no store yet, and leave the others out', async () => {
    const missing = join(root, 'missing')
    expect(await checkStore(missing, { reserveBytes: 1 })).toEqual([
      { name: 'directory', ok: false, detail: `there is no store at ${missing} yet`, remedy: expect.stringContaining('usher serve') },
    ])
    // A directory that is there and can't be looked at is another matter.
    const away = { ...realFiles, stat: () => Promise.reject(Object.assign(new Error('ESTALE'), { code: 'ESTALE' })) }
    expect(failed(await checkStore(root, { reserveBytes: 1, files: away }))).toContain('owner')
  })

  it('find a link that replaces, a listing that hides and data that changes', async () => {
    const replacing = {
      ...realFiles,
      link: async (existing: string, path: string) => {
        await realFiles.unlink(path).catch(() => undefined)
        await realFiles.link(existing, path)
      },
    }
    expect(failed(await checkStore(root, { reserveBytes: 1, files: replacing }))).toContain('link')
    const without = async (path: string): Promise<string[]> => (await realFiles.readdir(path)).filter((name) => name !== 'fresh')
    const hiding = { ...realFiles, readdir: without }
    expect(failed(await checkStore(root, { reserveBytes: 1, files: hiding }))).toContain('listing')
    const changing = {
      ...realFiles,
      open: async (...args: Parameters<typeof realFiles.open>) => {
        const file = await realFiles.open(...args)
        return { ...file, write: (bytes: Uint8Array, position: number) => file.write(Buffer.alloc(bytes.length), position) }
      },
    }
    expect(failed(await checkStore(root, { reserveBytes: 1, files: changing }))).toContain('sync')
  })

  it('never throw, whichever call fails, and say which check it was', async () => {
    const counting = new FaultyFiles()
    await checkStore(root, { reserveBytes: 1, files: counting })
    for (let nth = 1; nth <= counting.calls.length; nth++) {
      const results = await checkStore(root, { reserveBytes: 1, files: new FaultyFiles({ nth, errno: 'EROFS', done: false }) })
      for (const result of results) if (!result.ok) expect(result.remedy).toBeTruthy()
    }
    for (const operation of ['sync', 'link', 'mkdir', 'free', 'rename']) {
      const files = new FaultyFiles({ operation, nth: 1, errno: 'EIO', done: false })
      const results = await checkStore(root, { reserveBytes: 1, files })
      expect(failed(results), operation).not.toEqual([])
      expect(results.find((result) => !result.ok)?.detail).toMatch(/EIO/)
    }
  })
})

describe('the checks that are repeated while an instance runs', () => {
  const failing = async (...args: Parameters<typeof recheckStore>): Promise<CheckResult | undefined> => (await recheckStore(...args)).find(({ ok }) => !ok)

  it('pass on a good store, and leave nothing behind', async () => {
    const before = await readdir(root)
    const results = await recheckStore(root, { mountinfo: mountinfo('rw,hard') })
    expect(results.map(({ name, ok }) => [name, ok])).toEqual([['mount', true], ['owner', true], ['sync', true]])
    expect(await readdir(root)).toEqual(before)
  })

  it('find a mount whose options were changed, and a directory that was opened to everybody', async () => {
    for (const options of ['rw,soft', 'rw,softerr', 'rw,hard,nocto', 'ro,hard']) {
      expect(await failing(root, { mountinfo: mountinfo(options) }), options).toMatchObject({ name: 'mount', remedy: expect.stringContaining('mount it') as string })
    }
    await chmod(root, 0o777)
    expect(await failing(root)).toMatchObject({ name: 'owner', remedy: expect.stringContaining('chmod o-w') as string })
  })

  it('find a store that takes no file, or gives back another; one that is full is answered job by job', async () => {
    const counting = new FaultyFiles()
    await recheckStore(root, { files: counting })
    const needed = ['link', 'sync', 'write']
    expect(counting.calls).toEqual(expect.arrayContaining(needed))
    for (const operation of needed) {
      const files = new FaultyFiles({ operation, nth: 1, errno: 'EROFS', done: false })
      expect(await failing(root, { files }), operation).toMatchObject({ name: 'sync', detail: expect.stringContaining('EROFS') as string })
    }
    expect(await failing(root, { files: new FaultyFiles({ operation: 'write', nth: 1, errno: 'ENOSPC', done: false }) })).toBeUndefined()
  })

  it('say nothing about a directory that is away: presence finds that out', async () => {
    expect((await recheckStore(join(root, 'missing'))).filter(({ name }) => name !== 'sync')).toEqual([])
  })
})

describe('mounts', () => {
  it('are refused where NFS loses or hides data', () => {
    for (const [options, ok] of [
      ['rw,hard', true],
      ['rw,hard,nolock,noac,lookupcache=none', true],
      ['rw,soft,timeo=600', false],
      ['rw,softerr', false],
      ['rw,hard,nocto', false],
      ['ro,hard', false],
    ] as const) {
      expect(judgeMount(findMount(mountinfo(options), root)!).ok, options).toBe(ok)
    }
    const memory = judgeMount(findMount(mountinfo('rw', 'tmpfs'), root)!)
    expect(memory).toMatchObject({ ok: true, remedy: expect.any(String) as string })
  })

  it('are found by the longest and latest mount point, unescaped', () => {
    const text = [
      '1 0 8:1 / / rw - ext4 /dev/a rw',
      '2 1 8:2 / /a\\040b rw - xfs /dev/b rw,noquota',
      '3 1 8:3 / /a\\040b rw - btrfs /dev/c rw',
      '4 1 8:4 / /a rw - ext4 /dev/d rw',
      'nonsense',
    ].join('\n')
    expect(findMount(text, '/a b/c')).toMatchObject({ point: '/a b', type: 'btrfs' })
    expect(findMount(text, '/a/b')).toMatchObject({ point: '/a', source: '/dev/d' })
    expect(findMount(text, '/ab')).toMatchObject({ point: '/' })
    expect(findMount('', '/ab')).toBeNull()
  })
})
