// Suites of accepting: how many jobs a second, beside peers and the disk; the highest rate of arrivals that is kept up with,
// and the latency below it; many connections with one job a write; job sizes, connections and threads.
import { diskBytesPerSecond, discard, inTurn, paused, peerRun, sampleSegment, usherRun } from '../contest.mjs'
import { latencyAt } from '../generator.mjs'
import { peers } from '../peer-servers.mjs'
import { figure, say } from '../recorder.mjs'

export const pipelined = { connections: 50, jobs_per_write: 400, writes: 2, jobBytes: 250 }
export const oneByOne = { connections: 1000, jobs_per_write: 1, writes: 1, jobBytes: 250 }

const jobsPerSecond = (what) => ({ what, unit: 'jobs/s', better: 'higher' })
const times = (what) => ({ what, unit: '×', better: 'higher' })

const overTime = ({ slices, sliceSeconds }, seconds, name) => ({
  name,
  points: slices.slice(0, Math.floor(seconds / sliceSeconds)).map((jobs, index) => [index * sliceSeconds, jobs / sliceSeconds]),
})

/** One shape of load, everybody in turn; ratios are made within a round. */
const contest = async (recorder, { suite, load, seconds, rounds, against, configs }) => {
  const disk = await sampleSegment()
  let values = {}
  const last = {}
  const keep = (name, result, about) => {
    values[name] = result.perSecond
    last[name] = overTime(result, seconds, name)
    recorder.add(`${suite}/${name}`, result.perSecond, jobsPerSecond(about))
  }
  const ours = Object.entries(configs).map(([name, config]) => async () => {
    const result = await usherRun(recorder, `${suite}, ${name}`, { ...load, seconds }, { config })
    values.xmlBytesPerJob = result.xmlBytesPerJob
    keep(name, result, `jobs that ${name} acknowledges after fdatasync`)
  })
  const theirs = against.map((name) => async () => {
    keep(name, await peerRun(recorder, name, `${suite}, ${name}`, { ...load, seconds, drain: 60 }), `jobs that ${name} acknowledges; ${peers[name].acks}`)
  })
  const calibrate = async () => {
    values.disk = await diskBytesPerSecond(disk, 256 << 20)
    recorder.add(`${suite}/disk`, values.disk / 2 ** 20, { what: 'XML of jobs written one after the other, synced at the end', unit: 'MiB/s', better: 'higher' })
  }
  const everybody = [...ours, ...theirs, calibrate]
  for (let round = 0; round < rounds; round += 1) {
    values = {}
    await inTurn(1, [...everybody.slice(round % everybody.length), ...everybody.slice(0, round % everybody.length)])
    const [best] = Object.keys(configs)
    for (const name of against) recorder.add(`${suite}/${best} ÷ ${name}`, values[best] / values[name], times(`${best} against ${name} in the same round`))
    recorder.add(`${suite}/${best} ÷ disk`, (values[best] * values.xmlBytesPerJob) / values.disk, times(`XML that ${best} stores, against the same bytes written sequentially`))
    say(`  round ${round + 1}: ${Object.entries(values).map(([name, value]) => `${name} ${figure(value)}`).join(', ')}`)
  }
  recorder.plot({ title: `${suite}: acknowledged over time`, x: 'seconds', y: 'jobs/s', series: Object.values(last) })
}

export const accept = (recorder, { rounds, seconds, against }) =>
  contest(recorder, { suite: 'accept', load: pipelined, seconds, rounds, against, configs: { usher: discard, 'usher, cluster paused': paused } })

export const connections = (recorder, { rounds, seconds, against }) =>
  contest(recorder, { suite: '1,000 connections, one job a write', load: oneByOne, seconds, rounds, against, configs: { usher: discard } })

/** Kept up with: all but 1 % of what arrived was answered while it arrived, and no more waited at the end than arrives in 250 ms. */
const keptUp = (result, rate) => result.perSecond >= rate * 0.99 && result.backlog <= rate / 4

