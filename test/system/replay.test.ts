// `usher bench replay` against a real server, and the benchmarks' load generator against one and against scripted peers: what
// they measure is only worth something when their own books are right.
import { execFile, execFileSync } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, beforeAll, describe, expect, it } from 'vitest'
import { ByteWriter } from '../../src/protocol/byte-writer.ts'
import { encodeJob } from '../../src/protocol/job-encoder.ts'
import { makeFolder, root, ServerProcess, settledAudit, usher } from '../support/usher-process.ts'

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup()
})

const startServer = async (): Promise<{ server: ServerProcess; store: string; folder: string }> => {
  const { path: folder, remove } = await makeFolder()
  cleanups.push(remove)
  const store = join(folder, 'store')
  const server = await ServerProcess.start({ config: '[log]\nlevel = "error"\n[cluster.nowhere]\ndriver = "discard"\n', store, folder })
  cleanups.push(() => server.end('SIGKILL'))
  return { server, store, folder }
}

describe('usher bench replay', () => {
  /** A job each ten seconds of the log, and a header. */
  const workload = (jobs: number): string =>
    `; Version: 2.2\n; Queue: 1 short\n${Array.from({ length: jobs }, (_, i) => [i + 1, 1000 + i * 10, 5, 60, 4, -1, -1, 4, 60, -1, 1, 1, 1, 1, 1, 1, -1, -1].join(' ')).join('\n')}\n`

  it('sends jobs at the pace of the log, and finds each once in the books', async () => {
    const { server, store, folder } = await startServer()
    const file = join(folder, 'small.swf')
    await writeFile(file, workload(51))
    const { status, stdout, stderr } = await usher(['bench', 'replay', file, '--speed', '250', '--to', server.address, '--store', store, '--json'])
    expect(status, stderr).toBe(0)
    const summary = JSON.parse(stdout.trimEnd()) as { seconds: number; latencyMs: Record<'p50' | 'p99' | 'max', number> }
    expect(summary).toMatchObject({ sent: 51, accepted: 51, refused: 0, inDoubt: 0, speed: 250 })
    expect(summary).toMatchObject({ books: { accepted: 51, submitted: 51, waiting: 0, inDoubt: 0, dead: 0, duplicates: 0, balanced: true } })
    // 500 s of the log at 250 times its pace.
    expect(summary.seconds).toBeGreaterThanOrEqual(2)
    expect(summary.latencyMs.p50).toBeGreaterThan(0)
    expect(summary.latencyMs.p99).toBeGreaterThanOrEqual(summary.latencyMs.p50)
    expect(summary.latencyMs.max).toBeGreaterThanOrEqual(summary.latencyMs.p99)
  })

  it('stops after so many jobs, tells people what it found, and refuses a line that is no job', async () => {
    const { server, store, folder } = await startServer()
    const file = join(folder, 'small.swf')
    await writeFile(file, `1 2 3\n${workload(100)}`)
    const { status, stdout, stderr } = await usher(['bench', 'replay', file, '--speed', '1e6', '--jobs', '20', '--to', server.address, '--store', store])
    expect(status, stderr).toBe(65)
    expect(stdout).toContain('21 sent: 20 accepted, 1 refused, 0 in doubt')
    expect(stdout).toMatch(/from when a job was due to its acknowledgement: p50 .* p99/)
    expect(stdout).toContain('the books of the store balance: 20 accepted, 20 submitted')
    expect(stderr).toContain('line 1: job_malformed')
  })

  it('says what is wrong with its options and its file', async () => {
    for (const speed of ['0', '-1', 'fast', '']) {
      const { status, stderr } = await usher(['bench', 'replay', 'x.swf', `--speed=${speed}`])
      expect(status).toBe(64)
      expect(stderr).toContain('--speed must be a number above 0')
    }
    const { server } = await startServer()
    const { status, stderr } = await usher(['bench', 'replay', '/nowhere/x.swf', '--to', server.address])
    expect(status).toBe(65)
    expect(stderr).toContain("/nowhere/x.swf can't be read")
  })
})

interface Loaded {
  readonly sent: number
  readonly accepted: number
  readonly refused: number
  readonly perSecond: number
  readonly latencyUs: readonly (readonly [number, number])[]
}

