// `usher doctor`: tries what usher needs from this machine, the store and the clusters, and says what to do about what
// fails. Everything is tried by doing it; nothing is left behind.
import type { Command } from 'commander'
import { codes, messageOf, UsherError } from '../base/errors.ts'
import { loadConfig } from '../config/load.ts'
import type { ClusterConfig, Config } from '../config/table.ts'
import { type Output, type Paint, painter, printable, printJson, renderTable } from './output.ts'

/** One thing that was tried. */
export interface Diagnosis {
  readonly subject: 'usher' | 'store' | `cluster ${string}`
  readonly name: string
  readonly ok: boolean
  readonly detail: string
  readonly remedy?: string
}

const preflightMs = 30_000

const firstLine = (error: unknown): string => messageOf(error).split('\n')[0] ?? ''

const diagnoseAddon = async (): Promise<Diagnosis> => {
  const found = { subject: 'usher', name: 'addon' } as const
  try {
    const { native } = await import('../base/native.ts')
    // CRC-32C of "123456789", the check value of its definition.
    const right = native.crc32c(Buffer.from('123456789')) === 0xe3069283
    return right
      ? { ...found, ok: true, detail: 'loads and computes' }
      : { ...found, ok: false, detail: 'computes a wrong CRC-32C', remedy: 'build it on this machine: npm run build:native' }
  } catch (error) {
    return { ...found, ok: false, detail: firstLine(error), remedy: 'build it: npm run build:native' }
  }
}

/** Long enough to be sure of a thousandth. */
const clockWindowMs = 500

const diagnoseClock = async (): Promise<Diagnosis> => {
  const found = { subject: 'usher', name: 'clock' } as const
  try {
    const { native } = await import('../base/native.ts')
    const { allowedRate, clockMargin, clockRemedy, describeRate, rateBetween } = await import('../election/clock-rate.ts')
    const from = native.clockReading()
    await new Promise((resolve) => setTimeout(resolve, clockWindowMs))
    const rate = rateBetween(from, native.clockReading())
    const detail = describeRate(rate)
    if (Math.abs(rate) <= allowedRate(clockMargin)) return { ...found, ok: true, detail }
    return { ...found, ok: false, detail, remedy: `${clockRemedy}. This host doesn't lead until then` }
  } catch (error) {
    if (isMissingAddon(error)) return { ...found, ok: false, detail: needsAddon }
    return { ...found, ok: false, detail: firstLine(error) }
  }
}

const needsAddon = 'not tried: needs the addon'
const isMissingAddon = (error: unknown): boolean => error instanceof UsherError && error.code === 'native_missing'

const diagnoseStore = async (config: Config): Promise<Diagnosis[]> => {
  try {
    const { checkStore } = await import('../store/checks.ts')
    const results = await checkStore(config.store, { reserveBytes: config.segments.reserveBytes })
    return results.map((result) => ({ subject: 'store', ...result }))
  } catch (error) {
    const found = { subject: 'store', name: 'checks', ok: false } as const
    if (isMissingAddon(error)) return [{ ...found, detail: needsAddon }]
    return [{ ...found, detail: messageOf(error), remedy: `check that ${config.store} can be reached` }]
  }
}

/** Where to look, by what the driver goes through. */
const placeToLook = (name: string, cluster: ClusterConfig): string => {
  const section = `[cluster.${name}]`
  switch (cluster.driver) {
    case 'local':
      return 'build the runner on this machine: npm run build:native'
    case 'slurm':
      return cluster.url === undefined
        ? "run 'scontrol ping' and 'sbatch --test-only' on this host as this user"
        : `check slurmrestd at ${cluster.url}, and url, user and token_file in ${section}`
    case 'http':
      return `check that ${cluster.url} answers this host, and url and token_file in ${section}`
    case 'command':
      return `run '${(cluster.preflight ?? cluster.submit)[0]}' on this host as this user, and check its path in ${section}`
    case 'discard':
      return `check ${section}`
  }
}

