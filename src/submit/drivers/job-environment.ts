// What a job sees of usher's own environment, and how durations are written. `inherit_environment` (PSI/J's default)
// means the environment that usher runs in, without what is usher's business alone: its own settings and
// Node's, the service manager's, those of a surrounding Slurm job, and everything that is named like a secret.
import type { JobSpec } from '../driver.ts'

const ownNames =
  /^(USHER_|NODE_|npm_|NPM_|SLURM|SBATCH_|SALLOC_|SRUN_|SQUEUE_|SINFO_|SACCT_|SCONTROL_|LISTEN_|WATCHDOG_|OTEL_|BASH_FUNC_)/
const ownOnly = new Set([
  '_',
  'SHLVL',
  'PWD',
  'OLDPWD',
  'INIT_CWD',
  'NOTIFY_SOCKET',
  'INVOCATION_ID',
  'JOURNAL_STREAM',
  'MAINPID',
  'SYSTEMD_EXEC_PID',
  'CREDENTIALS_DIRECTORY',
  'RUNTIME_DIRECTORY',
  'STATE_DIRECTORY',
  'CACHE_DIRECTORY',
  'LOGS_DIRECTORY',
  'CONFIGURATION_DIRECTORY',
  'COLOR',
  'EDITOR',
])
const secretNames = /TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIAL|PRIVATE_KEY|API_?KEY|ACCESS_KEY/i

export const defaultPath = '/usr/local/bin:/usr/bin:/bin'

/** The part of usher's environment that a job may inherit. */
export const inheritable = (environment: NodeJS.ProcessEnv): Record<string, string> => {
  const kept: Record<string, string> = {}
  for (const [name, value] of Object.entries(environment)) {
    if (value !== undefined && !ownNames.test(name) && !ownOnly.has(name) && !secretNames.test(name)) kept[name] = value
  }
  return kept
}

/** All of a job's environment. What the job itself sets is passed on whatever its name. */
export const environmentOf = (spec: JobSpec, own: NodeJS.ProcessEnv): Record<string, string> => ({
  ...(spec.inherit_environment === false ? {} : inheritable(own)),
  ...spec.environment,
})

/** "7205 s", "12 m", "1.5 h", "hh:mm:ss" or minutes, as seconds; undefined for anything else. */
export const durationSeconds = (text: string | undefined): number | undefined => {
  if (text === undefined) return undefined
  const clock = /^(\d+):([0-5]?\d):([0-5]?\d)$/.exec(text)
  if (clock !== null) return Number(clock[1]) * 3600 + Number(clock[2]) * 60 + Number(clock[3])
  const amount = /^(\d+(?:\.\d+)?)\s*([smh]?)$/.exec(text)
  if (amount === null) return undefined
  return Math.ceil(Number(amount[1]) * { s: 1, m: 60, h: 3600, '': 60 }[amount[2] as 's' | 'm' | 'h' | '']!)
}

/** One word for a POSIX shell, whatever it holds. */
export const shellWord = (text: string): string =>
  /^[A-Za-z0-9_@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`
