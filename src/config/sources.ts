// Where values come from: flags, USHER_* variables, files. Each source becomes a layer of raw values under full key names
// (`limits.frame_bytes`, `cluster.main.url`). What no key is called that way is a problem, never passed over.
import { dirname } from 'node:path'
import { nearestName } from './nearest.ts'
import { clusterNamePattern, driverKey, driverKeys, plainKeys, sections } from './table.ts'
import type { TomlFile } from './toml-file.ts'

export type Origin =
  | { readonly kind: 'flag'; readonly name: string }
  | { readonly kind: 'environment'; readonly name: string }
  | { readonly kind: 'file'; readonly file: string; readonly line: number | undefined }
  | { readonly kind: 'default' }

export const showOrigin = (origin: Origin): string => {
  if (origin.kind === 'file') return origin.line === undefined ? origin.file : `${origin.file}:${origin.line}`
  return origin.kind === 'default' ? 'default' : origin.name
}

export interface Entry {
  readonly raw: unknown
  readonly origin: Origin
  /** Where relative paths start. */
  readonly folder: string
}

export type Layer = ReadonlyMap<string, Entry>

export interface Problem {
  readonly origin: Origin
  readonly key: string
  readonly given?: unknown
  /** The sentence after the key. */
  readonly says: string
}

export interface Flags {
  readonly config?: string | undefined
  readonly store?: string | undefined
  readonly listen?: string | undefined
}

export const flagsLayer = (flags: Flags, cwd: string): Layer => {
  const layer = new Map<string, Entry>()
  for (const name of ['store', 'listen'] as const) {
    const raw = flags[name]
    if (raw !== undefined) layer.set(name, { raw, origin: { kind: 'flag', name: `--${name}` }, folder: cwd })
  }
  return layer
}

const clusterKeyNames: ReadonlySet<string> = new Set([
  'driver',
  ...Object.values(driverKeys).flatMap((keys) => Object.keys(keys)),
])

/** TOML tables are plain objects; dates are not. */
const isTable = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date)

const unknownKey = (full: string, known: Iterable<string>): string => {
  const near = nearestName(full, known)
  return near === undefined ? 'is not known' : `is not known; did you mean ${near}?`
}

export const fileLayer = ({ file, table, lineOf }: TomlFile, problems: Problem[]): Layer => {
  const layer = new Map<string, Entry>()
  const folder = dirname(file)
  const originOf = (...path: string[]): Origin => ({ kind: 'file', file, line: lineOf(path) })
  const known = [...plainKeys.keys(), ...Object.keys(sections), 'cluster']

  const addClusters = (clusters: unknown): void => {
    if (!isTable(clusters)) {
      problems.push({
        origin: originOf('cluster'),
        key: 'cluster',
        given: clusters,
        says: 'holds clusters: write [cluster.NAME]',
      })
      return
    }
    for (const [name, keys] of Object.entries(clusters)) {
      const full = `cluster.${name}`
      if (!isTable(keys)) {
        problems.push({
          origin: originOf('cluster', name),
          key: full,
          given: keys,
          says: 'is no cluster: write [cluster.NAME] and its keys below',
        })
      } else if (!clusterNamePattern.test(name)) {
        problems.push({
          origin: originOf('cluster', name),
          key: full,
          says: 'is no name for a cluster; allowed are 1 to 64 of a-z 0-9 _ -',
        })
      } else {
        for (const [key, raw] of Object.entries(keys))
          layer.set(`${full}.${key}`, { raw, origin: originOf('cluster', name, key), folder })
        if (!('driver' in keys)) {
          problems.push({
            origin: originOf('cluster', name),
            key: `${full}.driver`,
            says: `is missing; allowed is ${driverKey.kind.allowed}`,
          })
        }
      }
    }
  }

  for (const [name, value] of Object.entries(table)) {
    if (name === 'cluster') addClusters(value)
    else if (name in sections) {
      if (!isTable(value))
        problems.push({
          origin: originOf(name),
          key: name,
          given: value,
          says: `is a section: write [${name}] and its keys below`,
        })
      else {
        for (const [key, raw] of Object.entries(value)) {
          const full = `${name}.${key}`
          if (plainKeys.has(full)) layer.set(full, { raw, origin: originOf(name, key), folder })
          else problems.push({ origin: originOf(name, key), key: full, says: unknownKey(full, known) })
        }
      }
    } else if (plainKeys.has(name)) layer.set(name, { raw: value, origin: originOf(name), folder })
    else problems.push({ origin: originOf(name), key: name, says: unknownKey(name, known) })
  }
  return layer
}

export const variableOf = (key: string): string => `USHER_${key.replace(/[.-]/g, '_').toUpperCase()}`

/** Not keys: what Kubernetes sets for a service called usher, what tests use, and defaults of flags. */
const foreign = /^USHER_(SERVICE_(HOST|PORT)(_.*)?|PORT(_\d+_.*)?|TEST_.*|CONFIG|TO)$/

/**
 * USHER_LEASE, USHER_LIMITS_CONNECTIONS, USHER_CLUSTER_MAIN_URL. A variable USHER_CLUSTER_NAME_DRIVER makes a cluster
 * that no file has; `clusters` are those that files have.
 */
export const environmentLayer = (
  env: Readonly<Record<string, string | undefined>>,
  cwd: string,
  clusters: readonly string[],
  embedded: string,
  problems: Problem[],
): Layer => {
  const layer = new Map<string, Entry>()
  const names = Object.keys(env)
    .filter((name) => name.startsWith('USHER_') && !foreign.test(name))
    .sort()
  const made = names.flatMap((name) => {
    const cluster = /^USHER_CLUSTER_([A-Z0-9_]+)_DRIVER$/.exec(name)?.[1]?.toLowerCase()
    return cluster === undefined || clusters.some((other) => variableOf(other) === variableOf(cluster)) ? [] : [cluster]
  })
  const all = [...clusters, ...made]
  const keyOf = new Map([...plainKeys.keys()].map((key) => [variableOf(key), key]))
  for (const cluster of all.length > 0 ? all : [embedded]) {
    for (const key of clusterKeyNames) keyOf.set(variableOf(`cluster.${cluster}.${key}`), `cluster.${cluster}.${key}`)
  }
  for (const name of names) {
    const raw = env[name]
    const key = keyOf.get(name)
    const origin: Origin = { kind: 'environment', name }
    if (raw === undefined) continue
    if (key === undefined) {
      const near = nearestName(name, keyOf.keys())
      problems.push({
        origin,
        key: name,
        says: near === undefined ? 'is no key of the configuration' : `is no key of the configuration; did you mean ${near}?`,
      })
    } else layer.set(key, { raw, origin, folder: cwd })
  }
  return layer
}

/** The names of the clusters that a layer has keys of, in their order. */
export const clustersOf = (layer: Layer): string[] => [
  ...new Set([...layer.keys()].flatMap((key) => /^cluster\.([a-z0-9_-]+)\./.exec(key)?.[1] ?? [])),
]
