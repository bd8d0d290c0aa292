// A store that fails: producers are refused with a code that says to try again, nothing acknowledged is lost, and
// accepting goes on by itself when the store works again.
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { constants } from 'node:os'
import { afterEach, describe, expect, it } from 'vitest'
import { Client, UsherError } from '../../src/client/client.ts'
import { Sink } from '../support/sink.ts'
import { makeFolder, ServerProcess, settledAudit, statusOf, until } from '../support/usher-process.ts'

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup()
})

const configOf = (sink: Sink, more = ''): string =>
  `lease = 0.5\naccept_lease = 1\n${more}\n[log]\nlevel = "warn"\n[cluster.sink]\ndriver = "http"\nurl = "${sink.url}"\nsettle = 0.5\nbatch = 20\n`

const start = async (options: { env?: Record<string, string>; more?: string; store?: string }) => {
  const folder = await makeFolder()
  cleanups.push(folder.remove)
  const sink = await Sink.start()
  cleanups.push(() => sink.close())
  const store = options.store ?? `${folder.path}/store`
  const server = await ServerProcess.start({
    config: configOf(sink, options.more),
    store,
    folder: folder.path,
    ...(options.env === undefined ? {} : { env: options.env }),
  })
  cleanups.push(() => server.end('SIGKILL'))
  return { server, sink, store, folder: folder.path }
}

/** What the host said: the client calls in doubt what a failing store refused, since that may have reached the disk. */
const saidOf = ({ code, cause, details }: UsherError): string =>
  details?.['reason'] === 'refused' && cause instanceof UsherError ? cause.code : code

