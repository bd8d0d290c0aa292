// The load generator as benchmarks use it: builds it, gives it a job, and reads what it prints. bench/native/load.cpp says
// what its options mean and how it counts.
import { execFile, execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { ByteWriter } from '../dist/protocol/byte-writer.js'
import { encodeJob } from '../dist/protocol/job-encoder.js'

const root = fileURLToPath(new URL('..', import.meta.url))
const run = promisify(execFile)

/** A job of that many bytes on the wire, as real ones look; the least is some 210. */
export const benchJob = (bytes) => {
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
    const out = new ByteWriter(bytes + 1024)
    encodeJob(out, 1, { spec })
    return out.take()
  }
  // The tag and the length of an argument take two bytes more; of a long one three or four.
  const missing = bytes - encoded().length
  if (missing > 2) spec.arguments.push('x'.repeat(missing - (missing > 16_386 ? 4 : missing > 129 ? 3 : 2)))
  return { spec, encoded: encoded() }
}

/** Compiles what changed. */
export const buildNative = () => void execFileSync('make', ['-s', '-C', join(root, 'bench', 'native')], { stdio: ['ignore', 'inherit', 'inherit'] })

/** The latency in ms below which that share of jobs was answered, from buckets `[[upper edge in µs, count], …]`. */
export const latencyAt = (buckets, share) => {
  const total = buckets.reduce((sum, [, count]) => sum + count, 0)
  let seen = 0
  for (const [edge, count] of buckets) {
    seen += count
    if (seen >= total * share) return edge / 1000
  }
  return 0
}

/**
 * One run. Options: address `host:port`, jobBytes, and those of the generator by its names. Throws where an answer was
 * wrong, or where jobs were left without one.
 */
export const generate = async ({ address, jobBytes = 250, ...options }) => {
  const [host, port] = address.split(':')
  const words = Object.entries({ ...options, host, port, job: benchJob(jobBytes).encoded.toString('hex') })
  const file = join(root, 'build-test', 'bench', 'load')
  const { stdout } = await run(file, words.map(([key, value]) => `${key}=${value}`), { maxBuffer: 1 << 28 })
  const result = JSON.parse(stdout)
  if (result.accepted + result.refused !== result.sent) throw new Error(`${result.sent - result.accepted - result.refused} jobs have no answer`)
  if (result.refused > 0) throw new Error(`${result.refused} jobs were refused`)
  const { latencyUs } = result
  const at = (share) => latencyAt(latencyUs, share)
  return { ...result, latencyMs: { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: at(1) } }
}
