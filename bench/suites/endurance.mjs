// Suites of what a server holds while it works: memory and open files over time, memory while producers send faster than the
// disk takes, and with a million jobs waiting.
import { closeSync, fstatSync, openSync, readdirSync, readSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { ledgerDirectory, ledgerName, ledgerTermDirectory, parseClaimNumber, parseLedgerFile, parseSegmentFile, segmentsDirectory } from '../../dist/store/layout.js'
import { paused, usherRun } from '../contest.mjs'
import { pipelined } from './accept.mjs'

const mebibytes = (what) => ({ what, unit: 'MiB', better: 'lower' })

/** Looks at both processes every second while the load runs. */
const watch = (seconds, points) => async (server) => {
  const submitter = await server.submitterPid()
  const until = performance.now() + seconds * 1000
  const begun = performance.now()
  while (performance.now() < until) {
    const at = (performance.now() - begun) / 1000
    points.server.push([at, await server.residentMiB()])
    points.submitter.push([at, await server.residentMiB(submitter)])
    points.files.push([at, await server.openFiles()])
    await sleep(1000)
  }
  return { peakMiB: await server.peakMiB(), submitterPeakMiB: await server.peakMiB(submitter) }
}

const watched = async (recorder, name, load, options = {}) => {
  const points = { server: [], submitter: [], files: [] }
  const result = await usherRun(recorder, name, load, { ...options, during: watch(load.seconds, points) })
  recorder.add(`${name}/server, most memory`, result.seen.peakMiB, mebibytes('resident memory of the server, its highest'))
  recorder.add(`${name}/submitter, most memory`, result.seen.submitterPeakMiB, mebibytes('resident memory of the submitter, its highest'))
  recorder.add(`${name}/open files`, Math.max(...points.files.map(([, files]) => files)), { what: 'file descriptors of the server, the most', unit: 'files', better: 'lower' })
  recorder.plot({ title: `${name}: resident memory`, x: 'seconds', y: 'MiB', series: [{ name: 'server', points: points.server }, { name: 'submitter', points: points.submitter }] })
  recorder.plot({ title: `${name}: open files of the server`, x: 'seconds', y: 'files', series: [{ name: 'server', points: points.files }] })
  return result
}

/** A steady rate for a long time: what grows shows. */
export const soak = async (recorder, { minutes }) => {
  const rate = 50_000
  await watched(recorder, 'soak', { connections: 50, jobs_per_write: 40, rate, seconds: minutes * 60 })
}

/** Producers that send as fast as their credit allows: it is credit that bounds memory. */
export const overload = async (recorder, { minutes }) => {
  const result = await watched(recorder, 'overload', { ...pipelined, connections: 200, writes: 0, seconds: minutes * 60, drain: 120 })
  recorder.add('overload/usher', result.perSecond, { what: 'jobs acknowledged while 200 connections use up their credit', unit: 'jobs/s', better: 'higher' })
}

/** A million jobs that wait for a cluster. */
export const memory = async (recorder) => {
  await watched(recorder, 'a million jobs waiting', { ...pipelined, jobs: 1_000_000, seconds: 30, warmup: 0 }, { config: paused })
}

const newest = (folder, numberOf) => Math.max(0, ...readdirSync(folder).map((name) => numberOf(name) ?? 0))

/** Published segments that the ledger has no receipt of yet, by the ends of both: asking for the status would read all of it. */
const segmentsBehind = ({ store, instance }) => {
  const published = newest(join(store, segmentsDirectory(instance)), (name) => (name.endsWith('.xml') ? parseSegmentFile(name)?.number : 0))
  const term = newest(join(store, ledgerDirectory), parseClaimNumber)
  const file = openSync(join(store, ledgerName(term, newest(join(store, ledgerTermDirectory(term)), parseLedgerFile))), 'r')
  const tail = Buffer.alloc(Math.min(1 << 20, fstatSync(file).size))
  readSync(file, tail, 0, tail.length, fstatSync(file).size - tail.length)
  closeSync(file)
  const receipts = [...tail.toString('latin1').matchAll(/"k":"receipt","of":"[^"/]+\/([0-9]+)"/g)]
  return receipts.length === 0 ? null : published - Number(receipts.at(-1)[1])
}

/** A rate that is kept up all the way, for a minute: what waits on any stage doesn't grow. */
export const sustained = async (recorder) => {
  const rate = 300_000
  const seconds = 60
  const behind = []
  const during = async (server) => {
    for (let at = 5; at <= seconds; at += 5) {
      await sleep(5000)
      behind.push([at, segmentsBehind(server)])
    }
  }
  const result = await usherRun(recorder, 'sustained', { connections: 50, jobs_per_write: 40, rate, seconds }, { during })
  const add = (name, value, what, unit, better) => recorder.add(`sustained/${name}`, value, { what, unit, better })
  add('acknowledged', result.perSecond, `jobs acknowledged while ${rate} a second arrive for ${seconds} s, all submitted to discard`, 'jobs/s', 'higher')
  add('ack p99', result.latencyMs.p99, 'from when a write was due to its acknowledgement', 'ms', 'lower')
  const known = behind.filter(([, segments]) => segments !== null)
  const mean = (points) => points.reduce((sum, [, segments]) => sum + segments, 0) / Math.max(1, points.length)
  add('segments behind, first half', mean(known.filter(([at]) => at <= seconds / 2)), 'published segments that are not submitted yet, on average', 'segments', 'lower')
  add('segments behind, second half', mean(known.filter(([at]) => at > seconds / 2)), 'the same later on: no more means that the backlog does not grow', 'segments', 'lower')
  recorder.plot({ title: 'sustained: published segments not submitted yet', x: 'seconds', y: 'segments', series: [{ name: 'usher', points: known }] })
}
