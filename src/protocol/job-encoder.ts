// A job's bytes on the wire: length, sequence, fields in ascending order of tags, keys in byte order. The same
// job always has the same bytes. Takes checked jobs only (parseJobSpec); the server would refuse others by name.
import { Buffer } from 'node:buffer'
import { UsherError } from '../base/errors.ts'
import type { ByteWriter } from './byte-writer.ts'
import { parseDuration } from './duration.ts'
import type { Job } from './job-spec.ts'
import { compareUtf8 } from './text.ts'

const text = (out: ByteWriter, tag: number, value: string | undefined): void => {
  if (value === undefined) return
  out.u8(tag)
  out.lebText(value)
}

const boolean = (out: ByteWriter, tag: number, value: boolean | undefined, left: boolean): void => {
  if (value === undefined || value === left) return
  out.u8(tag)
  out.u8(1)
  out.u8(value ? 1 : 0)
}

const integer = (out: ByteWriter, tag: number, value: number | undefined): void => {
  if (value === undefined) return
  out.u8(tag)
  let size = 1
  for (let rest = Math.floor(value / 256); rest > 0; rest = Math.floor(rest / 256)) size++
  out.u8(size)
  for (let rest = value; size > 0; size--) {
    out.u8(rest % 256)
    rest = Math.floor(rest / 256)
  }
}

const lebSize = (value: number): number => (value < 0x80 ? 1 : value < 0x4000 ? 2 : value < 0x20_0000 ? 3 : 4)

const pairs = (out: ByteWriter, tag: number, values: Readonly<Record<string, string>> | undefined): void => {
  if (values === undefined) return
  const keys = Object.keys(values)
  if (keys.length > 1) keys.sort(compareUtf8)
  for (const key of keys) {
    const value = values[key]!
    const keyBytes = Buffer.byteLength(key, 'utf8')
    out.u8(tag)
    out.leb(lebSize(keyBytes) + keyBytes + Buffer.byteLength(value, 'utf8'))
    out.lebText(key)
    out.utf8(value)
  }
}

/** Appends one job of a JOBS payload. */
export const encodeJob = (out: ByteWriter, sequence: bigint | number, job: Job): void => {
  const { spec } = job
  const { resources, attributes } = spec
  const start = out.length
  out.u32(0)
  out.u64(sequence)
  text(out, 1, job.cluster)
  text(out, 2, job.traceparent)
  text(out, 3, spec.name)
  text(out, 4, spec.executable)
  if (spec.arguments !== undefined) for (const argument of spec.arguments) text(out, 5, argument)
  text(out, 6, spec.directory)
  boolean(out, 7, spec.inherit_environment, true)
  pairs(out, 8, spec.environment)
  text(out, 9, spec.stdin_path)
  text(out, 10, spec.stdout_path)
  text(out, 11, spec.stderr_path)
  if (resources !== undefined) {
    integer(out, 16, resources.node_count)
    integer(out, 17, resources.process_count)
    integer(out, 18, resources.processes_per_node)
    integer(out, 19, resources.cpu_cores_per_process)
    integer(out, 20, resources.gpu_cores_per_process)
    boolean(out, 21, resources.exclusive_node_use, false)
    integer(out, 22, resources.memory)
  }
  if (attributes !== undefined) {
    if (attributes.duration !== undefined) {
      const seconds = parseDuration(attributes.duration)
      if (seconds === undefined) {
        throw new UsherError('field_invalid', `attributes.duration: ${JSON.stringify(attributes.duration)} is no duration`, {
          details: { field: 'attributes.duration' },
        })
      }
      integer(out, 32, seconds)
    }
    text(out, 33, attributes.queue_name)
    text(out, 34, attributes.account)
    text(out, 35, attributes.reservation_id)
    pairs(out, 36, attributes.custom_attributes)
  }
  text(out, 48, spec.pre_launch)
  text(out, 49, spec.post_launch)
  text(out, 50, spec.launcher)
  out.setU32(start, out.length - start - 4)
}
