// Jobs that differ only in what they run with, as one Slurm array: which jobs are alike, how many fit, and the script that gives
// each task its own. Pure. Arguments and values may hold anything but NUL: every word is quoted, and none is ever parsed again.
import { partsOfJobId } from '../../protocol/job-id.ts'
import type { Origin, Submission } from '../driver.ts'
import { shellWord } from './job-environment.ts'
import { commentBytesMax, commentOf } from './slurm-comment.ts'
import { commandOf, exportable, scriptOf } from './slurm-job.ts'
import type { OptionValue, SlurmJob } from './slurm-job.ts'

/** Each task that starts is sent all of the script. */
export const tableBytesMax = 128 * 1024

/** Bash gives them a meaning of its own, or doesn't let them be set; Slurm sets its own for each task. */
const special =
  /^(?:_|U?ID|EUID|PPID|GROUPS|DIRSTACK|FUNCNAME|RANDOM|SRANDOM|SECONDS|LINENO|HISTCMD|EPOCH\w*|IFS|POSIXLY_CORRECT|SHELLOPTS|BASH\w*|SLURM_\w*|usher_\w*)$/
/** What says something else of an array than of a job. */
const notForArrays = /^slurm\.(?:dependency|mail[-_]type|mail[-_]user)$/
/** Slurm replaces patterns in the paths of streams; these two mean the array and its task, so that a job alone has others. */
const pattern = /[%\\]/
const ofArrays = /%\d*[Aa]/

/** Two jobs with one key can be tasks of one array; null: this one can't be a task of any. */
export const arrayKey = ({ spec }: Submission): string | null => {
  if (Object.keys(spec.environment ?? {}).some((name) => special.test(name))) return null
  if (Object.keys(spec.attributes?.custom_attributes ?? {}).some((name) => notForArrays.test(name))) return null
  const streams = [spec.stdin_path, spec.stdout_path, spec.stderr_path]
  if (streams.some((path) => path !== undefined && ofArrays.test(path))) return null
  const fixed = streams.map((path) => (path !== undefined && pattern.test(path) ? path : path !== undefined))
  const { name, executable, directory, inherit_environment: inherit, launcher, pre_launch: pre, post_launch: post } = spec
  return JSON.stringify([name, executable, directory, inherit, launcher, pre, post, fixed, spec.resources, spec.attributes])
}

/** Whether one job more still goes with those before: an estimate that is never too low for the comment. */
export const beginFitting = (host: string): ((job: Submission) => boolean) => {
  let commentBytes = `usher  term=${Number.MAX_SAFE_INTEGER} host=${host}`.length
  let tableBytes = 0
  const lastOf = new Map<string, bigint>()
  return (job) => {
    const { producer, sequence } = partsOfJobId(job.id)
    const last = lastOf.get(producer)
    const digits = job.id.length - 17
    const more = last !== undefined && sequence === last + 1n ? 0 : digits + (last === undefined ? 18 : 1) + '+999999'.length
    const bytes = job.specJson.length
    if (lastOf.size > 0 && (commentBytes + more > commentBytesMax || tableBytes + bytes > tableBytesMax)) return false
    commentBytes += more
    tableBytes += bytes
    lastOf.set(producer, sequence)
    return true
  }
}

const streams = [
  { option: 'input', redirect: '<' },
  { option: 'output', redirect: '>' },
  { option: 'error', redirect: '2>' },
] as const

const taskVariables = ['JOB_ID', 'TASK_ID', 'TASK_COUNT', 'TASK_MAX', 'TASK_MIN', 'TASK_STEP'].map((name) => `SLURM_ARRAY_${name}`)

/** One task of an array: the job, and what it would be alone. */
export interface Task {
  readonly job: Submission
  readonly alone: SlurmJob
}

/** Jobs of one key, in the order of their tasks, as an array. */
export const slurmArray = (tasks: readonly Task[], origin: Pick<Origin, 'term' | 'host'>): SlurmJob => {
  const [first] = tasks as [Task]
  const differ = (of: (task: Task) => unknown): boolean => tasks.some((task) => of(task) !== of(first))
  const ownCommand = differ(({ job }) => words(commandOf(job.spec)))
  const ownEnvironment = differ(({ job }) => JSON.stringify(job.spec.environment ?? {}))
  const ownStreams = streams.filter(({ option }) => differ(({ alone }) => alone.options.get(option)))

  const options = new Map<string, OptionValue>(first.alone.options)
  options.set('comment', commentOf(tasks.map(({ job }) => job.id), origin))
  options.set('array', `0-${tasks.length - 1}`)
  for (const { option } of ownStreams) options.set(option, '/dev/null')

  const lines = ['#!/bin/bash']
  if (ownCommand || ownEnvironment || ownStreams.length > 0) {
    lines.push('case $SLURM_ARRAY_TASK_ID in')
    for (const [at, { job, alone }] of tasks.entries()) {
      const own: string[] = []
      if (ownEnvironment) {
        const named = Object.entries(job.spec.environment ?? {}).filter(([name]) => exportable.test(name))
        if (named.length > 0) own.push(`export ${named.map(([name, value]) => `${name}=${shellWord(value)}`).join(' ')}`)
      }
      for (const { option } of ownStreams) own.push(`usher_${option}=${shellWord(String(alone.options.get(option)))}`)
      if (ownCommand) own.push(`usher_command=(${words(commandOf(job.spec))})`)
      lines.push(`${at}) ${own.length === 0 ? ':' : own.join('; ')} ;;`)
    }
    // Whatever number this is, no job has it.
    lines.push('*) exit 70 ;;', 'esac')
  }
  for (const { option, redirect } of ownStreams) {
    // Two streams into one file must not write over each other.
    const shared = option === 'error' && ownStreams.some((other) => other.option === 'output')
    const open = `exec ${redirect}"$usher_${option}" || exit`
    lines.push(shared ? `if [ "$usher_error" = "$usher_output" ]; then exec 2>&1; else ${open}; fi` : open)
  }
  // What was sent as a job by itself can't tell that it is one of many.
  lines.push(`unset ${taskVariables.join(' ')}`)
  const command = ownCommand ? '"${usher_command[@]}"' : words(commandOf(first.job.spec))
  const script = scriptOf(first.job.spec, first.alone.processes, command)
  // The tasks' own lines would not be theirs, had it been refused alone.
  const rest = typeof script === 'string' ? script : ''
  return {
    ...first.alone,
    options,
    script: rest.replace('#!/bin/bash\n', () => `${lines.join('\n')}\n`),
    environment: ownEnvironment ? {} : first.alone.environment,
  }
}

const words = (command: readonly string[]): string => command.map(shellWord).join(' ')
