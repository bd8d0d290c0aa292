// How a failed file operation is reported: which operation, on which name, with which errno.
import { errnoOf, messageOf, UsherError } from '../base/errors.ts'

/** Wraps what a file operation threw. `name` is relative to the store; '' is the store itself. */
export const storeError = (operation: string, name: string, cause: unknown): UsherError => {
  if (cause instanceof UsherError) return cause
  const errno = errnoOf(cause) ?? 'unknown'
  const code = errno === 'ENOSPC' || errno === 'EDQUOT' ? 'store_full' : 'store_unavailable'
  const where = name === '' ? "the store's root" : name
  return new UsherError(code, `${operation} of ${where} failed: ${messageOf(cause)}`, {
    details: { operation, name, errno },
    cause,
  })
}

/** The name is there already, with other content. */
export const takenError = (operation: string, name: string): UsherError =>
  new UsherError('store_unavailable', `${operation} of ${name} failed: the name is taken by another file`, {
    details: { operation, name, errno: 'EEXIST', taken: true },
  })

/** Whether a store operation failed because the file or directory isn't there. */
export const isMissing = (error: unknown): boolean => error instanceof UsherError && error.details['errno'] === 'ENOENT'

/** Whether a store operation failed because the name is taken by something else. */
export const isTaken = (error: unknown): boolean => error instanceof UsherError && error.details['taken'] === true
