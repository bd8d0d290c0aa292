// Submitting to a real Slurm: usher through slurmrestd, from jobs that wait on its store to their receipts, against a loop of
// `sbatch --wrap` of the same jobs. Rounds alternate, each against a Slurm without jobs, so that neither finds it slower
// than the other. All jobs have a begin time far away: what is measured is submitting, not running them.
//
// node bench/slurm.mjs ['{"jobs":1000,"rounds":3,"in_flight":8}']
// prints a line of JSON: {"usherPerSecond":…,"sbatchPerSecond":…,"ratio":…,"rounds":[…]}, or {"skipped":"…"}
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { Client } from '../dist/client/client.js'
import { DirectoryStore } from '../dist/store/directory-store.js'
import { readHistory } from '../dist/submit/history.js'
import { countOf } from '../dist/submit/records.js'
import { root, run, startServer } from './server.mjs'

const options = { jobs: 1000, rounds: 3, ...JSON.parse(process.argv[2] ?? '{}') }
const labFolder = process.env.SLURM_LAB ?? '/tmp/slurm-lab'
const socket = `${labFolder}/rest/slurmrestd.sock`
const begin = '2035-01-01T00:00:00'

const lab = (verb) => {
  const { status, stderr } = spawnSync('bash', [join(root, 'test', 'lab', 'slurm-lab'), verb], { stdio: ['ignore', 'ignore', 'pipe'] })
  if (status !== 0) throw new Error(`slurm-lab ${verb}: ${stderr}`)
}

const listedJobs = async () => {
  const { stdout } = await run('squeue', ['-a', '-h', '-t', 'all', '-o', '%i'], { maxBuffer: 1 << 26 })
  return stdout.split('\n').filter((line) => line !== '').length
}

/** Each side must have given Slurm every job. */
const checked = async (side, jobs) => {
  const listed = await listedJobs()
  if (listed !== jobs) throw new Error(`${side}: Slurm has ${listed} jobs of ${jobs}`)
}

const job = {
  name: 'bench',
  executable: '/bin/true',
  directory: '/tmp',
  inherit_environment: false,
  attributes: { duration: '600 s', custom_attributes: { 'slurm.begin': begin } },
}

/** What the ledger knows of the submissions: when the first was intended, when the last receipt was written, and how many there are. */
const ledgerOf = async (store) => {
  let first = Infinity
  let last = 0
  let receipts = 0
  await readHistory(new DirectoryStore(store), { everything: true, onRecord: (record) => {
    const at = Date.parse(record.at)
    if (record.k === 'intent') first = Math.min(first, at)
    if (record.k !== 'receipt') return
    receipts += countOf(record.jobs)
    last = Math.max(last, at)
  } })
  return { receipts, seconds: (last - first) / 1000 }
}

/** A cluster without jobs, and a munged without the credentials of the rounds before: it keeps each for five minutes, and slows down with them. */
const freshLab = () => {
  lab('down')
  spawnSync('munged', ['--stop'], { stdio: 'ignore' })
  lab('up')
}

const usherRound = async () => {
  freshLab()
  const inFlight = options.in_flight === undefined ? '' : `in_flight = ${options.in_flight}\n`
  const server = await startServer(`[cluster.slurm]\ndriver = "slurm"\nurl = "unix:${socket}"\n${inFlight}`)
  const client = new Client({ addresses: server.address, timeoutMs: 60_000 })
  try {
    await Promise.all(Array.from({ length: options.jobs }, () => client.send(job)))
    const until = Date.now() + 120_000
    for (;;) {
      const { receipts, seconds } = await ledgerOf(server.store)
      if (receipts >= options.jobs) {
        await checked('usher', options.jobs)
        return options.jobs / seconds
      }
      if (Date.now() > until) throw new Error(`usher: ${receipts} receipts of ${options.jobs} jobs after two minutes`)
      // Looking costs CPU that is measured: seldom.
      await new Promise((resolve) => setTimeout(resolve, 500))
    }
  } finally {
    await client.close()
    await server.stop()
  }
}

const sbatchRound = async () => {
  freshLab()
  const loop = 'for ((i = 0; i < $1; i++)); do sbatch --parsable -J bench -D /tmp -o /dev/null -e /dev/null -t 10 --begin="$2" --export=NONE --wrap /bin/true || exit; done'
  const begun = performance.now()
  await run('bash', ['-c', loop, 'loop', `${options.jobs}`, begin], { maxBuffer: 1 << 26 })
  const seconds = (performance.now() - begun) / 1000
  await checked('sbatch', options.jobs)
  return options.jobs / seconds
}

const skip = (reason) => process.stdout.write(`${JSON.stringify({ skipped: reason })}\n`)

const main = async () => {
  for (const program of ['slurmctld', 'slurmd', 'slurmrestd', 'munged', 'sbatch']) {
    const { status } = spawnSync('sh', ['-c', `PATH=$PATH:/usr/sbin:/sbin; command -v ${program}`], { stdio: 'ignore' })
    if (status !== 0) return skip(`${program} isn't installed: run test/lab/slurm-lab install`)
  }
  if (process.getuid?.() !== 0) return skip('the lab runs as root')
  const rounds = []
  try {
    for (let round = 0; round < options.rounds; round += 1) {
      const sides = { usher: usherRound, sbatch: sbatchRound }
      const result = {}
      // Who begins changes with the round.
      for (const side of round % 2 === 0 ? ['usher', 'sbatch'] : ['sbatch', 'usher']) result[side] = await sides[side]()
      rounds.push({ usherPerSecond: result.usher, sbatchPerSecond: result.sbatch, ratio: result.usher / result.sbatch })
    }
  } finally {
    lab('down')
  }
  const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]
  const of = (name) => median(rounds.map((round) => round[name]))
  const usherPerSecond = of('usherPerSecond')
  const sbatchPerSecond = of('sbatchPerSecond')
  process.stdout.write(`${JSON.stringify({ usherPerSecond, sbatchPerSecond, ratio: of('ratio'), rounds })}\n`)
}

await main()
