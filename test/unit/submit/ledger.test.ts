// The ledger as files: what a later term has read is all that counts of an earlier one; a failure ends it for good.
import { appendFileSync } from 'node:fs'
import { mkdtemp, readFile, truncate, writeFile, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { systemClock } from '../../../src/base/clock.ts'
import { DirectoryStore } from '../../../src/store/directory-store.ts'
import { ledgerTermDirectory } from '../../../src/store/layout.ts'
import type { Appender } from '../../../src/store/store.ts'
import type { Books } from '../../../src/submit/books.ts'
import { readHistory } from '../../../src/submit/history.ts'
import { Ledger } from '../../../src/submit/ledger.ts'
import { encodeFrame } from '../../../src/submit/frames.ts'
import type { AdmitRecord, LedgerRecord } from '../../../src/submit/records.ts'

const folders: string[] = []
const ledgers: Ledger[] = []
afterEach(async () => {
  for (const ledger of ledgers.splice(0)) await ledger.close()
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true })
})
const open = async (): Promise<{ store: DirectoryStore; folder: string }> => {
  const folder = await mkdtemp(join(tmpdir(), 'usher-test-'))
  folders.push(folder)
  return { store: new DirectoryStore(folder), folder }
}
const by = { host: 'h', instance: 'h-20261123T040000-3fa9c1', pid: 1, version: '0', config: 'x' }
const segment = (number: number): string => `h-20261123T040000-3fa9c1/${number}`
const admit = (number: number, duplicate = false): Omit<AdmitRecord, 'term' | 'at'> => ({
  k: 'admit',
  of: segment(number),
  count: 1,
  clusters: { c: 1 },
  ids: [['00000000000000aa', '7', 1]],
  digests: '',
  ...(duplicate ? { duplicates: [[0, 0]] } : {}),
})

const create = async (options: Parameters<typeof Ledger.create>[0]): Promise<Ledger> => {
  await options.store.makeDirectory(ledgerTermDirectory(options.term))
  const ledger = await Ledger.create(options)
  ledgers.push(ledger)
  return ledger
}

const lead = async (store: DirectoryStore, term: number): Promise<{ ledger: Ledger; books: Books }> => {
  const read = await readHistory(store)
  const { books } = read
  return { ledger: await create({ store, storeUuid: 'u', term, by, clock: systemClock, read: read.extents }), books }
}

