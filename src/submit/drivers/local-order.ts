// From a JobSpec to the order that usher-run takes on its standard input (native/runner/run-order.h), or the reason why
// this machine can't run it. Pure: the clock and the environment are handed in.
import { isAbsolute, join } from 'node:path'
import type { JobSpec } from '../driver.ts'
import { durationSeconds, environmentOf } from './job-environment.ts'

export interface OrderFrame {
  /** Directory of the records, absolute. */
  readonly records: string
  readonly name: string
  /** Lines for the run record. */
  readonly stamps: readonly string[]
  /** CLOCK_BOOTTIME, ms. */
  readonly deadlineMs: number
  readonly graceMs: number
  /** Where a job starts that names no directory, or a relative one. */
  readonly directory: string
  readonly environment: NodeJS.ProcessEnv
}

/** What PSI/J's launch scripts do: source the one, run the job, source the other, end with the job's status. */
const wrapper = [
  'if [ -n "$1" ]; then . "$1" || exit; fi',
  'usher_post=$2',
  'shift 2',
  '"$@"',
  'usher_status=$?',
  'if [ -n "$usher_post" ]; then . "$usher_post"; fi',
  'exit "$usher_status"',
].join('\n')

/** Why a job of this kind can't run here; undefined if it can. */
export const unfitness = (spec: JobSpec): string | undefined => {
  const { resources, launcher } = spec
  const processes = resources?.process_count ?? (resources?.node_count ?? 1) * (resources?.processes_per_node ?? 1)
  if ((resources?.node_count ?? 1) > 1)
    return `resources.node_count is ${resources?.node_count}, and the local driver has one node`
  if (processes > 1) return `the job asks for ${processes} processes, and the local driver starts one`
  if (launcher !== undefined && launcher !== 'single')
    return `launcher '${launcher}' is not supported by the local driver, only 'single'`
  const duration = spec.attributes?.duration
  if (duration !== undefined && durationSeconds(duration) === undefined) return `attributes.duration '${duration}' is no duration`
  return undefined
}

export const orderText = (spec: JobSpec, frame: OrderFrame): Buffer | { readonly refused: string } => {
  const unfit = unfitness(spec)
  if (unfit !== undefined) return { refused: unfit }
  const directory =
    spec.directory === undefined
      ? frame.directory
      : isAbsolute(spec.directory)
        ? spec.directory
        : join(frame.directory, spec.directory)
  const command = [spec.executable, ...(spec.arguments ?? [])]
  const wrapped = spec.pre_launch !== undefined || spec.post_launch !== undefined
  const argv = wrapped
    ? ['/bin/bash', '-c', wrapper, 'usher-run', scriptPath(spec.pre_launch), scriptPath(spec.post_launch), ...command]
    : command
  const fields: string[] = [
    `records=${frame.records}`,
    `name=${frame.name}`,
    `deadline_ms=${Math.floor(frame.deadlineMs)}`,
    `grace_ms=${Math.floor(frame.graceMs)}`,
    `duration_ms=${(durationSeconds(spec.attributes?.duration) ?? 0) * 1000}`,
    `directory=${directory}`,
    `stdin=${spec.stdin_path ?? ''}`,
    `stdout=${spec.stdout_path ?? ''}`,
    `stderr=${spec.stderr_path ?? ''}`,
    ...frame.stamps.map((stamp) => `stamp=${stamp}`),
    ...argv.map((argument) => `argument=${argument}`),
    ...Object.entries(environmentOf(spec, frame.environment)).map(([name, value]) => `environment=${name}=${value}`),
  ]
  if (fields.some((field) => field.includes('\0'))) return { refused: 'a field holds a NUL character' }
  const body = Buffer.from(fields.map((field) => field + '\0').join(''), 'utf8')
  return Buffer.concat([Buffer.from(`${body.length}\n`), body])
}

/** `.` searches PATH for a name without a slash; a script is always a file, relative to the job's directory. */
const scriptPath = (path: string | undefined): string => (path === undefined || path.includes('/') ? (path ?? '') : `./${path}`)
