// The operations that do in one go what takes several otherwise, and that both ways are the same.
import { open, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { DirectoryStore } from '../../../src/store/directory-store.ts'
import { realFiles, writeSynced } from '../../../src/store/file-operations.ts'
import { makeFolder } from '../../support/usher-process.ts'

let folder: Awaited<ReturnType<typeof makeFolder>>
beforeEach(async () => {
  folder = await makeFolder()
})
afterEach(() => folder.remove())

const { readWhole: _, ...singly } = realFiles

test.each([0, 1, 65_536, 65_537, 3_000_001])('a file of %i bytes is read whole, in one go as in several', async (size) => {
  const bytes = Buffer.alloc(size, 'usher')
  await writeFile(join(folder.path, 'file'), bytes)
  for (const files of [realFiles, singly]) {
    const read = await new DirectoryStore(folder.path, files).read('file')
    expect(read.equals(bytes)).toBe(true)
  }
})

test('what cannot be read says why, in one go as in several', async () => {
  for (const files of [realFiles, singly]) {
    const store = new DirectoryStore(folder.path, files)
    await expect(store.read('absent')).rejects.toMatchObject({ code: 'store_unavailable', details: { operation: 'read', name: 'absent', errno: 'ENOENT' } })
    await expect(store.read('')).rejects.toMatchObject({ details: { errno: 'EISDIR' } })
  }
})

test.each(['in one go', 'in several'])('bytes are written where they belong and synced, %s', async (how) => {
  const path = join(folder.path, 'file')
  await writeFile(path, 'abcdefgh')
  const file = await realFiles.open(path, 'write')
  const { writeSynced: __, ...slow } = file
  await writeSynced(how === 'in one go' ? file : slow, Buffer.from('XY'), 3)
  await file.close()
  expect((await realFiles.readWhole!(path)).toString()).toBe('abcXYfgh')
})

test.each([
  ['/dev/full', 'ENOSPC', 'write'],
  ['/dev/null', 'EINVAL', 'fdatasync'],
])('a failure on %s tells which of the two it was, in one go as in several', async (path, errno, syscall) => {
  const file = await realFiles.open(path, 'write')
  const { writeSynced: __, ...slow } = file
  for (const one of [file, slow]) await expect(writeSynced(one, Buffer.from('x'), 0)).rejects.toMatchObject({ code: errno, syscall })
  await file.close()
})

test('arguments that make no sense are refused at once', async () => {
  const handle = await open(join(folder.path, 'file'), 'w')
  await handle.close()
  const { native } = await import('../../../src/base/native.ts')
  expect(() => native.readWhole(7 as unknown as string)).toThrow(/path/)
  expect(() => native.writeSynced(-1, Buffer.from('x'), 0)).toThrow(/fd/)
  expect(() => native.writeSynced(1, 'x' as unknown as Buffer, 0)).toThrow(/bytes/)
  expect(() => native.writeSynced(1, Buffer.from('x'), 0.5)).toThrow(/position/)
})