/** The driver's own reason, and what to do about it. */
export const clusterRemedy = (name: string, cluster: ClusterConfig, reason: string): string =>
  `${reason}. This host submits nothing to ${name} until that is mended: ${placeToLook(name, cluster)}`

const diagnoseCluster = async (name: string, cluster: ClusterConfig, config: Config): Promise<Diagnosis> => {
  const found = { subject: `cluster ${name}`, name: `${cluster.driver} preflight` } as const
  const failure = (reason: string): Diagnosis => ({
    ...found, ok: false, detail: reason, remedy: clusterRemedy(name, cluster, reason),
  })
  try {
    const { createDriver } = await import('../submit/drivers/registry.ts')
    const driver = createDriver(cluster, { cluster: name, storeDirectory: config.store, host: config.host, log: () => {} })
    try {
      const result = await driver.preflight(AbortSignal.timeout(preflightMs))
      return result.ok ? { ...found, ok: true, detail: result.detail } : failure(result.reason)
    } finally {
      await driver.close()
    }
  } catch (error) {
    if (isMissingAddon(error)) return { ...found, ok: false, detail: needsAddon }
    return failure(firstLine(error))
  }
}

/** Everything that is tried, in an order in which the first failure explains later ones. */
export const diagnose = async (config: Config): Promise<Diagnosis[]> => [
  await diagnoseAddon(),
  await diagnoseClock(),
  ...(await diagnoseStore(config)),
  ...(await Promise.all(Object.entries(config.clusters).map(([name, cluster]) => diagnoseCluster(name, cluster, config)))),
]

/** A cluster that can't be reached may be there later; the rest has to be set right by somebody. */
export const statusOf = (diagnoses: readonly Diagnosis[]): number => {
  const failed = diagnoses.filter(({ ok }) => !ok)
  if (failed.length === 0) return 0
  return failed.every(({ subject }) => subject.startsWith('cluster ')) ? codes.unavailable.exit : codes.config_invalid.exit
}

export const renderDiagnoses = (diagnoses: readonly Diagnosis[], paint: Paint): string => {
  const rows = diagnoses.map(({ subject, name, ok, detail }) => [
    ok ? paint('green', '✓') : paint('red', '✗'),
    subject,
    name,
    printable(detail),
  ])
  const remedies = diagnoses.flatMap(({ subject, name, ok, remedy }) =>
    remedy === undefined
      ? []
      : [`${ok ? paint('yellow', 'advice') : paint('red', 'remedy')}  ${subject}, ${name}: ${printable(remedy)}\n`],
  )
  const columns = [{ title: '' }, { title: 'WHAT' }, { title: 'CHECK' }, { title: 'FOUND' }]
  return renderTable(columns, rows, paint) + (remedies.length === 0 ? '' : `\n${remedies.join('')}`)
}

interface DoctorOptions {
  readonly config?: string
  readonly store?: string
  readonly json?: boolean
}

export const registerDoctor = (program: Command): void => {
  program
    .command('doctor')
    .summary('try what usher needs and say what to do')
    .description(
      'Tries what usher needs from this machine, the store and each configured cluster.\n' +
        'Exits with 78 where something must be set right, with 69 where only a cluster fails.',
    )
    .option('--store <dir>', 'the shared directory')
    .option('--config <file>', 'configuration file')
    .option('--json', 'print JSON')
    .addHelpText('before', 'Examples:\n  usher doctor\n  usher doctor --store /shared/usher --json\n')
    .action(async ({ json, ...flags }: DoctorOptions) => {
      const { config } = loadConfig({ flags, env: process.env, cwd: process.cwd() })
      const diagnoses = await diagnose(config)
      const output: Output = process.stdout
      if (json === true) printJson({ ok: diagnoses.every(({ ok }) => ok), checks: diagnoses }, output)
      else output.write(renderDiagnoses(diagnoses, painter(output)))
      process.exitCode = statusOf(diagnoses)
    })
}
