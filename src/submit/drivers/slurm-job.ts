// A JobSpec as Slurm's options, named as sbatch names them (`--time` is 'time'), and the batch script. Pure. How the
// options are said to sbatch or to a version of slurmrestd is for slurm-commands.ts and slurm-rest.ts.
import type { JobSpec, Origin, Submission } from '../driver.ts'
import { defaultPath, durationSeconds, inheritable, shellWord } from './job-environment.ts'
import { commentOf } from './slurm-comment.ts'

/** The kinds of values that sbatch's options have. */
export type OptionKind = 'text' | 'integer' | 'flag'

/** Everything that usher says to Slurm, and of that what a job may say itself, as custom attribute `slurm.<option>`. */
export const slurmOptions: Readonly<Record<string, { readonly kind: OptionKind; readonly custom: boolean }>> = {
  account: { kind: 'text', custom: false },
  array: { kind: 'text', custom: false },
  begin: { kind: 'text', custom: true },
  chdir: { kind: 'text', custom: false },
  comment: { kind: 'text', custom: false },
  constraint: { kind: 'text', custom: true },
  'cpus-per-gpu': { kind: 'integer', custom: true },
  'cpus-per-task': { kind: 'integer', custom: false },
  deadline: { kind: 'text', custom: true },
  dependency: { kind: 'text', custom: true },
  distribution: { kind: 'text', custom: true },
  error: { kind: 'text', custom: false },
  exclude: { kind: 'text', custom: true },
  exclusive: { kind: 'flag', custom: false },
  'gpus-per-node': { kind: 'text', custom: true },
  'gpus-per-task': { kind: 'integer', custom: false },
  gpus: { kind: 'text', custom: true },
  gres: { kind: 'text', custom: true },
  hold: { kind: 'flag', custom: false },
  input: { kind: 'text', custom: false },
  'job-name': { kind: 'text', custom: false },
  licenses: { kind: 'text', custom: true },
  'mail-type': { kind: 'text', custom: true },
  'mail-user': { kind: 'text', custom: true },
  mem: { kind: 'integer', custom: false },
  'mem-per-cpu': { kind: 'integer', custom: true },
  'mem-per-gpu': { kind: 'integer', custom: true },
  mincpus: { kind: 'integer', custom: true },
  nice: { kind: 'integer', custom: true },
  nodelist: { kind: 'text', custom: true },
  nodes: { kind: 'integer', custom: false },
  ntasks: { kind: 'integer', custom: false },
  'ntasks-per-core': { kind: 'integer', custom: true },
  'ntasks-per-node': { kind: 'integer', custom: false },
  'ntasks-per-socket': { kind: 'integer', custom: true },
  output: { kind: 'text', custom: false },
  partition: { kind: 'text', custom: false },
  prefer: { kind: 'text', custom: true },
  qos: { kind: 'text', custom: true },
  requeue: { kind: 'flag', custom: true },
  reservation: { kind: 'text', custom: false },
  'threads-per-core': { kind: 'integer', custom: true },
  time: { kind: 'integer', custom: false },
  'time-min': { kind: 'integer', custom: true },
  wckey: { kind: 'text', custom: true },
}

export type OptionValue = string | number | boolean

export interface SlurmJob {
  readonly options: ReadonlyMap<string, OptionValue>
  readonly script: string
  /** What the job inherits of usher's environment; empty where it inherits nothing. */
  readonly inherited: Readonly<Record<string, string>>
  /** What the job sets itself. */
  readonly environment: Readonly<Record<string, string>>
  /** How many copies of the executable a launcher starts. */
  readonly processes: { readonly total: number; readonly perNode: number | undefined }
}

export interface SlurmFrame {
  readonly origin: Pick<Origin, 'term' | 'host'>
  readonly hold: boolean
  /** For jobs that name no directory. */
  readonly directory: string
  readonly environment: NodeJS.ProcessEnv
}

