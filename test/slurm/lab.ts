// The lab for the drivers' tests: a Slurm that is taken up before a file's tests and down after them.
import { execFileSync, spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { root } from '../unit/drivers/jobs.ts'

const program = join(root, 'test/lab/slurm-lab')

export type LabVerb = 'install' | 'up' | 'crash' | 'start' | 'pause' | 'resume' | 'down'

export const lab = (verb: LabVerb): void => {
  const result = spawnSync('bash', [program, verb], { stdio: ['ignore', 'ignore', 'pipe'] })
  if (result.status !== 0) throw new Error(`slurm-lab ${verb}: ${result.stderr.toString()}`)
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

/** Rewritten each time slurmctld saves its jobs. */
export const stateFile = join(folder, 'state/job_state')
