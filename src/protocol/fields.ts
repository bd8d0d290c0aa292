// The fields of a job on the wire: tag, name (as PSI/J has it) and kind of value. docs/protocol.md is the
// contract; tags are never given a second meaning.

export type FieldKind = 'text' | 'argument' | 'boolean' | 'integer' | 'pair'

export interface FieldInfo {
  readonly tag: number
  readonly name: string
  readonly kind: FieldKind
  /** Of integers. */
  readonly min: number
  readonly max: number
}

export const countMax = 2 ** 31 - 1

const field = (tag: number, name: string, kind: FieldKind, min = 1, max = countMax): FieldInfo => ({ tag, name, kind, min, max })

export const fields: readonly FieldInfo[] = [
  field(1, 'cluster', 'text'),
  field(2, 'traceparent', 'text'),
  field(3, 'name', 'text'),
  field(4, 'executable', 'text'),
  field(5, 'arguments', 'argument'),
  field(6, 'directory', 'text'),
  field(7, 'inherit_environment', 'boolean'),
  field(8, 'environment', 'pair'),
  field(9, 'stdin_path', 'text'),
  field(10, 'stdout_path', 'text'),
  field(11, 'stderr_path', 'text'),
  field(16, 'resources.node_count', 'integer'),
  field(17, 'resources.process_count', 'integer'),
  field(18, 'resources.processes_per_node', 'integer'),
  field(19, 'resources.cpu_cores_per_process', 'integer'),
  field(20, 'resources.gpu_cores_per_process', 'integer', 0),
  field(21, 'resources.exclusive_node_use', 'boolean'),
  field(22, 'resources.memory', 'integer', 1, Number.MAX_SAFE_INTEGER),
  field(32, 'attributes.duration', 'integer'),
  field(33, 'attributes.queue_name', 'text'),
  field(34, 'attributes.account', 'text'),
  field(35, 'attributes.reservation_id', 'text'),
  field(36, 'attributes.custom_attributes', 'pair'),
  field(48, 'pre_launch', 'text'),
  field(49, 'post_launch', 'text'),
  field(50, 'launcher', 'text'),
]

const byTag = new Map(fields.map((info) => [info.tag, info]))

export const fieldOfTag = (tag: number): FieldInfo | undefined => byTag.get(tag)

/** How a REFUSED frame's field tag is shown: the field's name, `field 99` for one that is not known, '' for the job. */
export const fieldNameOfTag = (tag: number): string => (tag === 0 ? '' : (byTag.get(tag)?.name ?? `field ${tag}`))
