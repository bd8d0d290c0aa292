// `npm run bench [-- SUITE… --rounds N --seconds S --minutes M --out FILE]`: what usher does on this machine, each number beside
// what it is compared with in the same run. `npm run bench:peers` is the same against every peer that is installed. Results
// are printed, and written as JSON and as a page of HTML (docs/benchmarks.md).
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { renderReport } from '../dist/bench/report.js'
import { buildNative } from './generator.mjs'
import { isInstalled, peers } from './peer-servers.mjs'
import { Recorder, say } from './recorder.mjs'
import { root } from './server.mjs'
import { accept, connections, latency, scaling } from './suites/accept.mjs'
import { memory, overload, soak, sustained } from './suites/endurance.mjs'
import { idle } from './suites/idle.mjs'
import { micro } from './suites/micro.mjs'
import { parsers } from './suites/parsers.mjs'

/** A program that prints its results as a line of JSON, taken over as one round. */
const fromProgram = (file, entries) => async (recorder) => {
  const stdout = execFileSync(process.execPath, [join(root, 'bench', file)], { encoding: 'utf8', maxBuffer: 1 << 26, stdio: ['ignore', 'pipe', 'inherit'] })
  const result = JSON.parse(stdout.trim().split('\n').at(-1))
  if (result.skipped !== undefined) return say(`  skipped: ${result.skipped}`)
  for (const { name, values, ...about } of entries) for (const value of values(result)) recorder.add(name, value, about)
}

const slurm = fromProgram('slurm.mjs', [
  ['usher', 'jobs/s', 'jobs that usher submits through slurmrestd, each by itself'],
  ['bare', 'jobs/s', 'bare calls of slurmrestd with the same bodies, at the best number at a time'],
  ['arrays', 'jobs/s', 'jobs that usher submits through slurmrestd as arrays'],
  ['sbatch', 'jobs/s', 'jobs by sbatch, one after the other'],
  ['usherToBare', '×', 'usher against bare calls in the same round'],
  ['arraysToSbatch', '×', 'arrays against sbatch in the same round'],
].map(([side, unit, what]) => ({ name: `slurm/${side}`, what, unit, better: 'higher', values: ({ rounds }) => rounds.map((round) => round[side]) })))
const takeover = fromProgram('takeover.mjs', ['killedMs', 'resignedMs'].flatMap((event) => ['p50', 'p99'].map((quantile) => (
  { name: `takeover/${event === 'killedMs' ? 'killed' : 'resigned'} ${quantile}`, what: "until the successor's first submission", unit: 'ms', better: 'lower', values: (result) => [result[event][quantile]] }))))

const suites = { micro, parsers, accept, connections, latency, idle, scaling, memory, soak, overload, sustained, slurm, takeover }
const usual = ['micro', 'parsers', 'accept', 'connections', 'latency', 'idle', 'scaling', 'memory', 'soak', 'overload', 'sustained']
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '4' },
    minutes: { type: 'string', default: '0.5' },
    out: { type: 'string', default: join(root, '.out', 'bench.json') },
    peers: { type: 'boolean', default: false },
  },
})
const chosen = positionals.length > 0 ? positionals : values.peers ? ['parsers', 'accept', 'connections', 'slurm'] : usual
for (const name of chosen) if (!(name in suites)) throw new Error(`no suite ${name}: there are ${Object.keys(suites).join(', ')}`)
const options = { rounds: Number(values.rounds), seconds: Number(values.seconds), minutes: Number(values.minutes), against: [] }
for (const [name, value] of Object.entries(options)) if (name !== 'against' && !(value > 0)) throw new Error(`--${name} must be a number above 0`)

buildNative()
const recorder = new Recorder()
for (const name of values.peers ? Object.keys(peers) : ['Redis XADD']) {
  if (!(await isInstalled(name))) {
    say(`${name} is not installed (bench/peers-install installs all peers)`)
    continue
  }
  recorder.peer(name, await peers[name].version())
  options.against.push(name)
}
for (const name of chosen) {
  await recorder.suite(name, (into) => suites[name](into, options))
  // After each: what was measured isn't lost with what comes later.
  recorder.write(values.out)
}
const page = values.out.replace(/\.json$/, '') + '.html'
writeFileSync(page, renderReport(recorder.results()))
say(`\nwritten to ${values.out} and ${page}`)