const bytesInMiB = 1024 * 1024

export const slurmJob = (job: Submission, frame: SlurmFrame): SlurmJob | { readonly refused: string } => {
  const { spec } = job
  const { resources = { __version: 1 }, attributes = {} } = spec
  const options = new Map<string, OptionValue>()
  const set = (name: string, value: OptionValue | undefined): void => {
    if (value !== undefined) options.set(name, value)
  }
  const perNode = resources.processes_per_node
  const processes = resources.process_count ?? (perNode === undefined ? undefined : perNode * (resources.node_count ?? 1))
  const nodes =
    resources.node_count ?? (perNode === undefined || processes === undefined ? undefined : Math.ceil(processes / perNode))

  set('job-name', spec.name ?? spec.executable.slice(spec.executable.lastIndexOf('/') + 1))
  set('comment', commentOf([job.id], frame.origin))
  set('chdir', spec.directory ?? frame.directory)
  set('input', spec.stdin_path ?? '/dev/null')
  set('output', spec.stdout_path ?? '/dev/null')
  set('error', spec.stderr_path ?? '/dev/null')
  set('nodes', nodes)
  set('ntasks', processes)
  set('ntasks-per-node', perNode)
  set('cpus-per-task', resources.cpu_cores_per_process)
  if ((resources.gpu_cores_per_process ?? 0) > 0) {
    set('gpus-per-task', resources.gpu_cores_per_process)
    // Slurm can't count GPUs per task without tasks.
    set('ntasks', processes ?? nodes ?? 1)
  }
  if (resources.exclusive_node_use === true) set('exclusive', true)
  // PSI/J counts the bytes of the whole job, Slurm the MiB of each node.
  if (resources.memory !== undefined) set('mem', Math.max(1, Math.ceil(resources.memory / (nodes ?? 1) / bytesInMiB)))
  if (attributes.duration !== undefined) {
    const seconds = durationSeconds(attributes.duration)
    if (seconds === undefined) return { refused: `attributes.duration '${attributes.duration}' is no duration` }
    set('time', Math.max(1, Math.ceil(seconds / 60)))
  }
  set('partition', attributes.queue_name)
  set('account', attributes.account)
  set('reservation', attributes.reservation_id)
  if (frame.hold) set('hold', true)

  for (const [key, text] of Object.entries(attributes.custom_attributes ?? {})) {
    if (!key.startsWith('slurm.')) continue
    const value = customValue(key, text)
    if (typeof value === 'object') return value
    options.set(key.slice('slurm.'.length).replaceAll('_', '-'), value)
  }
  const copies = { total: processes ?? 1, perNode }
  const script = scriptOf(spec, copies, commandOf(spec).map(shellWord).join(' '))
  if (typeof script === 'object') return script
  for (const text of [script, ...options.values(), ...Object.entries(spec.environment ?? {}).flat()]) {
    if (typeof text === 'string' && text.includes('\0')) return { refused: 'a field holds a NUL character' }
  }
  return {
    options,
    script,
    inherited: spec.inherit_environment === false ? {} : inheritable(frame.environment),
    environment: spec.environment ?? {},
    processes: copies,
  }
}

const customValue = (key: string, text: string): OptionValue | { readonly refused: string } => {
  const name = key.slice('slurm.'.length).replaceAll('_', '-')
  const option = Object.hasOwn(slurmOptions, name) ? slurmOptions[name] : undefined
  if (option === undefined) return { refused: `custom attribute '${key}' is no option that usher passes to Slurm` }
  if (!option.custom) return { refused: `custom attribute '${key}' would overrule what the job's own fields or usher say` }
  if (option.kind === 'text') return text === '' ? { refused: `custom attribute '${key}' is empty` } : text
  if (option.kind === 'integer')
    return /^-?\d{1,9}$/.test(text) ? Number(text) : { refused: `custom attribute '${key}' is not an integer: '${text}'` }
  if (text === 'true' || text === 'false') return text === 'true'
  return { refused: `custom attribute '${key}' is neither true nor false: '${text}'` }
}

