// The servers that accepting is compared with, each as strict about its disk as it can be, and as its users run it. Every one
// is a process of its own in a folder of its own, ended by its id. `stored()` asks the server itself how many jobs it holds.
import { spawn } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { root, run } from './server.mjs'

const freePort = () =>
  new Promise((resolve) => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const { port } = probe.address()
      probe.close(() => resolve(port))
    })
  })

/** Sends text, reads until the pattern is there, and closes. */
const ask = (port, text, pattern) =>
  new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port, noDelay: true })
    let answer = ''
    socket.setTimeout(10_000, () => socket.destroy(new Error(`no answer to ${JSON.stringify(text)}: ${JSON.stringify(answer)}`)))
    socket.on('connect', () => socket.write(text))
    socket.setEncoding('latin1').on('data', (part) => {
      answer += part
      const found = pattern.exec(answer)
      if (found === null) return
      socket.destroy()
      resolve(found)
    })
    socket.on('error', reject)
    socket.on('end', () => socket.destroy(new Error(`closed before it answered ${JSON.stringify(text)}: ${JSON.stringify(answer)}`)))
  })

const pathTo = async (program) => (await run('sh', ['-c', `PATH=$PATH:/usr/sbin:/sbin; command -v ${program} || true`])).stdout.trim()

const serve = async (program, argsOf, isReady, more = {}) => {
  const folder = await mkdtemp(join(process.env.USHER_BENCH_DIR ?? root, '.bench-'))
  const port = await freePort()
  const args = await argsOf(folder, port)
  const child = spawn(await pathTo(program), args, { stdio: ['ignore', 'ignore', 'pipe'], cwd: folder })
  let log = ''
  child.stderr.setEncoding('utf8').on('data', (text) => (log = (log + text).slice(-4000)))
  const ended = new Promise((resolve) => child.once('exit', resolve))
  const stop = async () => {
    child.kill('SIGKILL')
    await ended
    await rm(folder, { recursive: true, force: true })
  }
  try {
    for (let tries = 0; ; tries += 1) {
      if (child.exitCode !== null) throw new Error(`${program} ended: ${log}`)
      try {
        await isReady(port)
        break
      } catch (error) {
        if (tries > 100) throw error
        await sleep(50)
      }
    }
  } catch (error) {
    await stop()
    throw error
  }
  return { address: `127.0.0.1:${port}`, pid: child.pid, stop, stored: () => more.stored(port) }
}

const redis = (fsync) => () =>
  serve(
    'redis-server',
    (folder, port) => ['--port', `${port}`, '--bind', '127.0.0.1', '--dir', folder, '--appendonly', 'yes', '--appendfsync', fsync, '--save', '', '--daemonize', 'no'],
    (port) => ask(port, 'PING\r\n', /\+PONG/),
    { stored: async (port) => Number((await ask(port, 'XLEN jobs\r\n', /:(\d+)\r\n/))[1]) },
  )

const natsRequest = (port, subject, body, pattern) =>
  ask(port, `CONNECT {"verbose":false}\r\nSUB _INBOX.bench 1\r\nPUB ${subject} _INBOX.bench ${body.length}\r\n${body}\r\n`, pattern)

const nats = () =>
  serve(
    'nats-server',
    async (folder, port) => {
      const file = join(folder, 'nats.conf')
      await writeFile(file, `listen: "127.0.0.1:${port}"\njetstream {\n  store_dir: "${folder}"\n}\n`)
      return ['-c', file]
    },
    (port) => natsRequest(port, '$JS.API.STREAM.CREATE.JOBS', '{"name":"JOBS","subjects":["jobs"],"storage":"file","retention":"limits","num_replicas":1}', /"created"/),
    { stored: async (port) => Number((await natsRequest(port, '$JS.API.STREAM.INFO.JOBS', '', /"messages":(\d+)/))[1]) },
  )

const beanstalkd = () =>
  serve(
    'beanstalkd',
    (folder, port) => ['-l', '127.0.0.1', '-p', `${port}`, '-b', folder, '-f', '0'],
    (port) => ask(port, 'stats\r\n', /^OK/),
    { stored: async (port) => Number((await ask(port, 'stats\r\n', /current-jobs-ready: (\d+)/))[1]) },
  )

const gearmand = (queueOf) => () =>
  serve(
    'gearmand',
    (folder, port) => ['--listen=127.0.0.1', `--port=${port}`, `--log-file=${join(folder, 'gearmand.log')}`, ...queueOf(folder)],
    (port) => ask(port, 'version\n', /^OK/),
    { stored: async (port) => Number((await ask(port, 'status\n', /jobs\t(\d+)\t/).catch(() => [0, 0]))[1]) },
  )

const version = (program, args, pattern) => async () => {
  const { stdout, stderr } = await run(await pathTo(program), args).catch((error) => error)
  return pattern.exec(`${stdout}${stderr}`)?.[1] ?? 'unknown'
}

/** Who syncs each job by itself gains nothing from pipelining, and would only be waited for. */
const oneByOne = { jobs_per_write: 4, writes: 1 }

/** By the names that results have. `acks`: what an answer of it promises. */
export const peers = {
  'Redis XADD': {
    program: 'redis-server', protocol: 'redis', start: redis('always'), acks: 'fsynced (appendfsync always)', version: version('redis-server', ['--version'], /v=(\S+)/),
  },
  'NATS JetStream': {
    program: 'nats-server', protocol: 'nats', start: nats, acks: 'written; synced within two minutes (2.9 has no sync_interval)', version: version('nats-server', ['--version'], /v(\d\S*)/),
  },
  beanstalkd: {
    program: 'beanstalkd', protocol: 'beanstalkd', start: beanstalkd, acks: 'fsynced, each job by itself (-f 0)', shape: oneByOne, version: version('beanstalkd', ['-v'], /beanstalkd (\S+)/),
  },
  'gearmand, memory': {
    program: 'gearmand', protocol: 'gearman', start: gearmand(() => []), acks: 'nothing', version: version('gearmand', ['--version'], /gearmand (\S+)/),
  },
  'gearmand, sqlite': {
    program: 'gearmand', protocol: 'gearman', start: gearmand((folder) => ['--queue-type=libsqlite3', `--libsqlite3-db=${join(folder, 'queue.db')}`]), acks: 'stored by SQLite, each job by itself', shape: oneByOne, version: version('gearmand', ['--version'], /gearmand (\S+)/),
  },
}

export const isInstalled = async (name) => (await pathTo(peers[name].program)) !== ''
