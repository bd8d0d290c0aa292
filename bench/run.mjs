// `npm run bench [SUITE…]`: what usher does on this machine, each number beside what it is compared with in the same run.
// Suites: accept, singles, ack, transform, latency, memory, slurm, takeover. Results are printed, and written to .out/bench.json.
import { spawn } from 'node:child_process'
import { createServer } from 'node:net'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { arch, cpus, release, totalmem } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Bench } from 'tinybench'
import { XMLParser } from 'fast-xml-parser'
import { native } from '../dist/base/native.js'
import { Client } from '../dist/client/client.js'
import { load } from './load.mjs'
import { root, run, startServer } from './server.mjs'

const discard = '[cluster.main]\ndriver = "discard"\n'
const paused = '[cluster.main]\ndriver = "discard"\npause = true\n'
const say = (text) => process.stdout.write(`${text}\n`)
const perSecond = (value) => Math.round(value).toLocaleString('en-US')
const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]
const quantile = (sorted, q) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))]

const which = async (program) => (await run('sh', ['-c', `command -v ${program} || true`])).stdout.trim() !== ''

/** Redis Streams with appendfsync always, the same payload, connections and pipelining. Null where Redis isn't installed. */
const redisAccepted = async (jobs, connections, pipeline, jobBytes) => {
  if (!(await which('redis-server')) || !(await which('redis-benchmark'))) return null
  const folder = await mkdtemp(join(process.env.USHER_BENCH_DIR ?? root, '.bench-'))
  const port = await new Promise((resolve) => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const { port: free } = probe.address()
      probe.close(() => resolve(free))
    })
  })
  const args = ['--port', `${port}`, '--bind', '127.0.0.1', '--dir', folder, '--appendonly', 'yes', '--appendfsync', 'always', '--save', '', '--daemonize', 'no']
  const server = spawn('redis-server', args, { stdio: 'ignore' })
  try {
    for (let tries = 0; tries < 100; tries += 1) {
      const { stdout } = await run('redis-cli', ['-p', `${port}`, 'ping']).catch(() => ({ stdout: '' }))
      if (stdout.startsWith('PONG')) break
      await sleep(50)
    }
    const bench = ['-p', `${port}`, '-c', `${connections}`, '-P', `${pipeline}`, '-n', `${jobs}`, '--csv', 'XADD', 'jobs', '*', 'job', 'x'.repeat(jobBytes)]
    const { stdout } = await run('redis-benchmark', bench, { maxBuffer: 1 << 26 })
    const line = stdout.trim().split('\n').at(-1)
    return Number(line.split('","')[1])
  } finally {
    const ended = new Promise((resolve) => server.once('exit', resolve))
    server.kill('SIGKILL')
    await ended
    await rm(folder, { recursive: true, force: true })
  }
}

