// One job alone on an idle host: from the call of send() to its acknowledgement, and to its receipt in the ledger.
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from '../../dist/client/client.js'
import { DirectoryStore } from '../../dist/store/directory-store.js'
import { readHistory } from '../../dist/submit/history.js'
import { discard } from '../contest.mjs'
import { startServer } from '../server.mjs'

const quantile = (sorted, share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]
const milliseconds = (what) => ({ what, unit: 'ms', better: 'lower' })

const round = async (recorder, jobs) => {
  const server = await startServer(discard)
  try {
    const client = new Client({ addresses: server.address })
    const acks = []
    const sent = new Map()
    // An idle host leads already, and has seen jobs before: the first ones after a start are not what is measured.
    let warmed = 0
    for (; warmed < 20 || (await server.status()).leader === null; warmed += 1) await client.send({ executable: '/bin/true', arguments: ['warm up', `${warmed}`] })
    await server.settled(warmed)
    for (let job = 0; job < jobs; job += 1) {
      const begun = Date.now()
      const at = performance.now()
      const { id } = await client.send({ executable: '/bin/true', arguments: [`${job}`] })
      acks.push(performance.now() - at)
      sent.set(Number(id.split('-')[1]), begun)
      await sleep(20 + Math.random() * 20)
    }
    await client.close()
    const audit = await server.settled(warmed + jobs)
    recorder.book('idle latency', { sent: warmed + jobs, accepted: audit.accepted, found: audit.submitted, twice: audit.duplicates })
    const segments = new Map()
    const times = []
    await readHistory(new DirectoryStore(server.store), { everything: true, onRecord: (record) => {
      if (record.k === 'admit') segments.set(record.of, record.ids)
      if (record.k !== 'receipt') return
      for (const [, first, count] of segments.get(record.of)) {
        for (let sequence = Number(first); sequence < Number(first) + count; sequence += 1) if (sent.has(sequence)) times.push(Date.parse(record.at) - sent.get(sequence))
      }
    } })
    if (times.length !== jobs) throw new Error(`the ledger has receipts of ${times.length} of ${jobs} jobs`)
    times.sort((a, b) => a - b)
    acks.sort((a, b) => a - b)
    for (const [name, share] of [['p50', 0.5], ['p99', 0.99]]) {
      recorder.add(`idle latency/ack ${name}`, quantile(acks, share), milliseconds('one job on an idle host, send() to its acknowledgement'))
      // Wall-clock milliseconds of one machine: a resolution of 1 ms.
      recorder.add(`idle latency/submitted ${name}`, quantile(times, share), milliseconds('one job on an idle host, send() to its receipt in the ledger'))
    }
  } finally {
    await server.stop()
  }
}

export const idle = async (recorder, { rounds }) => {
  for (let each = 0; each < rounds; each += 1) await round(recorder, 200)
}
