// A store with a short retention: what is finished goes, files, ledgers and the directories of instances that are gone; what
// isn't stays, the audit balances all the time, and a job that is sent again long after everything of it is gone isn't run.
import { existsSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { afterEach, describe, expect, it } from 'vitest'
import { connect, producerOfName } from '../../src/client/client.ts'
import { hostDirectory, ledgerTermDirectory, segmentsDirectory } from '../../src/store/layout.ts'
import { Sink } from '../support/sink.ts'
import { makeFolder, ServerProcess, settledAudit, statusOf, traceOf, until, usher } from '../support/usher-process.ts'

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup()
})

const name = 'resender'
const idOf = (sequence: number): string => `${producerOfName(name).toString(16).padStart(16, '0')}-${sequence}`

const send = async (address: string, sequences: readonly number[], executable = '/bin/true'): Promise<void> => {
  const client = await connect({ addresses: address, clientId: name, timeoutMs: 30_000 })
  await Promise.all(sequences.map((sequence) => client.send({ executable }, { sequence })))
  await client.close()
}

const upTo = (count: number): number[] => Array.from({ length: count }, (_, index) => index + 1)

describe('after its retention', () => {
  it('what is finished is removed, and nothing else; the audit balances and no job is run again', async () => {
    const folder = await makeFolder()
    cleanups.push(folder.remove)
    const sink = await Sink.start()
    cleanups.push(() => sink.close())
    const store = `${folder.path}/store`
    const serve = async (host: string): Promise<ServerProcess> => {
      const config = `host = "${host}"\nlease = 1\naccept_lease = 1\nretention = 2\n[log]\nlevel = "info"\nformat = "json"\n[cluster.sink]\ndriver = "http"\nurl = "${sink.url}"\nsettle = 0.5\ntimeout = 5\n`
      const server = await ServerProcess.start({ config, store, folder: folder.path })
      cleanups.push(() => server.end('SIGKILL'))
      return server
    }
    const one = await serve('one')
    await until('the first leads', async () => (await statusOf(store)).leader?.instance === one.instance)
    const firstTerm = (await statusOf(store)).leader!.term
    const two = await serve('two')
    await send(one.address, upTo(100))
    await send(two.address, upTo(100).map((sequence) => sequence + 1000))
    // The sink refuses it for good: a dead letter, which stays for as long as nobody decides.
    expect(await settledAudit(store)).toMatchObject({ accepted: 200, submitted: 200, balanced: true })
    sink.refuse = (id) => (id === idOf(5000) ? 422 : undefined)
    await send(one.address, [5000], '/bin/false')
    expect(await settledAudit(store)).toMatchObject({ accepted: 201, submitted: 200, dead: 1, balanced: true })

    // But for the segment that is open.
    const filesOf = async (instance: string): Promise<string[]> => {
      const directory = `${store}/${segmentsDirectory(instance)}`
      return existsSync(directory) ? (await readdir(directory)).filter((file) => !file.endsWith('.part')) : []
    }
    await until('files of finished segments are gone', async () => (await filesOf(two.instance)).length === 0)
    await until('the dead letter is all that is left', async () => (await filesOf(one.instance)).length === 2)
    expect(await statusOf(store)).toMatchObject({ audit: { accepted: 201, submitted: 200, dead: 1, balanced: true }, warnings: [] })
    expect(await traceOf(store, idOf(5000))).toMatchObject({ state: 'dead', spec: { executable: '/bin/false' } })

    // The follower leaves for good; the leader dies and another comes.
    expect(await two.end('SIGTERM')).toBe(0)
    await one.end('SIGKILL')
    const three = await serve('three')
    await until('the third leads', async () => (await statusOf(store)).leader?.instance === three.instance)
    await until('the follower that ended has left nothing', () => !existsSync(`${store}/${hostDirectory(two.instance)}`))
    // Its dead letter keeps the first one's segment, and what the ledger tells of it.
    expect((await filesOf(one.instance)).length).toBeGreaterThan(0)
    expect((await traceOf(store, idOf(5000))).steps.map(({ step }) => step)).toEqual(expect.arrayContaining(['accepted', 'admitted', 'intent', 'refused']))

    await send(three.address, [...upTo(50), ...upTo(50).map((sequence) => sequence + 1000)])
    expect(await settledAudit(store)).toMatchObject({ accepted: 301, submitted: 200, duplicates: 100, dead: 1, balanced: true })

    const { status, stderr } = await usher(['dead', 'discard', '--all', '--store', store])
    expect(status, stderr).toBe(0)
    await until('the ledger of the first term is gone', () => !existsSync(`${store}/${ledgerTermDirectory(firstTerm)}`), 60_000)
    await until('the first one has left nothing', () => !existsSync(`${store}/${hostDirectory(one.instance)}`))
    const gone = await usher(['trace', idOf(77), '--store', store])
    expect(gone.status).not.toBe(0)
    expect(gone.stderr).toContain('retention')

    // From a snapshot alone, by the next leader.
    await three.end('SIGKILL')
    const four = await serve('four')
    await until('the fourth leads', async () => (await statusOf(store)).leader?.instance === four.instance)
    await until('it says what it has read', () => four.log.includes('read snapshot'))
    await send(four.address, upTo(100))
    expect(await settledAudit(store)).toMatchObject({ accepted: 401, submitted: 200, duplicates: 200, discarded: 1, balanced: true })
    expect((await statusOf(store)).warnings).toEqual([])
    expect(sink.twice).toEqual([])
    expect(sink.taken.size).toBe(200)
  }, 240_000)
})