/** Sends jobs one after the other for a while, without retrying: what is acknowledged and what is refused, with codes. */
const load = async (address: string, whileTrue: () => boolean) => {
  const client = new Client({ addresses: address, retry: false, timeoutMs: 10_000, backoffBaseMs: 20, backoffMostMs: 200 })
  const acked: string[] = []
  const refused = new Map<string, number>()
  while (whileTrue()) {
    const results = await Promise.allSettled(Array.from({ length: 10 }, (_, index) => client.send({ executable: '/bin/true', arguments: [`${index}`] })))
    for (const result of results) {
      if (result.status === 'fulfilled') acked.push(result.value.id)
      else {
        const code = result.reason instanceof UsherError ? saidOf(result.reason) : String(result.reason)
        refused.set(code, (refused.get(code) ?? 0) + 1)
      }
    }
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  await client.close()
  return { acked, refused }
}

const expectOnce = async (sink: Sink, store: string, acked: readonly string[]): Promise<void> => {
  const audit = await settledAudit(store)
  expect(audit).toMatchObject({ balanced: true, waiting: 0, inDoubt: 0, setAside: 0 })
  expect(acked.filter((id) => !sink.taken.has(id))).toEqual([])
  expect(sink.twice).toEqual([])
}

describe('an operation of the segment writer that fails', () => {
  const cases = [
    ['open', 'EIO', 'store_failing'],
    ['write', 'EIO', 'store_failing'],
    ['write', 'ENOSPC', 'store_full'],
    ['fdatasync', 'EIO', 'store_failing'],
    ['fdatasync', 'EDQUOT', 'store_full'],
    ['close', 'EIO', 'store_failing'],
    ['link', 'EIO', null],
    ['syncdir', 'EIO', 'store_failing'],
  ] as const
  it.each(cases)('%s with %s refuses for a while, loses nothing, and comes back', async (operation, errno, code) => {
    const faults = [{ operation, nth: 6, times: 3, errno: constants.errno[errno] }]
    const { server, sink, store } = await start({ env: { USHER_TEST_FAULTS: JSON.stringify(faults) } })
    const until_ = Date.now() + 4000
    const { acked, refused } = await load(server.address, () => Date.now() < until_)
    // What fails after everything is on stable storage is tried again, and nobody is refused for it.
    if (code !== null) expect([...refused.keys()], server.log).toContain(code)
    for (const each of refused.keys()) expect(['store_failing', 'store_full', 'in_doubt']).toContain(each)
    expect(acked.length).toBeGreaterThan(100)
    const after = await load(server.address, onceTrue())
    expect(after.acked.length, server.log).toBe(10)
    await expectOnce(sink, store, [...acked, ...after.acked])
    expect(await server.end('SIGTERM'), server.log).toBe(0)
  })
})

const onceTrue = (): (() => boolean) => {
  let asked = 0
  return () => (asked += 1) === 1
}

/** A small file system of its own; only root may mount one. */
const mounted = (mib: number): string | null => {
  const path = `/tmp/usher-test-mount-${process.pid}-${Math.random().toString(36).slice(2)}`
  mkdirSync(path)
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${mib}m,mode=0750`, 'tmpfs', path], { stdio: 'ignore' })
  } catch {
    rmSync(path, { recursive: true })
    return null
  }
  cleanups.push(() => {
    execFileSync('umount', ['-l', path])
    rmSync(path, { recursive: true, force: true })
  })
  return path
}

const small = '[segments]\nreserve_bytes = "1 MiB"'
const isRoot = process.getuid?.() === 0

describe.skipIf(!isRoot)('a file system that', () => {
  it('is full refuses with store_full until there is room', async () => {
    const path = mounted(64)
    expect(path, 'tmpfs can be mounted').not.toBeNull()
    const { server, sink, store } = await start({ store: `${path}/store`, more: '[segments]\nreserve_bytes = "8 MiB"' })
    const before = await load(server.address, onceTrue())
    expect(before.acked.length).toBe(10)
    writeFileSync(`${path}/filler`, Buffer.alloc(60 * 1024 * 1024 - 1024 * 1024))
    let full = await load(server.address, onceTrue())
    await until('jobs are refused', async () => {
      full = await load(server.address, onceTrue())
      return full.refused.has('store_full')
    })
    expect(full.acked).toEqual([])
    const [instance] = (await statusOf(store)).instances
    expect(instance).toMatchObject({ accepting: false })
    expect(instance?.reason).toContain('store_full')
    rmSync(`${path}/filler`)
    let after = await load(server.address, onceTrue())
    await until('jobs are accepted again', async () => {
      if (after.acked.length === 0) after = await load(server.address, onceTrue())
      return after.acked.length === 10
    })
    await expectOnce(sink, store, [...before.acked, ...after.acked])
    expect(await server.end('SIGTERM'), server.log).toBe(0)
  })

  it('is away for a while makes the instance wait, and go on when it is back', async () => {
    const { server, sink, store } = await start({})
    const before = await load(server.address, onceTrue())
    renameSync(store, `${store}-away`)
    await until('jobs are accepted no more', async () => {
      const { acked } = await load(server.address, onceTrue())
      before.acked.push(...acked)
      return acked.length === 0
    })
    // Nothing is made in the place where the share is not mounted.
    expect(existsSync(store)).toBe(false)
    renameSync(`${store}-away`, store)
    let after: string[] = []
    await until('jobs are accepted again', async () => (after = (await load(server.address, onceTrue())).acked).length === 10)
    await expectOnce(sink, store, [...before.acked, ...after])
    expect(server.exited, server.log).toBe(false)
    expect(await server.end('SIGTERM'), server.log).toBe(0)
  })

  it('is mounted read-only while usher runs takes the host out until it is writable again', async () => {
    const path = mounted(64)
    expect(path, 'tmpfs can be mounted').not.toBeNull()
    const { server, sink, store } = await start({ store: `${path}/store`, more: small })
    const before = await load(server.address, onceTrue())
    // What is open already goes on working below this mount: only looking at the mount tells.
    execFileSync('mount', ['--bind', store, store])
    execFileSync('mount', ['-o', 'remount,bind,ro', store])
    let on = true
    try {
      await until('it accepts no more', () => server.log.includes('no more jobs are accepted or submitted'))
      expect(server.log).toMatch(/store check mount: tmpfs from .* is mounted read-only \(mount it read-write\)/)
      const during = await load(server.address, onceTrue())
      expect(during.acked).toEqual([])
      await until('nobody leads', async () => (await statusOf(store)).leader === null)
      execFileSync('umount', [store])
      on = false
    } finally {
      if (on) execFileSync('umount', ['-l', store])
    }
    let after: string[] = []
    await until('jobs are accepted again', async () => (after = (await load(server.address, onceTrue())).acked).length === 10)
    await expectOnce(sink, store, [...before.acked, ...after])
    expect(server.exited, server.log).toBe(false)
    expect(await server.end('SIGTERM'), server.log).toBe(0)
  })

  it('turns out to be another store makes the instance stop', async () => {
    const path = mounted(64)
    expect(path, 'tmpfs can be mounted').not.toBeNull()
    const { server, store } = await start({ store: `${path}/store`, more: small })
    const other = await start({})
    execFileSync('mount', ['--bind', other.store, store])
    try {
      await until('it ends', () => server.exited)
      expect(server.child.exitCode).toBe(78)
      expect(server.log).toContain('any more')
    } finally {
      execFileSync('umount', ['-l', store])
    }
    expect(await other.server.end('SIGTERM')).toBe(0)
  })
})

describe('an instance that was paused for longer than its accept lease', () => {
  it('acknowledges nothing more, and goes on as a new instance', async () => {
    const { server, sink, store } = await start({})
    let running = true
    const loading = load(server.address, () => running)
    const client = new Client({ addresses: server.address, backoffBaseMs: 20, backoffMostMs: 200, timeoutMs: 30_000 })
    const before = await client.send({ executable: '/bin/true' })
    for (let round = 0; round < 3; round += 1) {
      const late = client.sendAll(Array.from({ length: 50 }, () => ({ executable: '/bin/true' })))
      server.child.kill('SIGSTOP')
      await new Promise((resolve) => setTimeout(resolve, 1800))
      server.child.kill('SIGCONT')
      expect((await late).accepted).toBe(50)
      await until('a new instance accepts', async () => (await client.send({ executable: '/bin/true' })).instance !== before.instance)
    }
    const after = await client.send({ executable: '/bin/true' })
    running = false
    const { acked } = await loading
    await client.close()
    await expectOnce(sink, store, [...acked, before.id, after.id])
    expect(server.log).toContain('the instance ends: presence could not be written')
    expect(await server.end('SIGTERM'), server.log).toBe(0)
  })
})
