// A job's terms: PSI/J's JobSpec as it is kept (JobSpec), as people write it (JobInput), and with what the wire
// carries beside it (Job). Only types; parse-job-spec.ts is the way from JobInput to Job.

/** PSI/J's JobSpec in its serialization; the same shape that drivers are handed. */
export interface JobSpec {
  name?: string
  executable: string
  arguments?: string[]
  directory?: string
  /** Left out: true. */
  inherit_environment?: boolean
  environment?: Record<string, string>
  stdin_path?: string
  stdout_path?: string
  stderr_path?: string
  resources?: {
    __version: 1
    node_count?: number
    process_count?: number
    processes_per_node?: number
    cpu_cores_per_process?: number
    gpu_cores_per_process?: number
    /** Left out: false. */
    exclusive_node_use?: boolean
    /** Bytes, of the whole job. */
    memory?: number
  }
  attributes?: {
    /** "7205 s" */
    duration?: string
    queue_name?: string
    account?: string
    reservation_id?: string
    custom_attributes?: Record<string, string>
  }
  pre_launch?: string
  post_launch?: string
  launcher?: string
}

/** A job that has been checked (parseJobSpec) and can be encoded. */
export interface Job {
  /** Which configured cluster; left out: the only one. */
  readonly cluster?: string
  /** W3C Trace Context. */
  readonly traceparent?: string
  readonly spec: JobSpec
}

/** Values of environment variables and labels: numbers and booleans become their JSON text. */
export type LabelInput = string | number | boolean

/** A JobSpec as people and programs write it. Null counts as left out. */
export interface JobSpecInput {
  name?: string | null
  executable: string
  arguments?: readonly string[] | null
  directory?: string | null
  inherit_environment?: boolean | null
  environment?: Readonly<Record<string, LabelInput>> | null
  stdin_path?: string | null
  stdout_path?: string | null
  stderr_path?: string | null
  resources?: {
    __version?: 1 | null
    node_count?: number | null
    process_count?: number | null
    processes_per_node?: number | null
    cpu_cores_per_process?: number | null
    gpu_cores_per_process?: number | null
    exclusive_node_use?: boolean | null
    memory?: number | null
  } | null
  attributes?: {
    /** "7205 s", "1.5 h", "02:00:05"; an integer counts minutes, as in PSI/J. */
    duration?: string | number | null
    queue_name?: string | null
    account?: string | null
    reservation_id?: string | null
    custom_attributes?: Readonly<Record<string, LabelInput>> | null
  } | null
  pre_launch?: string | null
  post_launch?: string | null
  launcher?: string | null
}

/** One line of a job file: the spec's fields with `cluster` and `traceparent` beside them, or the spec in an envelope. */
export type JobInput =
  | (JobSpecInput & { cluster?: string | null; traceparent?: string | null; spec?: never })
  | { spec: JobSpecInput; cluster?: string | null; traceparent?: string | null }
