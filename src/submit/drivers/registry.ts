// The drivers there are, and what each is configured with. The names of the options are the keys of
// `[cluster.NAME]` in usher.toml, to the letter; their ranges are checked by the table in src/config, so this
// file only says what they mean and what they default to.
import { UsherError } from '../../base/errors.ts'
import type { Driver, DriverContext } from '../driver.ts'
import { createCommandDriver } from './command.ts'
import { createDiscardDriver } from './discard.ts'
import { createHttpDriver } from './http.ts'
import { createLocalDriver } from './local.ts'
import { createSlurmDriver } from './slurm.ts'

export interface LocalOptions {
  readonly driver: 'local'
  /** Most jobs that run at a time. Default: as many as the machine has CPUs. */
  readonly slots?: number
  /** Seconds between SIGTERM and SIGKILL for a job that has used up its duration. Default 5. */
  readonly grace?: number
  /** Seconds that the record of an ended run is kept at least. Default 86,400. */
  readonly keep_runs?: number
}

export interface SlurmOptions {
  readonly driver: 'slurm'
  /** slurmrestd: `unix:/path` or `http://host:port`. Absent: sbatch, squeue, scontrol and sacct. */
  readonly url?: string
  /** File with a JWT for slurmrestd; read again whenever it is needed. */
  readonly token_file?: string
  /** Name that goes with the token. Default: who usher runs as. */
  readonly user?: string
  /** Submit held, release once the receipt is on stable storage. Default false. */
  readonly hold?: boolean
  /** Most jobs in one array; 1: each job by itself. Default 1. */
  readonly array_jobs?: number
  /** Submissions at a time. Default 8. */
  readonly in_flight?: number
  /** Seconds until a call counts as unanswered. Default 30. */
  readonly timeout?: number
  /** Seconds after which a submission can't show late any more. Default 30. */
  readonly settle?: number
  /** Slurm's MinJobAge in seconds, where `scontrol show config` can't be asked. Default 300. */
  readonly min_job_age?: number
}

export interface HttpOptions {
  readonly driver: 'http'
  readonly url: string
  /** Jobs in a request. 1, the default, sends each as a JSON object of its own; more are sent as NDJSON. */
  readonly batch?: number
  /** Requests at a time. Default 8. */
  readonly in_flight?: number
  /** Seconds until a request counts as unanswered. Default 30. */
  readonly timeout?: number
  /** Seconds after which a request can't take effect any more. Default 60. */
  readonly settle?: number
  /** File with a bearer token; read again whenever it is needed. */
  readonly token_file?: string
}

export interface CommandOptions {
  readonly driver: 'command'
  /** Program and its arguments: the job's JSON on stdin, the cluster's job id on stdout. */
  readonly submit: readonly string[]
  /** Program and its arguments, followed by usher's job id. Absent: a job in doubt waits for an operator. */
  readonly find?: readonly string[]
  /** Program and its arguments; exit status 0 if jobs can be submitted from here. Absent: `submit` must be executable. */
  readonly preflight?: readonly string[]
  /** Seconds after which a program is killed. Default 60. */
  readonly timeout?: number
  /** Programs at a time. Default 4. */
  readonly in_flight?: number
  /** Seconds after which a submission can't show late any more. Default 60. */
  readonly settle?: number
}

export interface DiscardOptions {
  readonly driver: 'discard'
  /** Takes no job at all: a cluster that is full, for tests and benchmarks. Default false. */
  readonly pause?: boolean
}

export type DriverConfig = LocalOptions | SlurmOptions | HttpOptions | CommandOptions | DiscardOptions

export const driverKinds = ['local', 'slurm', 'http', 'command', 'discard'] as const satisfies readonly DriverConfig['driver'][]

export const createDriver = (config: DriverConfig, context: DriverContext): Driver => {
  switch (config.driver) {
    case 'local':
      return createLocalDriver(config, context)
    case 'slurm':
      return createSlurmDriver(config, context)
    case 'http':
      return createHttpDriver(config, context)
    case 'command':
      return createCommandDriver(config, context)
    case 'discard':
      return createDiscardDriver(config)
    default:
      throw new UsherError('config_invalid', `no driver is called '${String((config as { driver?: unknown }).driver)}'`)
  }
}
