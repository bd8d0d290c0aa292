// Slurm through its own commands, where there is no slurmrestd. Slower: a process for each submission. sbatch can print
// a job id and an error together, and can give up waiting for a job that was taken; both are read for what they are.
import type { Outcome, Preflight } from '../driver.ts'
import { defaultPath } from './job-environment.ts'
import { excerpt } from './job-message.ts'
import { type ProgramEnd, runProgram } from './program.ts'
import type { SlurmCluster } from './slurm-cluster.ts'
import { outcomeOfText } from './slurm-errors.ts'
import { idsInComment } from './slurm-comment.ts'
import { selfContainedScript, type SlurmJob } from './slurm-job.ts'
import { JobLineScanner, type ListedJob } from './slurm-listing.ts'

export class SlurmCommands implements SlurmCluster {
  readonly #timeoutMs: number
  /** What the commands themselves need of usher's environment. */
  readonly #environment: Record<string, string>

  constructor(timing: { timeoutMs: number }) {
    this.#timeoutMs = timing.timeoutMs
    const { PATH, SLURM_CONF, HOME, USER, KRB5CCNAME } = process.env
    const kept = { PATH: PATH ?? defaultPath, SLURM_CONF, HOME, USER, KRB5CCNAME, LC_ALL: 'C.UTF-8' }
    this.#environment = Object.fromEntries(
      Object.entries(kept).filter((entry): entry is [string, string] => entry[1] !== undefined),
    )
  }

  async preflight(signal: AbortSignal): Promise<Preflight> {
    const ping = await this.#run(['scontrol', 'ping'], signal)
    if (ping.kind !== 'exited' || ping.code !== 0) return { ok: false, kind: kindOf(ping), reason: `scontrol ping: ${describe(ping)}` }
    const partitions = await this.#run(['sinfo', '-h', '-a', '-o', '%R'], signal)
    if (partitions.kind !== 'exited' || partitions.code !== 0) return { ok: false, kind: kindOf(partitions), reason: `sinfo: ${describe(partitions)}` }
    const names = new Set(partitions.stdout.split('\n').filter((name) => name !== ''))
    if (names.size === 0) return { ok: false, kind: 'refused', reason: 'Slurm shows no partition to this user' }
    // Says whether slurmctld would take a job from this user, without giving it one.
    const test = await runProgram(
      {
        argv: ['sbatch', '--test-only', '-o', '/dev/null', '-D', '/'],
        stdin: '#!/bin/sh\ntrue\n',
        environment: this.#environment,
        timeoutMs: this.#timeoutMs,
      },
      signal,
    )
    if (test.kind === 'exited' && test.code !== 0) {
      // A default partition that is missing or full, or an account that each job names, is no fault of this host.
      if (/Access\/permission denied|authentication|Invalid user id/i.test(test.stderr))
        return { ok: false, kind: 'refused', reason: `sbatch --test-only: ${describe(test)}` }
    } else if (test.kind !== 'exited') return { ok: false, kind: kindOf(test), reason: `sbatch --test-only: ${describe(test)}` }
    return { ok: true, detail: `sbatch, ${names.size} partition${names.size === 1 ? '' : 's'}` }
  }

  async submit(job: SlurmJob, signal: AbortSignal): Promise<Outcome> {
    const argv = ['sbatch', '--parsable']
    for (const [name, value] of job.options) {
      if (value === true) argv.push(`--${name}`)
      else if (value === false) argv.push(`--no-${name}`)
      else argv.push(`--${name}=${value}`)
    }
    const inherited = Object.fromEntries(Object.entries(job.inherited).filter(([name]) => !name.startsWith('LD_')))
    const environment = {
      ...inherited,
      PATH: this.#environment['PATH'] ?? defaultPath,
      ...(this.#environment['SLURM_CONF'] === undefined ? {} : { SLURM_CONF: this.#environment['SLURM_CONF'] }),
    }
    const script = selfContainedScript(job)
    const end = await runProgram(
      { argv: [...argv, '--export=ALL'], stdin: script, environment, timeoutMs: this.#timeoutMs },
      signal,
    )
    if (end.kind === 'unstarted') return { kind: 'later', reason: `sbatch: ${end.reason}` }
    // stdout and the status each for itself: with an id there is a job, whatever else was said.
    const jobId = /^(\d+)(?:;.*)?$/m.exec(end.stdout)?.[1]
    if (jobId !== undefined) {
      const detail = excerpt(end.stderr)
      return { kind: 'submitted', jobId, ...(detail === '' ? {} : { detail }) }
    }
    if (end.kind === 'killed') return { kind: 'doubt', reason: `sbatch: ${describe(end)}` }
    const known = outcomeOfText(end.stderr)
    if (known !== undefined) return known
    // sbatch checks its options before it asks anyone.
    if (
      /sbatch: (unrecognized option|invalid|error: (Invalid|invalid|Bad|Memory specification))/i.test(end.stderr) &&
      !/Batch job submission failed/.test(end.stderr)
    ) {
      return { kind: 'refused', reason: `sbatch: ${describe(end)}` }
    }
    return { kind: 'doubt', reason: `sbatch: ${describe(end)}` }
  }

  async list(onJob: (job: ListedJob) => void, signal: AbortSignal): ReturnType<SlurmCluster['list']> {
    const scanner = new JobLineScanner(onJob)
    const end = await runProgram(
      {
        argv: ['squeue', '-a', '-h', '-t', 'all', '-o', '%F|%k'],
        environment: this.#environment,
        timeoutMs: Math.max(this.#timeoutMs, 120_000),
        onData: (chunk) => scanner.push(chunk),
      },
      signal,
    )
    if (end.kind !== 'exited' || end.code !== 0 || end.stderr.trim() !== '')
      return { complete: false, reason: `squeue: ${describe(end)}` }
    return scanner.complete ? { complete: true } : { complete: false, reason: "squeue's list is not whole" }
  }

  async release(jobs: readonly { id: string; jobId: string }[], signal: AbortSignal): Promise<('done' | 'gone' | 'later')[]> {
    const states = new Map<string, { comment: string; reason: string }>()
    // One listing for all of them: a job that isn't there any more must not fail the question for the others.
    const end = await this.#run(['squeue', '-a', '-h', '-t', 'all', '-o', '%i|%r|%k'], signal, 256 * 1024 * 1024)
    if (end.kind !== 'exited' || end.code !== 0 || end.stderr.trim() !== '') return jobs.map(() => 'later')
    for (const line of end.stdout.split('\n')) {
      const [jobId = '', reason = '', ...comment] = line.split('|')
      states.set(jobId, { comment: comment.join('|').trim(), reason })
    }
    const answers = jobs.map((job): 'done' | 'gone' | 'held' => {
      const state = states.get(job.jobId)
      if (state === undefined || !idsInComment(state.comment).includes(job.id)) return 'gone'
      return state.reason.startsWith('JobHeld') ? 'held' : 'done'
    })
    const held = jobs.filter((_, at) => answers[at] === 'held').map((job) => job.jobId)
    let released = true
    for (let at = 0; at < held.length; at += 500) {
      const release = await this.#run(['scontrol', 'release', held.slice(at, at + 500).join(',')], signal)
      released &&= release.kind === 'exited' && release.code === 0
    }
    return answers.map((answer) => (answer === 'held' ? (released ? 'done' : 'later') : answer))
  }

  async uptimeMs(signal: AbortSignal): Promise<number | undefined> {
    const end = await this.#run(['sdiag'], signal)
    if (end.kind !== 'exited' || end.code !== 0) return undefined
    const now = /^sdiag output at .*\((\d+)\)$/m.exec(end.stdout)?.[1]
    const start = /^Data since .*\((\d+)\)$/m.exec(end.stdout)?.[1]
    // 0 for a moment after slurmctld's start: it has not begun to count.
    if (now === undefined || start === undefined || Number(start) === 0) return undefined
    return Math.max(0, Number(now) - Number(start)) * 1000
  }

  /** MinJobAge, MaxArraySize and whether slurmdbd keeps comments, of slurmctld's configuration; undefined where it can't be asked. */
  async configuration(signal: AbortSignal): Promise<{ minJobAgeS: number; arrayJobsMax: number; keepsComments: boolean } | undefined> {
    const end = await this.#run(['scontrol', 'show', 'config'], signal)
    if (end.kind !== 'exited' || end.code !== 0) return undefined
    const value = (name: string): string => new RegExp(`^${name}\\s*=\\s*(.*)$`, 'm').exec(end.stdout)?.[1]?.trim() ?? ''
    const age = /^(\d+)/.exec(value('MinJobAge'))?.[1]
    if (age === undefined) return undefined
    const keepsComments =
      value('AccountingStorageType') === 'accounting_storage/slurmdbd' && /job_comment/.test(value('AccountingStoreFlags'))
    // Tasks are counted from 0, so the greatest number is one less than this.
    const arrayJobsMax = Number(/^(\d+)/.exec(value('MaxArraySize'))?.[1] ?? 1001)
    return { minJobAgeS: Number(age), arrayJobsMax, keepsComments }
  }

  /** Jobs of slurmdbd, which knows those that slurmctld has dropped. */
  async accounted(sinceDays: number, onJob: (job: ListedJob) => void, signal: AbortSignal): Promise<boolean> {
    const scanner = new JobLineScanner(onJob)
    const argv = ['sacct', '-a', '-X', '-n', '-P', '-D', '-S', `now-${sinceDays}days`, '--delimiter=|', '-o', 'JobID,Comment']
    const end = await runProgram(
      {
        argv,
        environment: this.#environment,
        timeoutMs: Math.max(this.#timeoutMs, 120_000),
        onData: (chunk) => scanner.push(chunk),
      },
      signal,
    )
    return end.kind === 'exited' && end.code === 0 && scanner.complete
  }

  #run(argv: readonly string[], signal: AbortSignal, outputBytesMax = 1024 * 1024): Promise<ProgramEnd> {
    return runProgram({ argv, environment: this.#environment, timeoutMs: this.#timeoutMs, outputBytesMax }, signal)
  }

  close(): void {}
}

const describe = (end: ProgramEnd): string => {
  if (end.kind === 'unstarted') return end.reason
  const said = excerpt(end.stderr) || excerpt(end.stdout)
  const what = end.kind === 'exited' ? `exited with ${end.code}` : end.reason
  return said === '' ? what : `${what}: ${said}`
}

/** A program that isn't here is a matter of this host; one that fails most often has a slurmctld that doesn't answer. */
const kindOf = (end: ProgramEnd): 'refused' | 'unreachable' => (end.kind === 'unstarted' ? 'refused' : 'unreachable')
