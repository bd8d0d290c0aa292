// What an instance that is gone has left, seen by a host whose listings leave things out.
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { DirectoryStore } from '../../../src/store/directory-store.ts'
import type { FileOperations } from '../../../src/store/file-operations.ts'
import { realFiles } from '../../../src/store/file-operations.ts'
import { presenceName, segmentFile, segmentsDirectory } from '../../../src/store/layout.ts'
import { readSegment } from '../../../src/submit/segment-content.ts'
import { Adopter } from '../../../src/transform/adopter.ts'

const own = 'b-20261123T040000-00000b'
const other = 'c-20261123T040000-00000c'
const gone = 'a-20261123T040000-00000a'
let root: string

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'usher-adopter-'))
  await new DirectoryStore(root).makeDirectory(segmentsDirectory(gone))
})

afterEach(async () => {
  await rm(root, { recursive: true })
})

const put = (number: number, kind: 'part' | 'xml' | 'jsonl'): Promise<void> => writeFile(join(root, segmentsDirectory(gone), segmentFile(number, kind)), `${kind} ${number}`)

/** Adopts with a transformer that notes what it is given; listings of segments lack these files. */
const adopt = async (hidden: readonly string[]): Promise<{ last: number | null; made: string[] }> => {
  const files: FileOperations = { ...realFiles, readdir: async (path) => (await realFiles.readdir(path)).filter((name) => !hidden.includes(name)) }
  const made: string[] = []
  const transformer = {
    run: (names: { readonly xml: string }) => {
      made.push(names.xml.slice(segmentsDirectory(gone).length + 1))
      return Promise.resolve({ kind: 'done' as const, jobs: 1, ms: 0, jsonBytes: 0, xmlBytes: 0 })
    },
  }
  const adopter = new Adopter({ store: new DirectoryStore(root, files), instance: own, transformer, onTransformed: () => undefined })
  return { last: await adopter.adopt(gone), made }
}

it('finds segments that listings leave out, in between and at the end', async () => {
  await put(1, 'xml')
  await put(2, 'xml')
  await put(3, 'xml')
  await put(4, 'part')
  expect(await adopt([segmentFile(2, 'xml'), segmentFile(3, 'xml'), segmentFile(4, 'part')])).toEqual({
    last: 4,
    made: [segmentFile(1, 'xml'), segmentFile(2, 'xml'), segmentFile(3, 'xml'), segmentFile(4, 'part')],
  })
})

it('never makes an empty segment of one that its owner has published', async () => {
  const store = new DirectoryStore(root)
  const presence = await store.openPresence(presenceName(gone))
  await presence.write({ instance: gone, published: 2, beat: 1 })
  await presence.close()
  await put(1, 'jsonl')
  await put(2, 'jsonl')
  expect(await adopt([segmentFile(1, 'jsonl'), segmentFile(2, 'jsonl')])).toEqual({ last: 2, made: [] })
  expect(await store.list(`hosts/${own}/adopted/${gone}`)).toEqual([])
})

it('an admitted segment is read from whoever still has all of its jobs', async () => {
  const store = new DirectoryStore(root)
  for (const [instance, lines] of [[own, 1], [other, 3]] as const) {
    await store.makeDirectory(`hosts/${instance}/adopted/${gone}`)
    await store.publish(`hosts/${instance}/adopted/${gone}/${segmentFile(1, 'jsonl')}`, Buffer.from('{}\n'.repeat(lines)))
  }
  expect(await readSegment(store, own, gone, 1)).toEqual({ kind: 'lines', bytes: Buffer.from('{}\n') })
  expect(await readSegment(store, own, gone, 1, 3)).toEqual({ kind: 'lines', bytes: Buffer.from('{}\n'.repeat(3)) })
  expect(await readSegment(store, own, gone, 1, 4)).toEqual({ kind: 'missing' })
})
