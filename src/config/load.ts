// Puts the configuration together: flag > USHER_* > --config FILE > /etc/usher/usher.toml > default, key by key, with
// the origin of each value. Either everything is valid or one error names all that isn't.
//
// Clusters are the exception to "key by key": a cluster is where jobs go, so a --config file that names any cluster names
// all of them, and those of /etc/usher/usher.toml don't count.
import { resolve } from 'node:path'
import { UsherError } from '../base/errors.ts'
import { configDigest } from './digest.ts'
import { isLoopback, type TomlValue } from './kinds.ts'
import { nearestName } from './nearest.ts'
import {
  clustersOf,
  environmentLayer,
  type Entry,
  fileLayer,
  flagsLayer,
  type Flags,
  type Layer,
  type Origin,
  type Problem,
  showOrigin,
} from './sources.ts'
import { type Config, type DriverName, driverKey, driverKeys, embeddedCluster, isComputed, type Key, plainKeys } from './table.ts'
import { readTomlFile } from './toml-file.ts'

export const systemConfigFile = '/etc/usher/usher.toml'

export interface ConfigSources {
  readonly flags: Flags
  readonly env: Readonly<Record<string, string | undefined>>
  readonly cwd: string
  /** For tests. */
  readonly systemFile?: string
}

export interface LoadedConfig {
  readonly config: Config
  /** By full key, in the order of the table; clusters at the end. */
  readonly origins: ReadonlyMap<string, Origin>
  /** Each value as it would stand in a TOML file, under the same keys. Keys without a value are left out. */
  readonly shown: ReadonlyMap<string, TomlValue>
  /** The files that were read. */
  readonly files: readonly string[]
}

const showGiven = (given: unknown): string => {
  const text = typeof given === 'bigint' || given instanceof Date ? String(given) : (JSON.stringify(given) ?? String(given))
  return text.length > 80 ? `${text.slice(0, 79)}…` : text
}

const showProblem = ({ origin, key, says }: Problem): string =>
  origin.kind === 'default' || showOrigin(origin) === key ? `${key} ${says}` : `${showOrigin(origin)}: ${key} ${says}`

class ConfigLoader {
  readonly origins = new Map<string, Origin>()
  readonly shown = new Map<string, TomlValue>()
  readonly problems: Problem[] = []
  /** Values that hosts of one store should share. */
  readonly shared: Record<string, TomlValue> = {}
  private readonly cwd: string

  constructor(cwd: string) {
    this.cwd = cwd
  }

  /** The value of one key from the first layer that has it, or its default. Undefined: none, or a problem was noted. */
  take(full: string, key: Key, layers: readonly Layer[]): unknown {
    const entry = layers.map((layer) => layer.get(full)).find((found) => found !== undefined)
    const byDefault = isComputed(key.default) ? key.default.of((other) => this.shown.get(other)) : key.default
    if (entry === undefined && byDefault === undefined) {
      if (key.required) {
        // Where the driver is chosen that requires it.
        const origin = this.origins.get(full.replace(/[^.]+$/, 'driver')) ?? { kind: 'default' }
        this.problems.push({ origin, key: full, says: `is required; allowed is ${key.kind.allowed}` })
      }
      return undefined
    }
    const { raw, origin, folder }: Entry = entry ?? { raw: byDefault, origin: { kind: 'default' }, folder: this.cwd }
    const isText = origin.kind === 'environment' || origin.kind === 'flag'
    const parsed = key.kind.schema.safeParse(isText ? key.kind.fromText(String(raw)) : raw)
    if (!parsed.success) {
      this.problems.push({ origin, key: full, given: raw, says: `is ${showGiven(raw)}; allowed is ${key.kind.allowed}` })
      return undefined
    }
    const value = key.kind.resolve?.(parsed.data, folder) ?? parsed.data
    const shown = key.kind.show(value)
    this.origins.set(full, origin)
    this.shown.set(full, shown)
    if (key.shared) this.shared[full] = shown
    return value
  }

  takeCluster(name: string, layers: readonly Layer[]): Record<string, unknown> | undefined {
    const prefix = `cluster.${name}.`
    const driver = this.take(`${prefix}driver`, driverKey, layers) as DriverName | undefined
    if (driver === undefined) return undefined
    const keys: Readonly<Record<string, Key>> = driverKeys[driver]
    for (const layer of layers) {
      for (const [full, { origin }] of layer) {
        const key = full.slice(prefix.length)
        if (!full.startsWith(prefix) || key === 'driver' || key in keys) continue
        const near = nearestName(key, Object.keys(keys))
        this.problems.push({
          origin,
          key: full,
          says: `is not known to driver ${driver}${near === undefined ? '' : `; did you mean ${near}?`}`,
        })
      }
    }
    const values: Record<string, unknown> = { driver }
    for (const [key, entry] of Object.entries(keys)) {
      const value = this.take(prefix + key, entry, layers)
      if (value !== undefined) values[entry.property] = value
    }
    return values
  }

