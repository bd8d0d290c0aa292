// How long nobody submits when the leader is gone: three real instances on one store, 100,000 jobs waiting, a cluster that
// notes when the first job of each term arrives.
//
//   killed    the leader's server and submitter get SIGKILL at a random moment; measured from the kill
//   resigned  the leader's server gets SIGTERM; measured from its resignation, the claim with lease 0
//
// Where this user may make pid namespaces (root), each instance has one of its own, as hosts have: then nobody can see that
// the dead process is dead, and all that tells is its silence. Prints a line of JSON at the end.
//
// node bench/takeover.mjs '{"rounds":30}'
import { spawn } from 'node:child_process'
import { createServer } from 'node:http'
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { buildNative, generate } from './generator.mjs'
import { cli, root, run } from './server.mjs'

const options = { rounds: 30, hosts: 3, jobs: 100_000, leaseMs: 3000, ...JSON.parse(process.argv[2] ?? '{}') }
const say = (text) => process.stderr.write(`${text}\n`)

/** Takes every job, slowly, so that there is always a backlog; remembers when each term began and ended here. */
const startSink = async () => {
  const terms = new Map()
  const taken = new Map()
  let waiting = null
  const server = createServer((request, response) => {
    const arrivedMs = Date.now()
    request.on('error', () => undefined)
    let text = ''
    request.setEncoding('utf8').on('data', (part) => (text += part))
    request.on('end', async () => {
      if (request.method === 'GET') {
        const id = decodeURIComponent(request.url.replace(/^\/jobs\/?/, ''))
        const found = id === '' || taken.has(id)
        response.writeHead(found ? 200 : 404, { 'content-type': 'application/json' })
        response.end(found ? JSON.stringify({ jobId: `sink-${id}` }) : '{}')
        return
      }
      const { id, term, instance } = JSON.parse(text)
      taken.set(id, (taken.get(id) ?? 0) + 1)
      const known = terms.get(term)
      if (known === undefined) terms.set(term, { instance, firstMs: arrivedMs, lastMs: arrivedMs })
      else known.lastMs = arrivedMs
      if (waiting !== null && term > waiting.after) {
        waiting.resolve(term)
        waiting = null
      }
      await sleep(50)
      if (response.destroyed) return
      response.writeHead(200, { 'content-type': 'application/json' })
      response.end(JSON.stringify({ jobId: `sink-${id}` }))
    })
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${server.address().port}/jobs`,
    terms,
    /** Resolves with the first term after that one, when a job of it arrives. */
    after: (term) => new Promise((resolve) => (waiting = { after: term, resolve })),
    get count() {
      return taken.size
    },
    get twice() {
      return [...taken.values()].filter((times) => times > 1).length
    },
    close: async () => {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

const mayUnshare = await run('unshare', ['--pid', '--fork', '--kill-child', '--mount-proc', 'true']).then(() => true, () => false)

const startHost = async (folder, store, config, name) => {
  const file = join(folder, `${name}.toml`)
  await writeFile(file, `host = "${name}"\nlease = "${options.leaseMs} ms"\n[log]\nlevel = "warn"\n${config}`)
  const serve = [process.execPath, cli, 'serve', '--json', '--config', file, '--store', store, '--listen', '127.0.0.1:0']
  const command = mayUnshare ? ['unshare', '--pid', '--fork', '--kill-child', '--mount-proc', ...serve] : serve
  const child = spawn(command[0], command.slice(1), { stdio: ['ignore', 'pipe', 'pipe'] })
  let log = ''
  child.stderr.setEncoding('utf8').on('data', (text) => (log += text))
  const exited = new Promise((resolve) => child.once('exit', resolve))
  const ready = await new Promise((resolve, reject) => {
    let text = ''
    child.stdout.on('data', (bytes) => {
      text += bytes
      if (text.includes('\n')) resolve(JSON.parse(text))
    })
    void exited.then(() => reject(new Error(`usher serve ended: ${log}`)))
  })
  const childrenOf = async (pid) => (await readFile(`/proc/${pid}/task/${pid}/children`, 'latin1').catch(() => '')).trim().split(' ').filter(Boolean).map(Number)
  const server = mayUnshare ? (await childrenOf(child.pid))[0] : child.pid
  return {
    ...ready,
    name,
    get log() {
      return log
    },
    /** Server and submitter at once. */
    kill: async () => {
      const submitters = mayUnshare ? [] : await childrenOf(server)
      const atMs = Date.now()
      // The first process of a pid namespace takes all others with it.
      for (const pid of [server, ...submitters]) process.kill(pid, 'SIGKILL')
      return { atMs, exited }
    },
    terminate: () => {
      process.kill(server, 'SIGTERM')
      return exited
    },
    exited,
  }
}

const claimsOf = async (store) => {
  const names = (await readdir(join(store, 'claims'))).sort()
  return names.map((name) => join(store, 'claims', name))
}

/** When the resignation of that term was written, which was right before it was linked. */
const resignedMs = async (store, term) => {
  for (const path of (await claimsOf(store)).toReversed()) {
    const claim = JSON.parse(await readFile(path, 'utf8'))
    if (claim.term === term && claim.leaseMs === 0) return (await stat(path)).mtimeMs
  }
  return null
}

const summary = (times) => {
  const sorted = [...times].sort((a, b) => a - b)
  const at = (q) => sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * q) - 1)]
  return { rounds: sorted.length, p50: at(0.5), p99: at(0.99), min: sorted[0], max: sorted.at(-1) }
}

const measure = async () => {
  const folder = await mkdtemp(join(process.env.USHER_BENCH_DIR ?? root, '.bench-'))
  const store = join(folder, 'store')
  const sink = await startSink()
  const hosts = new Map()
  const killed = []
  const resigned = []
  const silent = []
  const config = `[cluster.main]\ndriver = "http"\nurl = "${sink.url}"\nin_flight = 4\nsettle = "1 s"\n`
  try {
    for (let index = 0; index < options.hosts; index += 1) {
      const host = await startHost(folder, store, config, `host${index}`)
      hosts.set(host.instance, host)
    }
    const first = sink.after(0)
    const { accepted } = await generate({ address: [...hosts.values()][0].address, connections: 4, seconds: 60, warmup: 0, jobs: options.jobs })
    let term = await first
    say(`${accepted} jobs accepted, ${options.hosts} instances${mayUnshare ? ', each in a pid namespace of its own' : ''}`)
    for (let round = 0; round < 2 * options.rounds; round += 1) {
      const kill = round % 2 === 0
      // At any moment between two renewals, when everybody has known the leader for a while.
      await sleep(1500 + Math.random() * 1000)
      const leader = hosts.get(sink.terms.get(term).instance)
      const next = sink.after(term)
      let atMs = null
      if (kill) {
        const death = await leader.kill()
        atMs = death.atMs
        await death.exited
      } else {
        await leader.terminate()
      }
      const successor = await Promise.race([next, sleep(60_000).then(() => null)])
      if (successor === null) throw new Error(`nobody leads after term ${term}:\n${[...hosts.values()].map(({ log }) => log).join('\n')}`)
      atMs ??= await resignedMs(store, term)
      if (atMs === null) throw new Error(`no resignation of term ${term}: ${leader.log}`)
      const tookMs = sink.terms.get(successor).firstMs - atMs
      if (kill) killed.push(tookMs)
      else {
        resigned.push(tookMs)
        silent.push(sink.terms.get(successor).firstMs - sink.terms.get(term).lastMs)
      }
      say(`${kill ? 'killed  ' : 'resigned'} term ${term} → ${successor}: ${Math.round(tookMs)} ms`)
      hosts.delete(leader.instance)
      const again = await startHost(folder, store, config, leader.name)
      hosts.set(again.instance, again)
      term = successor
    }
    return {
      leaseMs: options.leaseMs,
      hosts: options.hosts,
      backlog: accepted - sink.count,
      pidNamespaces: mayUnshare,
      killedMs: summary(killed),
      killedLeases: { p50: summary(killed).p50 / options.leaseMs, p99: summary(killed).p99 / options.leaseMs },
      resignedMs: summary(resigned),
      betweenSubmissionsMs: summary(silent),
      twice: sink.twice,
    }
  } finally {
    for (const host of hosts.values()) await host.kill().then(({ exited }) => exited, () => undefined)
    await sink.close()
    await rm(folder, { recursive: true, force: true })
  }
}

buildNative()
process.stdout.write(`${JSON.stringify(await measure())}\n`)
