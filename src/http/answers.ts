// Answers as values: JSON, text, and errors as {error: {code, message}} with the status that the table of codes has.

import { httpStatusOf, UsherError } from '../base/errors.ts'
import type { Code } from '../base/errors.ts'
import type { Answer } from './route.ts'

export const jsonAnswer = (status: number, value: unknown, headers: Readonly<Record<string, string>> = {}): Answer => ({
  status,
  headers: { 'content-type': 'application/json; charset=utf-8', ...headers },
  body: Buffer.from(`${JSON.stringify(value)}\n`),
})

export const textAnswer = (status: number, text: string, type = 'text/plain; charset=utf-8'): Answer => ({
  status,
  headers: { 'content-type': type },
  body: Buffer.from(text),
})

export const errorAnswer = (code: Code, message: string, headers: Readonly<Record<string, string>> = {}): Answer =>
  jsonAnswer(httpStatusOf(code), { error: { code, message } }, headers)

/** What was thrown while a request was answered. A bug's message stays in the log. */
export const answerOfError = (error: unknown, onBug: (error: unknown) => void): Answer => {
  if (error instanceof UsherError && httpStatusOf(error.code) !== 500) {
    return errorAnswer(error.code, error.message, error.retryable ? { 'retry-after': '1' } : {})
  }
  onBug(error)
  return error instanceof UsherError && error.code !== 'internal'
    ? errorAnswer(error.code, error.message)
    : errorAnswer('internal', 'this request met a bug: the log of this host says more')
}

/** On every answer: what is true now is nobody's to keep, and no browser is to guess what it is. */
export const commonHeaders: Readonly<Record<string, string>> = { 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' }