const openLoop = { connections: 50, jobs_per_write: 40, jobBytes: 250 }

/** The highest rate of arrivals that is kept up with, and then the latency at shares of it. Each step is a server of its own. */
export const latency = async (recorder, { seconds, rounds }) => {
  const closed = await usherRun(recorder, 'capacity, closed loop', { ...openLoop, writes: 4, seconds })
  let [good, bad] = [0, Infinity]
  for (let rate = closed.perSecond; (bad - good) / bad > 0.05 || bad === Infinity; rate = bad === Infinity ? good * 1.4 : (good + bad) / 2) {
    const result = await usherRun(recorder, `capacity, ${figure(rate)} jobs/s arrive`, { ...openLoop, rate, seconds })
    const kept = keptUp(result, rate)
    if (kept) good = rate
    else bad = rate
    say(`  ${figure(rate)} jobs/s arrive: ${kept ? 'kept up' : 'not kept up'}, p99 ${figure(result.latencyMs.p99)} ms`)
    if (good === 0 && rate < closed.perSecond / 20) throw new Error('no rate was kept up with')
  }
  recorder.add('capacity/usher', good, jobsPerSecond('the highest rate of arrivals that is kept up with, 50 connections, 40 jobs a write'))
  const shares = [25, 50, 75, 90]
  const buckets = new Map(shares.map((share) => [share, new Map()]))
  await inTurn(
    rounds,
    shares.map((share) => async () => {
      const result = await usherRun(recorder, `latency at ${share} %`, { ...openLoop, rate: (good * share) / 100, seconds })
      for (const [edge, count] of result.latencyUs) buckets.get(share).set(edge, (buckets.get(share).get(edge) ?? 0) + count)
      for (const quantile of ['p50', 'p99', 'p999']) {
        const about = { what: `from when a write was due to its acknowledgement, at ${share} % of the capacity found`, unit: 'ms', better: 'lower' }
        recorder.add(`latency at ${share} % of capacity/${quantile}`, result.latencyMs[quantile], about)
      }
    }),
  )
  recorder.plot({
    title: 'Latency of acknowledgements, from the scheduled time',
    x: 'percentile: 1 ÷ (1 − share)', y: 'ms', logX: true, logY: true,
    series: shares.map((share) => {
      const sorted = [...buckets.get(share)].sort(([a], [b]) => a - b)
      return { name: `${share} % of capacity`, points: [1, 2, 4, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000].map((x) => [x, Math.max(0.001, latencyAt(sorted, 1 - 1 / x))]) }
    }),
  })
}

/** How accepting grows with the size of jobs, with connections, and with threads. */
export const scaling = async (recorder, { seconds }) => {
  const along = async (title, x, values, loadOf, configOf = () => discard, yOf = (result) => result.perSecond, y = 'jobs/s') => {
    const points = []
    for (const value of values) {
      const result = await usherRun(recorder, `scaling, ${value} ${x}`, { ...pipelined, ...loadOf(value), seconds }, { config: configOf(value) })
      recorder.add(`scaling/${value} ${x}`, result.perSecond, jobsPerSecond(`accepted with ${value} ${x}`))
      points.push([value, yOf(result)])
    }
    recorder.plot({ title, x, y, logX: true, series: [{ name: 'usher', points }] })
  }
  await along('Bytes accepted by job size', 'bytes a job', [250, 1000, 4000, 16_000], (jobBytes) => ({ jobBytes, jobs_per_write: Math.max(1, Math.floor(100_000 / jobBytes)) }),
    undefined, (result) => (result.perSecond * result.jobBytes) / 1e6, 'MB/s')
  await along('Jobs accepted by threads', 'threads', [1, 2, 4], () => ({}), (threads) => `[accept]\nthreads = ${threads}\n${discard}`)
  await along('Jobs accepted by connections', 'connections', [1, 10, 50, 250, 1000], (count) => ({ connections: count, jobs_per_write: 40 }))
}
