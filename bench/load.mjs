// Load on a server from a process of its own (bench/load.cpp, compiled when it is needed), and the jobs that it sends.
//
// node bench/load.mjs '{"address":"127.0.0.1:7433","connections":50,"jobsPerFrame":400,"seconds":10,"jobBytes":250}'
// prints a line of JSON: {"sent":…,"accepted":…,"refused":…,"seconds":…,"latencyMs":{…},"perSecond":[…]}
import { execFile } from 'node:child_process'
import { mkdir, rename, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { encodeJob } from '../dist/protocol/job-encoder.js'
import { ByteWriter } from '../dist/protocol/byte-writer.js'

const root = fileURLToPath(new URL('..', import.meta.url))
const run = promisify(execFile)

/** A job of that size on the wire, as real ones look. */
const benchJob = (bytes) => {
  const spec = {
    name: 'simulate-detector',
    executable: '/opt/lab/bin/simulate',
    arguments: ['--events', '25000', '--geometry', 'run3/barrel.xml', '--seed', '4711'],
    directory: '/home/jane/runs/0815',
    environment: { OMP_NUM_THREADS: '8' },
    resources: { __version: 1, node_count: 1, process_count: 8, memory: 17179869184 },
    attributes: { duration: '7200 s', queue_name: 'long', account: 'hep' },
  }
  const encoded = () => {
    const out = new ByteWriter(1024)
    encodeJob(out, 1, { spec })
    return out.take()
  }
  const missing = bytes - encoded().length
  if (missing > 0) spec.arguments.push('x'.repeat(Math.max(0, missing - 2)))
  return encoded()
}

const sources = ['bench/load.cpp', ...['clock', 'crc32c', 'text'].map((name) => `native/core/${name}.cpp`)].map((name) => join(root, name))

/** Compiles the generator where it is missing or older than its sources. */
const generator = async () => {
  const program = join(root, 'build-test', 'bench', 'load')
  const madeMs = await stat(program).then(({ mtimeMs }) => mtimeMs, () => 0)
  const changed = await Promise.all(sources.map(async (name) => (await stat(name)).mtimeMs))
  if (Math.max(...changed) > madeMs) {
    await mkdir(join(root, 'build-test', 'bench'), { recursive: true })
    await run(process.env.CXX ?? 'c++', ['-std=c++20', '-O2', '-o', `${program}.${process.pid}`, ...sources])
    await rename(`${program}.${process.pid}`, program)
  }
  return program
}

/**
 * Runs the generator and gives its result. `rate`: jobs a second of all connections, whatever is answered; 0: as many as are
 * taken. `framesMax`: frames that a connection sends before the first is answered.
 */
export const load = async (options) => {
  const { address, connections, jobsPerFrame, jobBytes, seconds, jobs, windowBytes, framesMax, rate } = {
    connections: 50, jobsPerFrame: 400, seconds: 10, jobs: 0, jobBytes: 250, windowBytes: 1 << 20, framesMax: 1e9, rate: 0, ...options,
  }
  const [host, port] = address.split(':')
  // What stands before the fields, the length and the sequence, is the generator's.
  const fields = benchJob(jobBytes).subarray(12).toString('hex')
  const numbers = [connections, jobsPerFrame, seconds, jobs, windowBytes, framesMax, rate]
  const { stdout } = await run(await generator(), [host, port, ...numbers.map(String), fields], { maxBuffer: 1 << 26 })
  return JSON.parse(stdout)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) process.stdout.write(`${JSON.stringify(await load(JSON.parse(process.argv[2] ?? '{}')))}\n`)