/** The rate at which this disk takes bytes written one after the other, synced at the end. */
const diskMiBPerSecond = async () => {
  const folder = await mkdtemp(join(process.env.USHER_BENCH_DIR ?? root, '.bench-'))
  try {
    const begun = performance.now()
    await run('dd', ['if=/dev/zero', `of=${join(folder, 'bytes')}`, 'bs=1M', 'count=1024', 'conv=fdatasync'])
    return 1024 / ((performance.now() - begun) / 1000)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

const accept = async () => {
  const options = { connections: 50, jobsPerFrame: 400, jobBytes: 250, seconds: 8 }
  const rounds = []
  // Round-robin, so that what the machine does beside it hits all alike.
  for (let round = 0; round < 3; round += 1) {
    const result = {}
    for (const [name, config] of [['pausedCluster', paused], ['wholeWay', discard]]) {
      const { accepted, seconds } = await underLoad(config, options)
      result[name] = accepted / seconds
    }
    result.redis = await redisAccepted(2_000_000, 50, 400, 250)
    result.diskMiB = await diskMiBPerSecond()
    rounds.push(result)
    say(`  round ${round + 1}: ${perSecond(result.pausedCluster)} jobs/s (cluster paused), ${perSecond(result.wholeWay)} (discard), Redis XADD ${result.redis === null ? 'not installed' : perSecond(result.redis)}`)
  }
  const of = (name) => (rounds[0][name] === null ? null : median(rounds.map((result) => result[name])))
  return {
    jobBytes: 250,
    connections: 50,
    acceptedPerSecond: of('pausedCluster'),
    acceptedWhileSubmittingPerSecond: of('wholeWay'),
    redisXaddFsyncPerSecond: of('redis'),
    diskMiBPerSecond: of('diskMiB'),
    ratioToRedis: of('redis') === null ? null : of('pausedCluster') / of('redis'),
    rounds,
  }
}

/** Runs load on a server of its own, and sees that what was acknowledged is on the store. */
const underLoad = async (config, options) => {
  const server = await startServer(config)
  try {
    const result = await load({ ...options, address: server.address })
    if (result.refused > 0) throw new Error(`${result.refused} jobs were refused`)
    const { audit } = await server.status()
    if (audit.accepted !== result.accepted || !audit.balanced) throw new Error(`the books don't balance: ${result.accepted} acknowledged, ${JSON.stringify(audit)}`)
    return result
  } finally {
    await server.stop()
  }
}

/** One job in a write, and the next when it is answered, on 1,000 connections: what costs is system calls. */
const singles = async () => {
  const rounds = []
  for (let round = 0; round < 3; round += 1) {
    const { accepted, seconds, latencyMs } = await underLoad(paused, { connections: 1000, jobsPerFrame: 1, framesMax: 1, jobBytes: 250, seconds: 8 })
    rounds.push({ usher: accepted / seconds, latencyMs, redis: await redisAccepted(200_000, 1000, 1, 250) })
    say(`  round ${round + 1}: ${perSecond(accepted / seconds)} jobs/s, Redis XADD ${rounds[round].redis === null ? 'not installed' : perSecond(rounds[round].redis)}`)
  }
  const usher = median(rounds.map((result) => result.usher))
  const redis = rounds[0].redis === null ? null : median(rounds.map((result) => result.redis))
  return { connections: 1000, acceptedPerSecond: usher, redisXaddFsyncPerSecond: redis, ratioToRedis: redis === null ? null : usher / redis, rounds }
}

/** From the moment at which a frame of 40 jobs is due to its answer, at fixed rates: what producers see on a host that is not saturated. */
const ack = async () => {
  const options = { connections: 50, jobsPerFrame: 40, jobBytes: 250, seconds: 8 }
  const found = await underLoad(paused, options)
  const capacityPerSecond = found.accepted / found.seconds
  say(`  capacity: ${perSecond(capacityPerSecond)} jobs/s`)
  const rates = {}
  for (const share of [0.25, 0.5, 0.75, 0.9]) {
    const { latencyMs, unsent } = await underLoad(paused, { ...options, rate: capacityPerSecond * share })
    rates[share] = { ...latencyMs, unsent }
    say(`  at ${share * 100} %: p50 ${latencyMs.p50} ms, p99 ${latencyMs.p99} ms, most ${latencyMs.max} ms`)
  }
  return { capacityPerSecond, rates }
}

/** A segment as the server writes it. */
const sampleSegment = async () => {
  const server = await startServer(paused)
  try {
    await load({ address: server.address, connections: 4, jobsPerFrame: 100, jobBytes: 250, seconds: 1 })
    const folder = join(server.store, 'hosts', server.instance, 'segments')
    const sealed = (await readdir(folder)).filter((name) => name.endsWith('.xml')).sort()
    const segments = await Promise.all(sealed.slice(0, 20).map((name) => readFile(join(folder, name))))
    return segments.reduce((largest, bytes) => (bytes.length > largest.length ? bytes : largest))
  } finally {
    await server.stop()
  }
}

const transform = async () => {
  const xml = await sampleSegment()
  const { jobs, jsonl } = native.transform(xml)
  const text = xml.toString('utf8')
  const parser = new XMLParser({ ignoreAttributes: false, parseTagValue: false, parseAttributeValue: false })
  const bench = new Bench({ time: 3000, warmupTime: 500 })
  bench.add('usher', () => void native.transform(xml))
  bench.add('fast-xml-parser', () => {
    // The same work: an object for each job, a JSON line for each.
    const { segment } = parser.parse(text)
    return segment.job.map((job) => JSON.stringify(job)).join('\n')
  })
  await bench.run()
  const [ours, theirs] = bench.tasks.map((task) => task.result.throughput.mean)
  const mib = xml.length / 2 ** 20
  return { segmentBytes: xml.length, jobs, jsonBytes: jsonl.length, usherMiBPerSecond: ours * mib, fastXmlParserMiBPerSecond: theirs * mib, ratio: ours / theirs }
}

/** One job alone on an idle host: from the call of send() to its receipt in the ledger. */
const latency = async () => {
  const server = await startServer(discard)
  try {
    const client = new Client({ addresses: server.address })
    const acks = []
    const sent = new Map()
    // An idle host leads already, and has seen jobs before: the first ones after a start are not what is measured.
    for (let warming = 0; warming < 20 || (await server.status()).leader === null; warming += 1) await client.send({ executable: '/bin/true', arguments: ['warm up', `${warming}`] })
    await server.settled(20)
    for (let job = 0; job < 500; job += 1) {
      const begun = Date.now()
      const at = performance.now()
      const { id } = await client.send({ executable: '/bin/true', arguments: [`${job}`] })
      acks.push(performance.now() - at)
      sent.set(Number(id.split('-')[1]), begun)
      await sleep(20 + Math.random() * 20)
    }
    await client.close()
    await server.settled(520)
    const { readHistory } = await import('../dist/submit/history.js')
    const { DirectoryStore } = await import('../dist/store/directory-store.js')
    const segments = new Map()
    const times = []
    await readHistory(new DirectoryStore(server.store), { everything: true, onRecord: (record) => {
      if (record.k === 'admit') segments.set(record.of, record.ids)
      if (record.k !== 'receipt') return
      for (const [, first, count] of segments.get(record.of)) {
        for (let sequence = Number(first); sequence < Number(first) + count; sequence += 1) if (sent.has(sequence)) times.push(Date.parse(record.at) - sent.get(sequence))
      }
    } })
    times.sort((a, b) => a - b)
    acks.sort((a, b) => a - b)
    // Wall-clock milliseconds of one machine: a resolution of 1 ms.
    return { jobs: times.length, ackMs: { p50: quantile(acks, 0.5), p99: quantile(acks, 0.99) }, submittedMs: { p50: quantile(times, 0.5), p99: quantile(times, 0.99), max: times.at(-1) } }
  } finally {
    await server.stop()
  }
}

/** A million jobs queued while the cluster is paused: what the processes hold. */
const memory = async () => {
  const server = await startServer(paused)
  try {
    const { accepted } = await load({ address: server.address, connections: 50, jobsPerFrame: 400, jobBytes: 250, seconds: 120, jobs: 1_000_000 })
    const until = Date.now() + 60_000
    let admitted = 0
    while (admitted < accepted && Date.now() < until) {
      const { readHistory } = await import('../dist/submit/history.js')
      const { DirectoryStore } = await import('../dist/store/directory-store.js')
      admitted = 0
      await readHistory(new DirectoryStore(server.store), { everything: true, onRecord: (record) => {
        if (record.k === 'admit') admitted += record.count
      } })
      await sleep(500)
    }
    const children = (await run('pgrep', ['-P', `${server.pid}`])).stdout.trim().split('\n').filter(Boolean)
    const submitter = Number(children[0])
    return {
      queued: admitted,
      serverMiB: await server.residentMiB(),
      serverPeakMiB: await server.peakMiB(),
      submitterMiB: await server.residentMiB(submitter),
      submitterPeakMiB: await server.peakMiB(submitter),
    }
  } finally {
    await server.stop()
  }
}

const slurm = async () => {
  const { stdout } = await run(process.execPath, [join(root, 'bench', 'slurm.mjs')], { maxBuffer: 1 << 26 })
  return JSON.parse(stdout.trim().split('\n').at(-1))
}

/** What the election promises, from death or resignation to the successor's first submission. */
const takeover = async () => {
  const { stdout } = await run(process.execPath, [join(root, 'bench', 'takeover.mjs')], { maxBuffer: 1 << 26 })
  return JSON.parse(stdout.trim().split('\n').at(-1))
}

const suites = { accept, singles, ack, transform, latency, memory, slurm, takeover }
const chosen = process.argv.slice(2)
for (const name of chosen) if (!(name in suites)) throw new Error(`no suite ${name}: there are ${Object.keys(suites).join(', ')}`)

const commit = (await run('git', ['-C', root, 'rev-parse', '--short', 'HEAD']).catch(() => ({ stdout: 'unknown' }))).stdout.trim()
const machine = { cpu: cpus()[0].model, cores: cpus().length, memoryGiB: Math.round(totalmem() / 2 ** 30), arch: arch(), kernel: release(), node: process.version, commit }
say(`${machine.cpu}, ${machine.cores} cores, kernel ${machine.kernel}, Node ${machine.node}, commit ${commit}`)
const results = { machine, at: new Date().toISOString() }
for (const name of chosen.length > 0 ? chosen : Object.keys(suites)) {
  say(`\n${name}`)
  results[name] = await suites[name]()
  say(JSON.stringify(results[name], (key, value) => (key === 'rounds' ? undefined : typeof value === 'number' ? Number(value.toPrecision(4)) : value), 2))
}
await mkdir(join(root, '.out'), { recursive: true })
await writeFile(join(root, '.out', 'bench.json'), `${JSON.stringify(results, null, 2)}\n`)
say('\nwritten to .out/bench.json')
