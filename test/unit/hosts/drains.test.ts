import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { DrainRequests, removeFinishedDrains, requestDrain } from '../../../src/hosts/drains.ts'
import { ownProcess } from '../../../src/observe/instance.ts'
import { openStore } from '../../../src/store/identity.ts'
import type { Store } from '../../../src/store/store.ts'

let root: string
let store: Store

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'usher-drains-'))
  store = (await openStore(root, { create: true })).store
})

afterEach(async () => {
  await rm(root, { recursive: true })
})

const own = ownProcess()
const other = { ...own, pidStart: '1' }

describe('requests to end', () => {
  it('reach the instances that they name, once', async () => {
    const requests = new DrainRequests(store, other)
    expect(await requests.look(new Set(['a']))).toBeNull()
    const { id } = await requestDrain(store, [{ ...own, instance: 'a' }, { ...own, instance: 'b' }], 'ops@console')
    expect(await requests.look(new Set(['a']))).toMatchObject({ id, by: 'ops@console' })
    expect(await requests.look(new Set(['a']))).toBeNull()
    expect(await new DrainRequests(store, other).look(new Set(['b']))).toMatchObject({ id })
  })

  it('reach the process whose instance goes on under another name, and no later process of the host', async () => {
    const { id } = await requestDrain(store, [{ ...own, instance: 'node7-20261123T040000-000001' }], 'ops@console')
    const later = new Set(['node7-20261123T040000-000002'])
    expect(await new DrainRequests(store, own).look(later)).toMatchObject({ id })
    // The same number, given to another process after a restart; another boot; a machine without /proc.
    for (const process of [other, { ...own, bootId: 'another' }, { ...own, bootId: '' }, { ...own, pidNamespace: 'x' }]) {
      expect(await new DrainRequests(store, process).look(later)).toBeNull()
    }
  })

  it('that no version wrote are passed over', async () => {
    for (const [index, text] of ['', 'null', '{}', '{"instances":[null]}', '{"instances":"a"}'].entries()) {
      await writeFile(join(root, 'drains', `x${index}.json`), text)
    }
    expect(await new DrainRequests(store, own).look(new Set(['a']))).toBeNull()
  })

  it('are removed when none of their instances lives', async () => {
    await requestDrain(store, [{ ...own, instance: 'a' }], 'ops@console')
    const { id } = await requestDrain(store, [{ ...own, instance: 'a' }, { ...own, instance: 'b' }], 'ops@console')
    await removeFinishedDrains(store, new Set(['b']))
    expect(await readdir(join(root, 'drains'))).toEqual([`${id}.json`])
  })
})
