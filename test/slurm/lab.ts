// The lab for the drivers' tests: a Slurm that is taken up before a file's tests and down after them.
import { execFile, execFileSync, spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { idsInComment } from '../../src/submit/drivers/slurm-comment.ts'
import { root } from '../unit/drivers/jobs.ts'

const program = join(root, 'test/lab/slurm-lab')

// As it comes, slurmctld starts what waits in small portions, up to a minute apart: nothing that a test is about.
process.env['SLURM_LAB_SCHEDULER'] ??= 'sched_interval=2,default_queue_depth=1000'

export type LabVerb = 'install' | 'up' | 'crash' | 'start' | 'pause' | 'resume' | 'down'

export const lab = (verb: LabVerb): void => {
  const result = spawnSync('bash', [program, verb], { stdio: ['ignore', 'ignore', 'pipe'] })
  if (result.status !== 0) throw new Error(`slurm-lab ${verb}: ${result.stderr.toString()}`)
}

/** The same while other things of the test go on. */
export const labAside = async (verb: LabVerb): Promise<void> => {
  // The controller that `start` leaves behind must not hold a pipe of ours.
  await promisify(execFile)('bash', ['-c', '"$0" "$1" >/dev/null 2>&1', program, verb])
}

const folder = process.env['SLURM_LAB'] ?? '/tmp/slurm-lab'

export const labUrl = `unix:${folder}/rest/slurmrestd.sock`

/** What slurmctld knows of a job, as `scontrol show job` prints it. */
export const showJob = (jobId: string): Record<string, string> => {
  const text = execFileSync('scontrol', ['show', 'job', jobId]).toString()
  const fields: Record<string, string> = {}
  for (const match of text.matchAll(/(?:^|\s)([A-Za-z][\w:/]*)=(.*?)(?=\s+[A-Z][\w:/]*=|\n|$)/g))
    fields[match[1] as string] = (match[2] as string).trim()
  return fields
}

export interface ListedJob {
  /** Of a task of an array ARRAY_INDEX. */
  readonly jobId: string
  /** The number of its own that a task gets when it begins to run; before that, of the array. */
  readonly number: string
  readonly state: string
  readonly reason: string
  /** Of usher, as the comment has it: who submitted it. */
  readonly term: number
  /** To the second, as Slurm keeps it. */
  readonly submittedMs: number
}

// Every task of an array has a line.
const listing = ['-r', '-a', '-h', '-t', 'all', '-o', '%F|%K|%A|%T|%r|%V|%k']

/** usher's id and what Slurm says of it; null for lines of others. */
const listedOf = (line: string): [string, ListedJob] | null => {
  const [, array = '', task = '', number = '', state = '', reason = '', submitted = '', comment = ''] =
    /^(\d+)\|([^|]*)\|(\d+)\|(\w+)\|([^|]*)\|([^|]*)\|(.*)$/.exec(line) ?? []
  const ids = idsInComment(comment)
  const isTask = /^\d+$/.test(task)
  if (ids.length === 0 || isTask !== ids.length > 1) return null
  const term = Number(/ term=(\d+)/.exec(comment)?.[1])
  const jobId = isTask ? `${array}_${task}` : array
  return [ids[isTask ? Number(task) : 0]!, { jobId, number, state, reason, term, submittedMs: Number(submitted) * 1000 }]
}

/** Job ids in Slurm of the job with that id of usher's. */
export const jobsOf = (id: string): string[] =>
  execFileSync('squeue', listing, { maxBuffer: 2 ** 28 })
    .toString()
    .split('\n')
    .map(listedOf)
    .flatMap((found) => (found?.[0] === id ? [found[1].jobId] : []))

/** usher's job ids in Slurm, by the comments of all jobs that slurmctld lists, ended ones too. */
export const jobsById = async (): Promise<Map<string, ListedJob[]>> => {
  const { stdout } = await promisify(execFile)('squeue', listing, { maxBuffer: 2 ** 28, env: { ...process.env, SLURM_TIME_FORMAT: '%s' } })
  const jobs = new Map<string, ListedJob[]>()
  for (const line of stdout.split('\n')) {
    const found = listedOf(line)
    if (found === null) continue
    const list = jobs.get(found[0])
    if (list === undefined) jobs.set(found[0], [found[1]])
    else list.push(found[1])
  }
  return jobs
}

/** Rewritten each time slurmctld saves its jobs. */
export const stateFile = join(folder, 'state/job_state')
