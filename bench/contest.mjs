// Runs of accepting, usher's and its peers' alike: a fresh server for each, one shape of load, and the books at the end. Rounds
// go through everybody in turn and begin with another each time, so that what the machine does beside them hits all alike.
import { closeSync, fdatasyncSync, openSync, readdirSync, readFileSync, statSync, writeSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { segmentsDirectory } from '../dist/store/layout.js'
import { generate } from './generator.mjs'
import { peers } from './peer-servers.mjs'
import { root, startServer } from './server.mjs'

export const discard = '[cluster.main]\ndriver = "discard"\n'
export const paused = '[cluster.main]\ndriver = "discard"\npause = true\n'

/** One run against usher: until everything that was accepted is submitted, and the books. */
export const usherRun = async (recorder, name, load, { config = discard, during = async () => undefined } = {}) => {
  const server = await startServer(config)
  try {
    const [result, seen] = await Promise.all([generate({ address: server.address, protocol: 'usher', ...load }), during(server)])
    const begun = performance.now()
    // A cluster that is paused gets nothing: then what was acknowledged must be on the store.
    const state = config === paused ? 'accepted' : 'submitted'
    const audit = await server.settled(result.accepted, state)
    const found = audit[state]
    recorder.book(name, { ...result, found, twice: audit.duplicates })
    if (!audit.balanced || audit.accepted !== result.accepted) throw new Error(`the audit of ${name} doesn't balance: ${JSON.stringify(audit)}`)
    return { ...result, seen, settledSeconds: (performance.now() - begun) / 1000, xmlBytesPerJob: xmlBytes(server) / audit.accepted }
  } finally {
    await server.stop()
  }
}

const segmentsOf = (server) => {
  const folder = join(server.store, segmentsDirectory(server.instance))
  return readdirSync(folder).filter((name) => name.endsWith('.xml')).map((name) => join(folder, name))
}
const xmlBytes = (server) => segmentsOf(server).reduce((sum, file) => sum + statSync(file).size, 0)

/** The largest segment that a server has written under some load. */
export const sampleSegment = async (load = {}) => {
  const server = await startServer(paused)
  try {
    const { accepted } = await generate({ address: server.address, protocol: 'usher', connections: 4, seconds: 1, warmup: 0, ...load })
    await server.settled(accepted, 'accepted')
    const files = segmentsOf(server)
    return readFileSync(files.reduce((largest, file) => (statSync(file).size > statSync(largest).size ? file : largest)))
  } finally {
    await server.stop()
  }
}

export const peerRun = async (recorder, peerName, name, load) => {
  const { protocol, start, shape = {} } = peers[peerName]
  const server = await start()
  try {
    const result = await generate({ address: server.address, protocol, ...load, ...(load.jobs_per_write > 1 ? shape : {}) })
    const found = await server.stored()
    recorder.book(name, { ...result, found, twice: Math.max(0, found - result.accepted) })
    return result
  } finally {
    await server.stop()
  }
}

/** Bytes a second at which this disk takes these bytes written one after the other and synced at the end. */
export const diskBytesPerSecond = async (sample, totalBytes) => {
  const folder = await mkdtemp(join(process.env.USHER_BENCH_DIR ?? root, '.bench-'))
  try {
    const fd = openSync(join(folder, 'bytes'), 'wx')
    const begun = performance.now()
    let written = 0
    while (written < totalBytes) written += writeSync(fd, sample, 0, Math.min(sample.length, totalBytes - written))
    fdatasyncSync(fd)
    const seconds = (performance.now() - begun) / 1000
    closeSync(fd)
    return written / seconds
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** Each contestant once a round. `run(round)` gives a number; who begins changes with the round. */
export const inTurn = async (rounds, contestants) => {
  for (let round = 0; round < rounds; round += 1) {
    for (let turn = 0; turn < contestants.length; turn += 1) await contestants[(round + turn) % contestants.length](round)
  }
}