const load = async (...options: string[]): Promise<Loaded> => {
  const { stdout } = await promisify(execFile)(join(root, 'build-test', 'bench', 'load'), options)
  return JSON.parse(stdout) as Loaded
}

describe('the load generator', () => {
  const job = (() => {
    const out = new ByteWriter(1024)
    encodeJob(out, 1, { spec: { executable: '/bin/true', arguments: ['x'.repeat(200)] } })
    return `job=${out.take().toString('hex')}`
  })()
  beforeAll(() => {
    execFileSync('make', ['-s', '-C', join(root, 'bench', 'native')])
  })

  it.each([
    ['in closed loop', ['connections=8', 'jobs_per_write=50', 'writes=2']],
    ['with one job a write', ['connections=200', 'jobs_per_write=1', 'writes=1']],
    ['as far as credit goes', ['connections=4', 'jobs_per_write=400', 'writes=0']],
    ['in open loop', ['connections=8', 'jobs_per_write=10', 'rate=5000']],
    ['with an end', ['connections=3', 'jobs_per_write=100', 'jobs=10000', 'seconds=60']],
  ])('%s has every job accepted that it sends, and the server submits each once', async (_, options) => {
    const { server, store } = await startServer()
    const [host, port] = server.address.split(':')
    const loaded = await load(job, `host=${host}`, `port=${port}`, 'seconds=1', 'warmup=0', ...options)
    expect(loaded.sent).toBeGreaterThan(0)
    expect(loaded).toMatchObject({ accepted: loaded.sent, refused: 0 })
    if (options.includes('jobs=10000')) expect(loaded.sent).toBe(10_000)
    if (options.includes('rate=5000')) expect(loaded.sent).toBe(5000)
    expect(loaded.latencyUs.reduce((sum, [, count]) => sum + count, 0)).toBe(loaded.accepted)
    expect(await settledAudit(store)).toMatchObject({ accepted: loaded.sent, submitted: loaded.sent, duplicates: 0, balanced: true })
  })

  /** Answers as Redis does, when it is told to. */
  const scripted = async (onJobs: (socket: Socket, jobs: number) => void): Promise<string> => {
    const server = createServer((socket) => {
      socket.on('error', () => undefined)
      socket.setEncoding('latin1').on('data', (text: string) => onJobs(socket, text.split('XADD').length - 1))
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    cleanups.push(() => new Promise((resolve) => server.close(resolve)))
    return `port=${(server.address() as AddressInfo).port}`
  }
  const answer = '$3\r\n1-1\r\n'

  it('charges a server that stalls for every job that had to wait, not for the one that it held', async () => {
    let stallsUntil = 0
    const port = await scripted((socket, jobs) => {
      stallsUntil ||= performance.now() + 500
      setTimeout(() => socket.write(answer.repeat(jobs)), Math.max(0, stallsUntil - performance.now()))
    })
    const { latencyUs, accepted } = await load('protocol=redis', port, job, 'connections=1', 'jobs_per_write=1', 'rate=1000', 'seconds=1', 'warmup=0')
    expect(accepted).toBe(1000)
    const above = (us: number): number => latencyUs.reduce((sum, [edge, count]) => sum + (edge > us ? count : 0), 0)
    // 1,000 jobs a second for half a second: the last of them waits for nothing, the first for all of it.
    expect(above(250_000)).toBeGreaterThan(200)
    expect(above(50_000)).toBeGreaterThan(400)
  })

  it('ends where a job is answered twice, or one that was never sent', async () => {
    const port = await scripted((socket, jobs) => socket.write(answer.repeat(jobs + 1)))
    await expect(load('protocol=redis', port, job, 'connections=1', 'jobs_per_write=1', 'writes=1', 'seconds=1')).rejects.toThrow('an answer to a job that waits for none')
  })

  it('tells jobs that got no answer from those that did', async () => {
    let first = true
    const port = await scripted((socket, jobs) => {
      if (first) socket.write(answer.repeat(jobs - 1))
      first = false
    })
    const { sent, accepted, refused } = await load('protocol=redis', port, job, 'connections=1', 'jobs_per_write=10', 'writes=1', 'seconds=0.3', 'warmup=0', 'drain=0.2')
    expect({ sent, accepted, refused }).toEqual({ sent: 10, accepted: 9, refused: 0 })
  })
})
