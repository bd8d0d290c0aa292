// From JSON as people write it to a job that can be encoded, or to the first thing that is wrong with it: the
// same codes and field names with which usher itself would refuse. Pure; unknown keys are refused by name,
// because a misspelt limit that is quietly left out is worse than a refusal.
import type { Code } from '../base/errors.ts'
import { formatDuration, parseDuration } from './duration.ts'
import { countMax } from './fields.ts'
import type { Job, JobSpec } from './job-spec.ts'
import { textProblem } from './text.ts'

export interface JobProblem {
  readonly code: Code
  /** The field's name with dots ("resources.memory"), '' for the job as a whole. */
  readonly field: string
  readonly message: string
  /** The key of a pair or the index of an argument, where the field alone doesn't say it. */
  readonly detail?: string
}

export type ParsedJob = { readonly job: Job; readonly problem?: never } | { readonly problem: JobProblem; readonly job?: never }

type Json = Readonly<Record<string, unknown>>
type Resources = NonNullable<JobSpec['resources']>
type Attributes = NonNullable<JobSpec['attributes']>

const textKeys = [
  'name', 'directory', 'stdin_path', 'stdout_path', 'stderr_path', 'pre_launch', 'post_launch', 'launcher',
] as const
const specKeys = new Set<string>([
  ...textKeys, 'executable', 'arguments', 'inherit_environment', 'environment', 'resources', 'attributes',
])
const besideKeys = new Set(['cluster', 'traceparent'])
const countKeys = ['node_count', 'process_count', 'processes_per_node', 'cpu_cores_per_process', 'gpu_cores_per_process'] as const
const resourceKeys = new Set<string>([...countKeys, '__version', 'exclusive_node_use', 'memory'])
const attributeTextKeys = ['queue_name', 'account', 'reservation_id'] as const
const attributeKeys = new Set<string>([...attributeTextKeys, 'duration', 'custom_attributes'])
const traceparentPattern = /^(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/

const isObject = (value: unknown): value is Json => typeof value === 'object' && value !== null && !Array.isArray(value)

const kindOf = (value: unknown): string => (value === null ? 'null' : Array.isArray(value) ? 'an array' : `a ${typeof value}`)

/** Reads field by field and keeps the first problem; what it returns after one is of no use to anybody. */
class JobReader {
  problem: JobProblem | undefined

  refuse(code: Code, field: string, message: string, detail?: string): undefined {
    this.problem ??= detail === undefined ? { code, field, message } : { code, field, message, detail }
    return undefined
  }

  keys(object: Json, known: ReadonlySet<string>, prefix: string, alsoKnown?: ReadonlySet<string>): void {
    for (const key of Object.keys(object)) {
      if (!known.has(key) && !alsoKnown?.has(key)) {
        const why = key === 'id' && prefix === '' ? ': ids are minted by the client that sends' : ''
        this.refuse('field_unknown', prefix + key, `${JSON.stringify(prefix + key)} is not a field of a job${why}`)
      }
    }
  }

  object(value: unknown, field: string): Json | undefined {
    if (value === undefined || value === null) return undefined
    return isObject(value) ? value : this.refuse('field_invalid', field, `must be an object, not ${kindOf(value)}`)
  }

  text(value: unknown, field: string, detail?: string, mayBeEmpty = false): string | undefined {
    if (value === undefined || value === null) return undefined
    if (typeof value !== 'string') return this.refuse('field_invalid', field, `must be text, not ${kindOf(value)}`, detail)
    if (value === '' && !mayBeEmpty) return this.refuse('field_invalid', field, 'must not be empty', detail)
    const problem = textProblem(value)
    if (problem === undefined) return value
    const reason = problem === 'text_not_utf8' ? 'holds half of a surrogate pair' : "holds a character that XML 1.0 can't carry"
    return this.refuse(problem, field, reason, detail)
  }

  boolean(value: unknown, field: string): boolean | undefined {
    if (value === undefined || value === null) return undefined
    return typeof value === 'boolean' ? value : this.refuse('field_invalid', field, `must be true or false, not ${kindOf(value)}`)
  }

  integer(value: unknown, field: string, min: number, max: number): number | undefined {
    if (value === undefined || value === null) return undefined
    if (typeof value === 'number' && Number.isSafeInteger(value) && value >= min && value <= max) return value
    return this.refuse('field_invalid', field, `must be an integer from ${min} to ${max}`)
  }

  texts(value: unknown, field: string): string[] | undefined {
    if (value === undefined || value === null) return undefined
    if (!Array.isArray(value)) return this.refuse('field_invalid', field, `must be an array of texts, not ${kindOf(value)}`)
    return value.map((item: unknown, index) => {
      if (typeof item === 'string') return this.text(item, field, String(index), true) ?? ''
      this.refuse('field_invalid', field, `must be text, not ${kindOf(item)}`, String(index))
      return ''
    })
  }

  pairs(value: unknown, field: string, keyMayHoldEquals: boolean): Record<string, string> | undefined {
    const object = this.object(value, field)
    if (object === undefined) return undefined
    // fromEntries defines properties, so that a key like __proto__ is one like any other.
    return Object.fromEntries(
      Object.entries(object).map(([key, item]) => {
        if (key === '') this.refuse('field_invalid', field, 'has an empty key', key)
        if (!keyMayHoldEquals && key.includes('=')) this.refuse('field_invalid', field, 'has a key with "=" in it', key)
        this.text(key, field, key, true)
        if (typeof item === 'boolean' || (typeof item === 'number' && Number.isFinite(item))) return [key, String(item)]
        if (item === null || item === undefined) {
          this.refuse('field_invalid', field, 'must be text, a number or a boolean, not null', key)
        }
        return [key, this.text(item, field, key, true) ?? '']
      }),
    )
  }

  resources(value: unknown): Resources | undefined {
    const object = this.object(value, 'resources')
    if (object === undefined) return undefined
    this.keys(object, resourceKeys, 'resources.')
    const version = object['__version'] ?? 1
    if (version !== 1) this.refuse('field_invalid', 'resources.__version', 'must be 1')
    const resources: Resources = { __version: 1 }
    for (const key of countKeys) {
      const count = this.integer(object[key], `resources.${key}`, key === 'gpu_cores_per_process' ? 0 : 1, countMax)
      if (count !== undefined) resources[key] = count
    }
    if (this.boolean(object['exclusive_node_use'], 'resources.exclusive_node_use') === true) resources.exclusive_node_use = true
    const memory = this.integer(object['memory'], 'resources.memory', 1, Number.MAX_SAFE_INTEGER)
    if (memory !== undefined) resources.memory = memory
    return Object.keys(resources).length > 1 ? resources : undefined
  }

  attributes(value: unknown): Attributes | undefined {
    const object = this.object(value, 'attributes')
    if (object === undefined) return undefined
    this.keys(object, attributeKeys, 'attributes.')
    const attributes: Attributes = {}
    const duration = this.duration(object['duration'])
    if (duration !== undefined) attributes.duration = duration
    for (const key of attributeTextKeys) {
      const text = this.text(object[key], `attributes.${key}`)
      if (text !== undefined) attributes[key] = text
    }
    const labels = this.pairs(object['custom_attributes'], 'attributes.custom_attributes', true)
    if (labels !== undefined && Object.keys(labels).length > 0) attributes.custom_attributes = labels
    return Object.keys(attributes).length > 0 ? attributes : undefined
  }

  duration(value: unknown): string | undefined {
    if (value === undefined || value === null) return undefined
    const seconds = typeof value === 'string' || typeof value === 'number' ? parseDuration(value) : undefined
    if (seconds !== undefined && seconds >= 1 && seconds <= countMax) return formatDuration(seconds)
    const message = 'must be like "90 s", "15 m", "1.5 h", "hh:mm:ss" or minutes as an integer'
    return this.refuse('field_invalid', 'attributes.duration', message)
  }

  spec(object: Json): JobSpec {
    if (object['executable'] === undefined || object['executable'] === null) {
      this.refuse('field_missing', 'executable', 'every job needs an executable')
    }
    const spec: JobSpec = { executable: this.text(object['executable'], 'executable') ?? '' }
    for (const key of textKeys) {
      const text = this.text(object[key], key)
      if (text !== undefined) spec[key] = text
    }
    const list = this.texts(object['arguments'], 'arguments')
    if (list !== undefined && list.length > 0) spec.arguments = list
    if (this.boolean(object['inherit_environment'], 'inherit_environment') === false) spec.inherit_environment = false
    const environment = this.pairs(object['environment'], 'environment', false)
    if (environment !== undefined && Object.keys(environment).length > 0) spec.environment = environment
    const resources = this.resources(object['resources'])
    if (resources !== undefined) spec.resources = resources
    const attributes = this.attributes(object['attributes'])
    if (attributes !== undefined) spec.attributes = attributes
    return spec
  }

  contradiction(resources: Resources | undefined): void {
    const { node_count: nodes, process_count: processes, processes_per_node: perNode } = resources ?? {}
    if (nodes === undefined || processes === undefined || perNode === undefined || nodes * perNode === processes) return
    this.refuse('resources_contradict', 'resources.process_count', `must be node_count × processes_per_node, ${nodes * perNode}`)
  }
}

/**
 * Takes a JobSpec with `cluster` and `traceparent` beside its fields, or `{"spec":…,"cluster":…,"traceparent":…}`.
 * Null counts as left out; what equals its default is left out of the result.
 */
export const parseJobSpec = (value: unknown): ParsedJob => {
  if (!isObject(value)) {
    return { problem: { code: 'job_malformed', field: '', message: `a job is an object, not ${kindOf(value)}` } }
  }
  const reader = new JobReader()
  let inner = value
  if (value['spec'] === undefined) {
    reader.keys(value, specKeys, '', besideKeys)
  } else {
    for (const key of Object.keys(value)) {
      if (key !== 'spec' && !besideKeys.has(key)) reader.keys({ [key]: null }, besideKeys, '')
    }
    inner = reader.object(value['spec'], 'spec') ?? {}
    reader.keys(inner, specKeys, '')
  }
  const cluster = reader.text(value['cluster'], 'cluster')
  const traceparent = reader.text(value['traceparent'], 'traceparent')
  if (traceparent !== undefined && !traceparentPattern.test(traceparent)) {
    reader.refuse('field_invalid', 'traceparent', 'must be a W3C traceparent (00-<32 hex digits>-<16 hex digits>-<2 hex digits>)')
  }
  const spec = reader.spec(inner)
  reader.contradiction(spec.resources)
  if (reader.problem !== undefined) return { problem: reader.problem }
  return { job: { ...(cluster === undefined ? {} : { cluster }), ...(traceparent === undefined ? {} : { traceparent }), spec } }
}
