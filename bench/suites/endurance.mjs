// Suites of what a server holds while it works: memory and open files over time, memory while producers send faster than the
// disk takes, and with a million jobs waiting.
import { setTimeout as sleep } from 'node:timers/promises'
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
