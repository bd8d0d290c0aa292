// How a submission is written for each version of slurmrestd's API. Two shapes: v0.0.36 to v0.0.38 (Slurm 20.11 to
// 22.05; tried against 22.05), and v0.0.39 on (23.02 and later; written from Slurm's documentation, not tried).
import { type OptionValue, type SlurmJob, wholeEnvironment } from './slurm-job.ts'

export interface ApiVersion {
  /** "v0.0.38" */
  readonly name: string
  /** 38 */
  readonly number: number
}

/** The newest version whose shape was known when this was written. A newer one is used where nothing else is offered. */
const newestKnown = 45
const oldestKnown = 36

/** Chooses among the paths of /openapi; undefined where no version of the submission is there. */
export const chooseVersion = (paths: readonly string[]): ApiVersion | undefined => {
  const numbers = paths.flatMap((path) => {
    const match = /^\/slurm\/v0\.0\.(\d+)\/job\/submit\/?$/.exec(path)
    return match === null ? [] : [Number(match[1])]
  })
  const usable = numbers.filter((number) => number >= oldestKnown)
  const known = usable.filter((number) => number <= newestKnown)
  const number = known.length > 0 ? Math.max(...known) : Math.min(...usable)
  return Number.isFinite(number) ? { name: `v0.0.${number}`, number } : undefined
}

type Field = readonly [name: string | ((value: OptionValue) => string), value: (value: OptionValue) => unknown]

const plain = (value: OptionValue): unknown => value
const text = (value: OptionValue): unknown => String(value)
const optional = (value: OptionValue): unknown => ({ set: true, infinite: false, number: value })
const list = (value: OptionValue): unknown => String(value).split(',')

const common: Readonly<Record<string, Field>> = {
  account: ['account', plain],
  array: ['array', plain],
  chdir: ['current_working_directory', plain],
  comment: ['comment', plain],
  constraint: ['constraints', plain],
  'cpus-per-task': ['cpus_per_task', plain],
  dependency: ['dependency', plain],
  distribution: ['distribution', plain],
  error: ['standard_error', plain],
  hold: ['hold', plain],
  input: ['standard_input', plain],
  'job-name': ['name', plain],
  licenses: ['licenses', plain],
  'mail-user': ['mail_user', plain],
  mincpus: ['minimum_cpus_per_node', plain],
  nice: ['nice', plain],
  ntasks: ['tasks', plain],
  'ntasks-per-node': ['tasks_per_node', plain],
  'ntasks-per-core': ['tasks_per_core', plain],
  'ntasks-per-socket': ['tasks_per_socket', plain],
  output: ['standard_output', plain],
  partition: ['partition', plain],
  prefer: ['prefer', plain],
  qos: ['qos', plain],
  reservation: ['reservation', plain],
  'threads-per-core': ['threads_per_core', plain],
  wckey: ['wckey', plain],
}

const early: Readonly<Record<string, Field>> = {
  ...common,
  begin: ['begin_time', plain],
  'cpus-per-gpu': ['cpus_per_gpu', text],
  deadline: ['deadline', plain],
  // Anything but user and mcs means the whole node here; its own documentation says "true", which it doesn't take.
  exclusive: ['exclusive', () => 'exclusive'],
  gpus: ['gpus', text],
  'gpus-per-node': ['gpus_per_node', text],
  'gpus-per-task': ['gpus_per_task', text],
  gres: ['gres', plain],
  'mail-type': ['mail_type', plain],
  mem: ['memory_per_node', plain],
  'mem-per-cpu': ['memory_per_cpu', plain],
  'mem-per-gpu': ['memory_per_gpu', plain],
  nodes: ['nodes', (value) => [value, value]],
  // `requeue` means yes whatever its value.
  requeue: [(value) => (value === true ? 'requeue' : 'no_requeue'), () => true],
  time: ['time_limit', plain],
  'time-min': ['time_minimum', plain],
}

const late = (version: number): Readonly<Record<string, Field>> => ({
  ...common,
  'cpus-per-gpu': ['cpus_per_tres', (value) => `gres/gpu:${value}`],
  exclude: ['excluded_nodes', list],
  exclusive: version >= 40 ? ['shared', () => ['none']] : ['exclusive', () => ['true']],
  gpus: ['tres_per_job', (value) => `gres/gpu:${value}`],
  'gpus-per-node': ['tres_per_node', (value) => `gres/gpu:${value}`],
  'gpus-per-task': ['tres_per_task', (value) => (version >= 41 ? `gres/gpu=${value}` : `gres/gpu:${value}`)],
  gres: [
    'tres_per_node',
    (value) =>
      String(value)
        .split(',')
        .map((gres) => (gres.startsWith('gres') ? gres : `gres/${gres}`))
        .join(','),
  ],
  'mail-type': ['mail_type', list],
  mem: ['memory_per_node', optional],
  'mem-per-cpu': ['memory_per_cpu', optional],
  nodelist: ['required_nodes', list],
  nodes: ['nodes', text],
  requeue: ['requeue', plain],
  time: ['time_limit', optional],
  'time-min': ['time_minimum', optional],
})

/** The body of POST job/submit, or why this version can't say what the job asks for. */
export const submissionBody = (job: SlurmJob, version: ApiVersion): { readonly body: string } | { readonly refused: string } => {
  const isEarly = version.number < 39
  const fields = isEarly ? early : late(version.number)
  const description: Record<string, unknown> = {}
  for (const [option, value] of job.options) {
    const field = fields[option]
    if (field === undefined) return { refused: `slurmrestd ${version.name} has no way to say --${option}` }
    const name = typeof field[0] === 'string' ? field[0] : field[0](value)
    if (Object.hasOwn(description, name))
      return { refused: `slurmrestd ${version.name} can't say --${option} beside what else the job asks for` }
    description[name] = field[1](value)
  }
  const environment = wholeEnvironment(job)
  description['environment'] = isEarly ? environment : Object.entries(environment).map(([name, value]) => `${name}=${value}`)
  if (version.number < 40) return { body: JSON.stringify({ job: description, script: job.script }) }
  return { body: JSON.stringify({ job: { ...description, script: job.script } }) }
}
