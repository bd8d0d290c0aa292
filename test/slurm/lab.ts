// The lab for the drivers' tests: a Slurm that is taken up before a file's tests and down after them.
import { execFile, execFileSync, spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { root } from '../unit/drivers/jobs.ts'

const program = join(root, 'test/lab/slurm-lab')

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

/** Job ids in Slurm whose comment starts with `usher <id> `. */
export const jobsOf = (id: string): string[] =>
  execFileSync('squeue', ['-a', '-h', '-t', 'all', '-o', '%i|%k'])
    .toString()
    .split('\n')
    .filter((line) => line.includes(`|usher ${id} `))
    .map((line) => line.split('|')[0] as string)

export interface ListedJob {
  readonly jobId: string
  readonly state: string
  readonly reason: string
  /** Of usher, as the comment has it: who submitted it. */
  readonly term: number
  /** To the second, as Slurm keeps it. */
  readonly submittedMs: number
}

/** usher's job ids in Slurm, by the comments of all jobs that slurmctld lists, ended ones too. */
export const jobsById = async (): Promise<Map<string, ListedJob[]>> => {
  const { stdout } = await promisify(execFile)('squeue', ['-a', '-h', '-t', 'all', '-o', '%i|%T|%r|%V|%k'], {
    maxBuffer: 2 ** 28,
    env: { ...process.env, SLURM_TIME_FORMAT: '%s' },
  })
  const jobs = new Map<string, ListedJob[]>()
  for (const line of stdout.split('\n')) {
    const [, jobId = '', state = '', reason = '', submitted = '', id = '', term = ''] =
      /^(\d+)\|(\w+)\|([^|]*)\|(\d+)\|usher (\S+) term=(\d+)/.exec(line) ?? []
    if (id === '') continue
    const job: ListedJob = { jobId, state, reason, term: Number(term), submittedMs: Number(submitted) * 1000 }
    const list = jobs.get(id)
    if (list === undefined) jobs.set(id, [job])
    else list.push(job)
  }
  return jobs
}

/** Rewritten each time slurmctld saves its jobs. */
export const stateFile = join(folder, 'state/job_state')