  /** Notes a problem with a value that is fine by itself. */
  refuse(key: string, says: string): void {
    const origin = this.origins.get(key) ?? { kind: 'default' }
    this.problems.push({ origin, key, given: this.shown.get(key), says: `is ${showGiven(this.shown.get(key))}; ${says}` })
  }

  throwProblems(): void {
    if (this.problems.length === 0) return
    const lines = this.problems.map(showProblem)
    const message =
      lines.length === 1
        ? (lines[0] ?? '')
        : `the configuration has ${lines.length} mistakes:\n${lines.map((line) => `  ${line}`).join('\n')}`
    const problems = this.problems.map(({ origin, key, given, says }) => ({ origin: showOrigin(origin), key, given, says }))
    throw new UsherError('config_invalid', message, { details: { problems } })
  }
}

/** What there is where no cluster is configured. */
const embeddedLayer = (cwd: string): Layer =>
  new Map([[`cluster.${embeddedCluster.name}.driver`, { raw: embeddedCluster.driver, origin: { kind: 'default' }, folder: cwd }]])

/** What no single key can know. Only called once every key is valid by itself. */
const checkTogether = (config: Config, loader: ConfigLoader): void => {
  const { limits, submit, http, listen, insecure, clusters, defaultCluster } = config
  if (!insecure && !isLoopback(listen.host)) {
    loader.refuse(
      'listen',
      'anybody who reaches that address could submit jobs, for there is no authentication: ' +
        'listen on 127.0.0.1 or [::1], or set insecure = true where the network is trusted',
    )
  }
  if (http.listen !== undefined && !isLoopback(http.listen.host)) {
    loader.refuse(
      'http.listen',
      'there is neither authentication nor TLS, and whoever reaches that address could read every job: ' +
        'listen on 127.0.0.1 or [::1], and have a reverse proxy on this machine authenticate whoever comes from elsewhere',
    )
  }
  const framed = limits.frameBytesMax + 12
  if (limits.creditBytes < framed)
    loader.refuse('limits.credit_bytes', 'it must be at least limits.frame_bytes and 12 bytes of header')
  if (limits.partialBytesMax < framed)
    loader.refuse('limits.partial_bytes', 'it must be at least limits.frame_bytes and 12 bytes of header')
  if (limits.jobBytesMax + 4 > limits.frameBytesMax)
    loader.refuse('limits.job_bytes', 'a job and its length (4 bytes) must fit into limits.frame_bytes')
  if (submit.retryMinMs > submit.retryMaxMs) loader.refuse('submit.retry_min', 'it must not be more than submit.retry_max')
  if (defaultCluster !== null && !Object.hasOwn(clusters, defaultCluster)) {
    loader.refuse('default_cluster', `configured are: ${Object.keys(clusters).join(', ')}`)
  }
}

/** Reads and checks everything. Throws UsherError `config_invalid`. */
export const loadConfig = ({ flags, env, cwd, systemFile = systemConfigFile }: ConfigSources): LoadedConfig => {
  const loader = new ConfigLoader(cwd)
  const named = flags.config ?? env['USHER_CONFIG']
  const configFile = named === undefined ? undefined : readTomlFile(resolve(cwd, named), false)
  const defaultFile = readTomlFile(systemFile, true)

  const fromFlags = flagsLayer(flags, cwd)
  const fromConfig: Layer = configFile === undefined ? new Map() : fileLayer(configFile, loader.problems)
  const fromSystem: Layer = defaultFile === undefined ? new Map() : fileLayer(defaultFile, loader.problems)
  const clusterFile = clustersOf(fromConfig).length > 0 ? fromConfig : fromSystem
  const fromEnv = environmentLayer(env, cwd, clustersOf(clusterFile), embeddedCluster.name, loader.problems)

  const config: Record<string, unknown> = {}
  const layers = [fromFlags, fromEnv, fromConfig, fromSystem]
  for (const [full, key] of plainKeys) {
    const [section, inner] = full.includes('.') ? full.split('.') : []
    const target = section === undefined || inner === undefined ? config : ((config[section] ??= {}) as Record<string, unknown>)
    target[key.property] = loader.take(full, key, layers)
  }

  const given = [fromEnv, clusterFile]
  const anyCluster = given.some((layer) => [...layer.keys()].some((full) => /^cluster\..*\.driver$/.test(full)))
  const clusterLayers = anyCluster ? given : [...given, embeddedLayer(cwd)]
  const names = [...new Set(clusterLayers.toReversed().flatMap(clustersOf))]
  config['clusters'] = Object.fromEntries(names.map((name) => [name, loader.takeCluster(name, clusterLayers)]))
  config['defaultCluster'] ??= names.length === 1 ? names[0] : null

  loader.throwProblems()
  // Each value has passed its own schema, and the table gives each its place: that is what Config says.
  const checked = config as unknown as Config
  checkTogether(checked, loader)
  loader.throwProblems()
  const digest = configDigest({ ...loader.shared, defaultCluster: checked.defaultCluster })
  return {
    config: { ...checked, digest },
    origins: loader.origins,
    shown: loader.shown,
    files: [configFile, defaultFile].flatMap((read) => (read === undefined ? [] : [read.file])),
  }
}