describe('the ledger', () => {
  it('begins a new file before decoding one in a single go could keep a new leader from renewing', async () => {
    const { store, folder } = await open()
    const { ledger } = await lead(store, 1)
    const large = { ...admit(1), digests: 'A'.repeat(1024 * 1024) }
    for (let written = 0; written < 12; written += 1) await ledger.append([large])
    const names = await readdir(join(folder, 'ledger/0000000000000001'))
    const sizes = await Promise.all(names.map((name) => store.size(`ledger/0000000000000001/${name}`)))
    expect(names.length).toBeGreaterThan(2)
    expect(Math.max(...sizes)).toBeLessThan(8 * 1024 * 1024)
  })

  it('is read back in the order of terms', async () => {
    const { store } = await open()
    const first = await lead(store, 3)
    await first.ledger.append([admit(1)])
    await first.ledger.close()
    const second = await lead(store, 12)
    await second.ledger.append([{ k: 'intent', of: segment(1), cluster: 'c', jobs: [[0, 0]] }])
    await second.ledger.close()
    const kinds: string[] = []
    await readHistory(store, { onRecord: (record) => kinds.push(`${record.term} ${record.k}`) })
    expect(kinds).toEqual(['3 open', '3 admit', '12 open', '12 intent'])
  })

  it('keeps what was read of a term, whatever a leader between them that died before its first record was synced has read', async () => {
    const { store, folder } = await open()
    const first = await lead(store, 7)
    await first.ledger.append([admit(1)])
    // Term 8 has read term 7 so far, and its leader dies: its first record isn't on stable storage yet.
    const unsynced = await lead(store, 8)
    await unsynced.ledger.close()
    const file = join(folder, 'ledger', '0000000000000008', '0000000001.log')
    const opening = await readFile(file)
    await truncate(file, 0)
    // What term 7 had written last arrives, and term 9 reads it and acts on it.
    await first.ledger.append([{ k: 'intent', of: segment(1), cluster: 'c', jobs: [[0, 0]] }])
    await first.ledger.close()
    const third = await lead(store, 9)
    await third.ledger.append([{ k: 'receipt', of: segment(1), jobs: [[0, 0]] }])
    await third.ledger.close()
    // Only now the first record of term 8 arrives.
    await writeFile(file, opening)
    const { books } = await lead(store, 10)
    expect(books.audit()).toMatchObject({ submitted: 1, waiting: 0 })
    expect(books.anomalies).toBe(0)
  })

  it("doesn't count what a dead leader's kernel writes after its successor has read", async () => {
    const { store, folder } = await open()
    const first = await lead(store, 7)
    await first.ledger.close()
    // Term 8 reads, admits the id as new in segment 2, and submits it.
    const second = await lead(store, 8)
    await second.ledger.append([admit(2), { k: 'intent', of: segment(2), cluster: 'c', jobs: [[0, 0]] }])
    await second.ledger.append([{ k: 'receipt', of: segment(2), jobs: [[0, 0]] }])
    await second.ledger.close()
    // Only now the page of term 7 arrives, in which the same id was new in segment 1; and a file that nobody saw.
    const late: LedgerRecord = { ...admit(1), term: 7, at: new Date().toISOString() }
    const directory = join(folder, 'ledger', '0000000000000007')
    appendFileSync(join(directory, '0000000001.log'), encodeFrame(late, 0))
    appendFileSync(join(directory, '0000000002.log'), encodeFrame({ ...late, of: segment(3) }, 0))
    const { books } = await lead(store, 9)
    expect(books.audit()).toMatchObject({ submitted: 1, waiting: 0 })
    expect(books.anomalies).toBe(0)
  })

  it('never begins another file after a failure', async () => {
    const { store, folder } = await open()
    let failing = false
    class Broken extends DirectoryStore {
      override async createAppender(name: string): Promise<Appender> {
        const appender = await super.createAppender(name)
        return {
          name,
          get syncedBytes() {
            return appender.syncedBytes
          },
          append: (bytes) => (failing ? Promise.reject(new Error('ENOSPC')) : appender.append(bytes)),
          close: () => appender.close(),
        }
      }
    }
    const broken = new Broken(folder)
    const ledger = await create({ store: broken, storeUuid: 'u', term: 1, by, clock: systemClock, read: [], fileBytesMax: 600 })
    await ledger.append([admit(1)])
    failing = true
    const results = await Promise.allSettled(Array.from({ length: 8 }, (_, index) => ledger.append([admit(index + 2)])))
    expect(results.every(({ status }) => status === 'rejected')).toBe(true)
    failing = false
    await expect(ledger.append([admit(20)])).rejects.toThrow('ENOSPC')
    expect(ledger.failed).not.toBeNull()
    expect(await readdir(join(folder, 'ledger', '0000000000000001'))).toEqual(['0000000001.log'])
    // Its successor reads what there is.
    const { books } = await lead(store, 2)
    expect(books.audit().waiting).toBe(1)
  })

  it('goes on in another file when one has grown', async () => {
    const { store } = await open()
    const ledger = await create({ store, storeUuid: 'u', term: 1, by, clock: systemClock, read: [], fileBytesMax: 500 })
    await Promise.all(Array.from({ length: 20 }, (_, index) => ledger.append([admit(index + 1, index > 0)])))
    await ledger.append([admit(21, true)])
    await ledger.close()
    const { extents, books } = await readHistory(store)
    expect(extents.length).toBeGreaterThan(1)
    expect(books.audit()).toMatchObject({ waiting: 1, duplicates: 20 })
  })
})
