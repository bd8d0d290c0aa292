// The files of a store as tests look at them and lay them out.
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ownProcess } from '../../src/observe/instance.ts'
import { encodePresence } from '../../src/store/presence.ts'

export interface SegmentFile {
  readonly instance: string
  readonly file: string
  readonly path: string
}

/** All files of all instances' segment directories whose names end so. */
export const segmentFiles = async (store: string, suffix: string): Promise<SegmentFile[]> => {
  const found: SegmentFile[] = []
  for (const instance of (await readdir(join(store, 'hosts'))).sort()) {
    const directory = join(store, 'hosts', instance, 'segments')
    for (const file of (await readdir(directory).catch(() => [])).sort()) {
      if (!file.startsWith('.') && file.endsWith(suffix)) found.push({ instance, file, path: join(directory, file) })
    }
  }
  return found
}

/** Lays out what an instance that was killed has left: its segments, and a presence that names a process which is no more. */
export const leaveSegments = async (store: string, instance: string, files: Readonly<Record<string, string | Uint8Array>>): Promise<void> => {
  const directory = join(store, 'hosts', instance, 'segments')
  await mkdir(directory, { recursive: true })
  for (const [file, content] of Object.entries(files)) await writeFile(join(directory, file), content)
  // This very process, had it begun at another time.
  const presence = { ...ownProcess(), pidStart: '1', instance, host: instance.split('-')[0], role: 'follower', acceptLeaseMs: 500, beat: 1, published: 0 }
  await writeFile(join(store, 'hosts', instance, 'presence'), encodePresence(presence))
}

/** Lines of the JSON that an adopter made of an instance's segment; undefined: there is none. */
export const adoptedLines = async (store: string, of: string, number: number): Promise<string[] | undefined> => {
  for (const adopter of await readdir(join(store, 'hosts'))) {
    const file = join(store, 'hosts', adopter, 'adopted', of, `${String(number).padStart(10, '0')}.jsonl`)
    const text = await readFile(file, 'utf8').catch(() => undefined)
    if (text !== undefined) return text.split('\n').filter((line) => line !== '')
  }
  return undefined
}

export const storeUuid = async (store: string): Promise<string> => (JSON.parse(await readFile(join(store, 'store.json'), 'utf8')) as { uuid: string }).uuid

/** A job's specification as it stands in a line of a .jsonl, byte for byte. */
export const specText = (line: string): string => line.slice(line.indexOf(',"spec":') + 8, line.lastIndexOf(',"provenance":{'))
