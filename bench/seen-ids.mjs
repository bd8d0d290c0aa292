// How long a new leader reads before it may submit, and how much memory it holds then: a store of 10,000 segments with 1,000
// jobs each, all submitted, read once from the ledger alone and once from a snapshot. Each reading is a process of its own.
//
//   node bench/seen-ids.mjs [segments] [jobs in each] [producers]
import { fork } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { systemClock } from '../dist/base/clock.js'
import { native } from '../dist/base/native.js'
import { DirectoryStore } from '../dist/store/directory-store.js'
import { ledgerTermDirectory, snapshotName } from '../dist/store/layout.js'
import { readHistory } from '../dist/submit/history.js'
import { enter, Ledger } from '../dist/submit/ledger.js'
import { RememberedIds } from '../dist/submit/remembered-ids.js'
import { writeSnapshot } from '../dist/submit/snapshot-writer.js'

const retentionMs = 7 * 86_400_000
const by = { host: 'bench', instance: 'bench-20261123T040000-3fa9c1', pid: 1, version: '0', config: '0' }
const createIds = () => new RememberedIds(new native.SeenIds(), retentionMs)
const highestMemory = () => Number(/VmHWM:\s+([0-9]+)/.exec(readFileSync('/proc/self/status', 'latin1'))[1]) / 1024
const lead = (store) => readHistory(store, { leads: true, createIds })

const make = async (store, segments, jobs, producers) => {
  const { books, extents } = await lead(store)
  await store.makeDirectory(ledgerTermDirectory(1))
  const ledger = await Ledger.create({ store, storeUuid: 'bench', term: 1, by, clock: systemClock, read: extents })
  books.apply(ledger.opening)
  const next = new Array(producers).fill(0)
  for (let number = 1; number <= segments; number += 1) {
    const of = `${by.instance}/${number}`
    const ids = []
    // Ten producers take turns in a segment, as connections do.
    for (let part = 0; part < 10; part += 1) {
      const producer = (number * 7 + part) % producers
      ids.push([(producer + 0x1000).toString(16).padStart(16, '0'), String(next[producer]), jobs / 10])
      next[producer] += jobs / 10
    }
    const digests = Buffer.alloc(jobs * 8)
    for (let at = 0; at < digests.length; at += 4) digests.writeUInt32LE((Math.imul(number + at, 0x9e3779b1) ^ at) >>> 0, at)
    const all = { of, jobs: [[0, jobs - 1]] }
    await enter(ledger, books, [{ k: 'admit', of, count: jobs, clusters: { main: jobs }, ids, digests: digests.toString('base64') }])
    await enter(ledger, books, [{ k: 'intent', cluster: 'main', ...all }])
    await enter(ledger, books, [{ k: 'receipt', ...all, ids: Array.from({ length: jobs }, (_, index) => String(number * jobs + index)) }])
  }
  await ledger.close()
}

const [mode, ...rest] = process.argv.slice(2)

if (mode === 'read') {
  const startedMs = performance.now()
  const { records, bytes, base, ids } = await lead(new DirectoryStore(rest[0]))
  const ms = performance.now() - startedMs
  process.send({ ms, records, bytes: base === null ? bytes : base.bytes, ids: ids.seen.size, peakMiB: highestMemory(), nowMiB: process.memoryUsage().rss / 2 ** 20 })
} else {
  const [segments, jobs, producers] = [mode ?? 10_000, rest[0] ?? 1000, rest[1] ?? 50].map(Number)
  const directory = mkdtempSync(join(tmpdir(), 'usher-bench-'))
  const store = new DirectoryStore(directory)
  const measure = (what) =>
    new Promise((resolve, reject) => {
      const child = fork(fileURLToPath(import.meta.url), ['read', directory])
      child.on('message', ({ ms, records, bytes, ids, peakMiB, nowMiB }) => {
        const show = (value) => Math.round(value).toLocaleString('en')
        console.log(`${what}: ${show(ids)} ids in ${(ms / 1000).toFixed(2)} s; ${show(records)} records of the ledger, ${show(bytes / 2 ** 20)} MiB read; resident ${show(nowMiB)} MiB, at most ${show(peakMiB)} MiB`)
      })
      child.on('exit', (status) => (status === 0 ? resolve() : reject(new Error(`reading ended with status ${status}`))))
    })
  try {
    await make(store, segments, jobs, producers)
    await measure('ledger  ')
    const { books, ids, extents } = await lead(store)
    await store.makeDirectory(ledgerTermDirectory(2))
    const ledger = await Ledger.create({ store, storeUuid: 'bench', term: 2, by, clock: systemClock, read: extents })
    books.apply(ledger.opening)
    const startedMs = performance.now()
    let longestMs = 0
    let lastMs = performance.now()
    const timer = setInterval(() => {
      longestMs = Math.max(longestMs, performance.now() - lastMs)
      lastMs = performance.now()
    }, 1)
    await writeSnapshot({ store, storeUuid: 'bench', by, clock: systemClock, books, ids, ledger, settled: async () => undefined }, 1, new AbortController().signal)
    clearInterval(timer)
    await ledger.close()
    const { size } = statSync(store.path(snapshotName(2, 1)))
    console.log(`snapshot of ${Math.round(size / 2 ** 20)} MiB written in ${((performance.now() - startedMs) / 1000).toFixed(2)} s; the event loop's longest turn was ${longestMs.toFixed(0)} ms`)
    await measure('snapshot')
  } finally {
    rmSync(directory, { recursive: true })
  }
}
