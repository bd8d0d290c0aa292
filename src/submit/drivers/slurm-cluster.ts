// What the Slurm driver needs of Slurm, whichever way it is reached: slurm-rest.ts over slurmrestd,
// slurm-commands.ts with sbatch and its like.
import type { Outcome, Preflight } from '../driver.ts'
import type { SlurmJob } from './slurm-job.ts'
import type { ListedJob } from './slurm-listing.ts'

export interface SlurmCluster {
  preflight(signal: AbortSignal): Promise<Preflight>
  submit(job: SlurmJob, signal: AbortSignal): Promise<Outcome>
  /** Every job that slurmctld knows now, whoever submitted it. Whole, or a reason why not. */
  list(
    onJob: (job: ListedJob) => void,
    signal: AbortSignal,
  ): Promise<{ readonly complete: true } | { readonly complete: false; readonly reason: string }>
  /** Lets a held job run. The id must still carry this usher id: Slurm may have given the number to another job. */
  release(jobs: readonly { id: string; jobId: string }[], signal: AbortSignal): Promise<('done' | 'gone' | 'later')[]>
  /** How long slurmctld has been counting, by its own clock: since its start at the latest. Undefined: it doesn't say. */
  uptimeMs(signal: AbortSignal): Promise<number | undefined>
  close(): void
}
