// What the client says of a job that wasn't accepted: always an UsherError with the code that tells what is known.
import { type Code, codeOfWire, codes, messageOf, UsherError } from '../base/errors.ts'
import { fieldNameOfTag } from '../protocol/fields.ts'
import type { RefusedJob } from '../protocol/messages.ts'
import type { JobProblem } from '../protocol/parse-job-spec.ts'

/** Why the client stopped waiting. */
export type GivenUp = 'timed_out' | 'aborted' | 'closed'

const placeOf = (field: string, detail: string): string => [field, detail].filter((part) => part !== '').join(' ')

/** What parseJobSpec found: the job was never sent. */
export const problemError = ({ code, field, message, detail }: JobProblem): UsherError => {
  const place = placeOf(field, detail ?? '')
  const details = { field, ...(detail === undefined ? {} : { detail }) }
  return new UsherError(code, place === '' ? message : `${place}: ${message}`, { details })
}

/** What a host said. A code that this version doesn't know can't be retried: it says so in its details. */
export const refusalError = (id: string, host: string, job: RefusedJob): UsherError => {
  const known = codeOfWire(job.code)
  const code: Code = known ?? 'job_malformed'
  const field = fieldNameOfTag(job.field)
  const place = placeOf(field, job.detail)
  const why = known === undefined ? `code ${job.code}, which this version doesn't know` : codes[code].summary
  return new UsherError(code, `job ${id} was refused: ${place === '' ? '' : `${place}: `}${why}`, {
    details: { id, field, detail: job.detail, host, wire: job.code },
  })
}

/**
 * Whether a host that said so may hold the job all the same: where a write or a sync failed, nobody can know what of it
 * reached the disk (docs/protocol.md).
 */
export const mayBeKept = (code: Code): boolean => code === 'store_full' || code === 'store_failing'

export const tooLargeError = (id: string, bytes: number, bytesMax: number): UsherError =>
  new UsherError('job_too_large', `job ${id} has ${bytes} bytes; a frame to this host takes ${bytesMax}`, {
    details: { id, bytes, bytesMax },
  })

export const inDoubtError = (id: string, reason: GivenUp | 'refused', cause: UsherError | undefined): UsherError =>
  new UsherError('in_doubt', `job ${id} was sent, and ${reason === 'refused' ? 'refused for a reason that leaves it open' : `given up (${reason})`}: it may or may not have been accepted`, {
    details: { id, reason },
    cause,
  })

export const unsentError = (id: string, reason: GivenUp, cause: UsherError | undefined): UsherError =>
  new UsherError(reason, `job ${id}: ${codes[reason].summary}; it was not sent`, { details: { id, reason }, cause })

/** The error with the job's id in its details. */
export const withId = (error: unknown, id: string | undefined): UsherError => {
  const usher = error instanceof UsherError ? error : new UsherError('internal', messageOf(error), { cause: error })
  if (id === undefined) return usher
  return new UsherError(usher.code, usher.message, { details: { id, ...usher.details }, cause: usher.cause })
}