/** The words that start `processes` copies of the job, or undefined for a launcher that usher doesn't know. */
const launcherWords = (launcher: string, processes: number, spec: JobSpec): readonly string[] | undefined => {
  switch (launcher) {
    case 'single':
      return []
    case 'srun': {
      // srun takes the job's tasks by itself, but since 22.05 no longer its CPUs per task.
      const cores = spec.resources?.cpu_cores_per_process
      return cores === undefined ? ['srun'] : ['srun', `--cpus-per-task=${cores}`]
    }
    case 'mpirun':
    case 'mpiexec':
      return [launcher, '-n', String(processes)]
    default:
      return undefined
  }
}

/** Variables whose names a shell can't export go through env(1). */
export const exportable = /^[A-Za-z_][A-Za-z0-9_]*$/

/** The executable and its arguments. */
export const commandOf = (spec: JobSpec): readonly string[] => {
  const odd = Object.entries(spec.environment ?? {}).filter(([name]) => !exportable.test(name))
  return [
    ...(odd.length > 0 ? ['env', ...odd.map(([name, value]) => `${name}=${value}`)] : []),
    spec.executable,
    ...(spec.arguments ?? []),
  ]
}

/** `command`: words of the shell. */
export const scriptOf = (spec: JobSpec, processes: SlurmJob['processes'], command: string): string | { readonly refused: string } => {
  const launcher = spec.launcher ?? 'single'
  const lines = ['#!/bin/bash']
  if (spec.pre_launch !== undefined) lines.push(`. ${scriptWord(spec.pre_launch)} || exit`)
  if (launcher === 'multiple') {
    // Copies on the first node, as PSI/J's launcher of that name does; the worst status is the job's.
    const copies = processes.perNode ?? processes.total
    lines.push('usher_status=0 usher_pids=()', `for ((usher_copy = 0; usher_copy < ${copies}; usher_copy++)); do`)
    lines.push(`  ${command} &`, '  usher_pids+=($!)', 'done')
    lines.push('for usher_pid in "${usher_pids[@]}"; do wait "$usher_pid" || usher_status=$?; done')
  } else {
    const words = launcherWords(launcher, processes.total, spec)
    if (words === undefined) return { refused: `launcher '${launcher}' is not one of single, multiple, srun, mpirun, mpiexec` }
    const line = [...words.map(shellWord), command].join(' ')
    lines.push(spec.post_launch === undefined ? `exec ${line}` : line)
    if (spec.post_launch !== undefined) lines.push('usher_status=$?')
  }
  if (spec.post_launch !== undefined) lines.push(`. ${scriptWord(spec.post_launch)}`)
  if (spec.post_launch !== undefined || launcher === 'multiple') lines.push('exit "$usher_status"')
  return lines.join('\n') + '\n'
}

/** `.` searches PATH for a name without a slash; a script is always a file, relative to the job's directory. */
const scriptWord = (path: string): string => shellWord(path.includes('/') ? path : `./${path}`)

/** The whole environment, for an interface that sets it outright. */
export const wholeEnvironment = (job: SlurmJob): Record<string, string> => ({
  PATH: defaultPath,
  ...job.inherited,
  ...job.environment,
})

/**
 * The script with the job's own variables set inside, for sbatch: its options can come from variables of its own
 * environment (SBATCH_*), and the loader's (LD_*) would be obeyed by sbatch itself.
 */
export const selfContainedScript = (job: SlurmJob): string => {
  const exports = Object.entries(job.environment)
    .filter(([name]) => exportable.test(name))
    .map(([name, value]) => `export ${name}=${shellWord(value)}\n`)
  return job.script.replace('#!/bin/bash\n', () => `#!/bin/bash\n${exports.join('')}`)
}
