// Submitting to a real Slurm: usher through slurmrestd, from jobs that wait on its store to their receipts, each job by itself and as
// arrays; against bare calls of slurmrestd with the same bodies, at the number of calls at a time that is the best here, and
// against a loop of `sbatch --wrap` of the same jobs. Rounds alternate, each against a Slurm without jobs, so that none finds it
// slower than another. All jobs have a begin time far away: what is measured is submitting, not running them.
//
// node bench/slurm.mjs ['{"jobs":1000,"arrayJobs":20000,"rounds":3,"in_flight":8,"calls":[1,2,4,8,16,32]}']
// prints a line of JSON: medians of jobs/s by side, {"usher":…,"arrays":…,"bare":…,"sbatch":…}, ratios in the same round, the
// best number of bare calls, and all rounds; or {"skipped":"…"}
import { spawnSync } from 'node:child_process'
import http from 'node:http'
import { join } from 'node:path'
import { Client } from '../dist/client/client.js'
import { DirectoryStore } from '../dist/store/directory-store.js'
import { readHistory } from '../dist/submit/history.js'
import { slurmJob } from '../dist/submit/drivers/slurm-job.js'
import { submissionBody } from '../dist/submit/drivers/slurm-rest-shapes.js'
import { countOf } from '../dist/submit/records.js'
import { root, run, startServer } from './server.mjs'

const options = { jobs: 1000, arrayJobs: 20_000, rounds: 3, calls: [1, 2, 4, 8, 16, 32], ...JSON.parse(process.argv[2] ?? '{}') }
const labFolder = process.env.SLURM_LAB ?? '/tmp/slurm-lab'
const socket = `${labFolder}/rest/slurmrestd.sock`
const begin = '2035-01-01T00:00:00'

const lab = (verb) => {
  const { status, stderr } = spawnSync('bash', [join(root, 'test', 'lab', 'slurm-lab'), verb], { stdio: ['ignore', 'ignore', 'pipe'] })
  if (status !== 0) throw new Error(`slurm-lab ${verb}: ${stderr}`)
}

const listedJobs = async () => {
  const { stdout } = await run('squeue', ['-r', '-a', '-h', '-t', 'all', '-o', '%i'], { maxBuffer: 1 << 26 })
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

const usherRound = async (jobs, arrayJobs) => {
  freshLab()
  const inFlight = options.in_flight === undefined ? '' : `in_flight = ${options.in_flight}\n`
  const server = await startServer(`[cluster.slurm]\ndriver = "slurm"\nurl = "unix:${socket}"\narray_jobs = ${arrayJobs}\n${inFlight}`)
  const client = new Client({ addresses: server.address, timeoutMs: 60_000 })
  try {
    await Promise.all(Array.from({ length: jobs }, () => client.send(job)))
    const until = Date.now() + 120_000
    for (;;) {
      const { receipts, seconds } = await ledgerOf(server.store)
      if (receipts >= jobs) {
        await checked('usher', jobs)
        return jobs / seconds
      }
      if (Date.now() > until) throw new Error(`usher: ${receipts} receipts of ${jobs} jobs after two minutes`)
      // Looking costs CPU that is measured: seldom.
      await new Promise((resolve) => setTimeout(resolve, 500))
    }
  } finally {
    await client.close()
    await server.stop()
  }
}

/** The bodies that usher would post, over as many kept-alive sockets as there are calls at a time; nothing is written down. */
const bareRound = async (jobs, calls) => {
  freshLab()
  const agent = new http.Agent({ keepAlive: true, maxSockets: calls, maxFreeSockets: calls })
  const path = '/slurm/v0.0.38/job/submit'
  const post = (body) =>
    new Promise((resolve, reject) => {
      const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }
      const request = http.request({ socketPath: socket, agent, method: 'POST', path, headers }, (response) => {
        let text = ''
        response.on('data', (chunk) => (text += chunk))
        response.on('end', () => (JSON.parse(text).job_id > 0 ? resolve() : reject(new Error(text))))
      })
      request.on('error', reject)
      request.end(body)
    })
  const frame = { origin: { term: 1, host: 'bench' }, hold: false, directory: '/tmp', environment: {} }
  const bodies = Array.from({ length: jobs }, (_, at) => {
    const described = slurmJob({ id: `00000000000000aa-${at}`, spec: job, specJson: JSON.stringify(job), traceparent: undefined }, frame)
    return submissionBody(described, { name: 'v0.0.38', number: 38 }).body
  })
  const begun = performance.now()
  let next = 0
  await Promise.all(Array.from({ length: calls }, async () => {
    while (next < jobs) await post(bodies[next++])
  }))
  const seconds = (performance.now() - begun) / 1000
  agent.destroy()
  await checked('slurmrestd', jobs)
  return jobs / seconds
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
  const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]
  const rounds = []
  const byCalls = {}
  let bestCalls = 0
  try {
    // Each twice, there and back: the machine may become slower meanwhile.
    for (const calls of [...options.calls, ...options.calls.toReversed()]) (byCalls[calls] ??= []).push(await bareRound(options.jobs, calls))
    const mean = (calls) => byCalls[calls].reduce((sum, value) => sum + value, 0)
    bestCalls = options.calls.toSorted((a, b) => mean(b) - mean(a))[0]
    const sides = [
      ['usher', () => usherRound(options.jobs, 1)],
      ['bare', () => bareRound(options.jobs, bestCalls)],
      ['arrays', () => usherRound(options.arrayJobs, 1000)],
      ['sbatch', sbatchRound],
    ]
    for (let round = 0; round < options.rounds; round += 1) {
      const result = {}
      // Who begins changes with the round.
      for (let at = 0; at < sides.length; at += 1) {
        const [side, measure] = sides[(round + at) % sides.length]
        result[side] = await measure()
      }
      rounds.push({ ...result, usherToBare: result.usher / result.bare, arraysToSbatch: result.arrays / result.sbatch, usherToSbatch: result.usher / result.sbatch })
      process.stderr.write(`${JSON.stringify(rounds.at(-1))}\n`)
    }
  } finally {
    lab('down')
  }
  const medians = Object.fromEntries(Object.keys(rounds[0]).map((name) => [name, median(rounds.map((round) => round[name]))]))
  process.stdout.write(`${JSON.stringify({ ...medians, bestCalls, byCalls, rounds })}\n`)
}

await main()
