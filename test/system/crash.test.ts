// SIGKILL of the server or of its submitter at random moments under load: every acknowledged job reaches the cluster
// exactly once, nothing else does, and the audit balances.
import { afterEach, describe, expect, it } from 'vitest'
import { Client } from '../../src/client/client.ts'
import { seeded, seedOf } from '../support/random.ts'
import { Sink } from '../support/sink.ts'
import { makeFolder, ServerProcess, settledAudit, traceOf, until } from '../support/usher-process.ts'

const rounds = Number(process.env['ROUNDS'] ?? 50)
const cleanups: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup()
})

describe('killed at any moment', () => {
  it(`loses and doubles nothing in ${rounds} rounds`, { timeout: 600_000 }, async () => {
    const seed = seedOf()
    const random = seeded(seed)
    const folder = await makeFolder()
    cleanups.push(folder.remove)
    const sink = await Sink.start()
    cleanups.push(() => sink.close())
    // Often enough the answer is still on its way when the submitter dies.
    sink.delayMs = () => (random() < 0.1 ? random() * 40 : 0)
    const store = `${folder.path}/store`
    const config = `lease = 0.5\naccept_lease = 2\n[log]\nlevel = "warn"\n[segments]\nage = 0.03\nseal_interval = 0.005\n[cluster.sink]\ndriver = "http"\nurl = "${sink.url}"\nsettle = 0.5\ntimeout = 5\nbatch = 4\n`
    const settings = { config, store, folder: folder.path }
    let server = await ServerProcess.start(settings)
    const listen = server.address
    cleanups.push(async () => void (await server.end('SIGKILL')))
    const client = new Client({ addresses: listen, backoffBaseMs: 20, backoffMostMs: 200, timeoutMs: 120_000 })
    cleanups.push(() => client.close())

    const acked = new Set<string>()
    let sent = 0
    const load = { on: true }
    const producers = Array.from({ length: 4 }, async (_, producer) => {
      while (load.on) {
        const count = 1 + Math.floor(random() * 20)
        const jobs = Array.from({ length: count }, (__, index) => client.send({ executable: '/bin/true', arguments: [`${producer}`, `${index}`] }))
        sent += count
        for (const { id } of await Promise.all(jobs)) acked.add(id)
        await new Promise((resolve) => setTimeout(resolve, random() * 30))
      }
    })
    let kills = { server: 0, submitter: 0 }
    for (let round = 0; round < rounds; round += 1) {
      await new Promise((resolve) => setTimeout(resolve, 50 + random() * 900))
      if (random() < 0.5) {
        const pid = await server.submitterPid()
        if (pid !== null) {
          process.kill(pid, 'SIGKILL')
          kills = { ...kills, submitter: kills.submitter + 1 }
        }
      } else {
        await server.end('SIGKILL')
        kills = { ...kills, server: kills.server + 1 }
        server = await ServerProcess.start({ ...settings, listen })
      }
    }
    load.on = false
    await Promise.all(producers)
    // How much has piled up, and how fast it goes, is the machine's.
    const audit = await settledAudit(store, 300_000)
    const context = `seed ${seed}; ${JSON.stringify({ kills, sent, acked: acked.size, sink: sink.count, audit })}`
    process.stderr.write(`crash: ${context}\n`)
    expect(kills.server, context).toBeGreaterThan(0)
    expect(kills.submitter, context).toBeGreaterThan(0)
    expect(acked.size, context).toBe(sent)
    expect([...acked].filter((id) => !sink.taken.has(id)), context).toEqual([])
    expect(sink.twice, context).toEqual([])
    expect([...sink.taken.keys()].filter((id) => !acked.has(id)), context).toEqual([])
    expect(audit, context).toMatchObject({ balanced: true, waiting: 0, inDoubt: 0, dead: 0, setAside: 0, submitted: sent })
    // Terms only rise: no submission comes from one that was superseded.
    await until('the last server leads', async () => (await server.submitterPid()) !== null)
    const sample = [...acked].slice(0, 3)
    for (const id of sample) {
      const { state, steps } = await traceOf(store, id)
      expect(state, context).toBe('submitted')
      expect(steps.map(({ step }) => step), context).toEqual(expect.arrayContaining(['accepted', 'admitted', 'intent']))
    }
    expect(await server.end('SIGTERM'), server.log).toBe(0)
  })
})
