// Hands jobs to a web service that takes them by POST. docs/drivers.md says what the service must do; the short
// form: 2xx has it, 409 had it already, other 4xx never, 429 and 5xx later, and no answer is doubt, for which
// `GET url/ID` is there. Nothing is sent twice by this file: a repetition is a new submit() by the submitter.
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { messageOf } from '../../base/errors.ts'
import type { Driver, DriverContext, DriverLimits, Finding, Origin, Outcome, Preflight, Submission } from '../driver.ts'
import { type AbortOnClose, type Exchange, HttpExchange, retryAfterMs } from './http-exchange.ts'
import { excerpt, idText, jobIdOf, jobMessage, objectOf } from './job-message.ts'
import type { HttpOptions } from './registry.ts'

export interface HttpSeams {
  readonly abortOnClose?: AbortOnClose
}

export const createHttpDriver = (options: HttpOptions, context: DriverContext, seams: HttpSeams = {}): Driver =>
  new HttpDriver(options, context, seams)

/** Answers to a preflight that say nothing about this host: time-out, too early, too many requests. */
const passingStatuses: ReadonlySet<number> = new Set([408, 425, 429])

class HttpDriver implements Driver {
  readonly kind = 'http'
  readonly limits: DriverLimits
  readonly #options: HttpOptions
  readonly #context: DriverContext
  readonly #http: HttpExchange
  readonly #path: string
  readonly #query: string

  constructor(options: HttpOptions, context: DriverContext, seams: HttpSeams) {
    const inFlight = options.in_flight ?? 8
    const timeoutMs = (options.timeout ?? 30) * 1000
    const settleMs = Math.max((options.settle ?? 60) * 1000, timeoutMs)
    this.limits = {
      batchJobsMax: options.batch ?? 1,
      inFlightMax: inFlight,
      settleMs,
      // A short settle time is worth asking for sooner: absence is only proven by the second answer.
      askEveryMs: Math.min(5000, Math.max(500, settleMs / 2)),
    }
    this.#options = options
    this.#context = context
    // Beside the submissions in flight, one socket for a question.
    this.#http = new HttpExchange(options.url, { socketsMax: inFlight + 1, timeoutMs, ...seams })
    const [path = '', query] = this.#http.basePath.split('?', 2)
    this.#path = path
    this.#query = query === undefined ? '' : `?${query}`
  }

  async preflight(signal: AbortSignal): Promise<Preflight> {
    const headers = await this.#headers()
    if ('reason' in headers) return { ok: false, kind: 'refused', reason: headers.reason }
    const result = await this.#http.exchange(
      { method: 'GET', path: (this.#path || '/') + this.#query, headers: headers.headers },
      signal,
    )
    if (result.kind !== 'answer') return { ok: false, kind: 'unreachable', reason: `${this.#options.url}: ${result.reason}` }
    if (result.status >= 200 && result.status < 300) return { ok: true, detail: `${this.#options.url} answers ${result.status}` }
    const passing = result.status >= 500 || passingStatuses.has(result.status)
    return {
      ok: false,
      kind: passing ? 'unreachable' : 'refused',
      reason: `${this.#options.url} answers ${result.status} ${excerpt(result.body)}`.trim(),
    }
  }

  async submit(jobs: readonly Submission[], origin: Origin, signal: AbortSignal): Promise<Outcome[]> {
    const headers = await this.#headers()
    if ('reason' in headers) return jobs.map(() => ({ kind: 'later', reason: headers.reason }))
    const size = this.limits.batchJobsMax
    if (size === 1) return Promise.all(jobs.map((job) => this.#submitOne(job, origin, headers.headers, signal)))
    const groups: Promise<Outcome[]>[] = []
    for (let at = 0; at < jobs.length; at += size)
      groups.push(this.#submitBatch(jobs.slice(at, at + size), origin, headers.headers, signal))
    return (await Promise.all(groups)).flat()
  }

  async #submitOne(job: Submission, origin: Origin, headers: Record<string, string>, signal: AbortSignal): Promise<Outcome> {
    const trace: Record<string, string> = job.traceparent === undefined ? {} : { traceparent: job.traceparent }
    const result = await this.#http.exchange(
      {
        method: 'POST',
        path: (this.#path || '/') + this.#query,
        headers: { ...headers, ...trace, 'content-type': 'application/json', 'idempotency-key': job.id },
        body: jobMessage(job, origin),
      },
      signal,
    )
    return outcomeOf(result)
  }

  /**
   * A batch is NDJSON both ways, one answer a line in the order of the jobs: {"jobId":…}, or {"status":N,"error":…}
   * with the status that the job would have had on its own. Its Idempotency-Key is `batch-` and a digest of its ids in
   * their order, so that a repetition of the same batch has the same key; the ids in the lines are what counts.
   */
  async #submitBatch(
    jobs: readonly Submission[],
    origin: Origin,
    headers: Record<string, string>,
    signal: AbortSignal,
  ): Promise<Outcome[]> {
    const key = createHash('sha256')
      .update(jobs.map((job) => job.id).join('\n'))
      .digest('hex')
      .slice(0, 32)
    const result = await this.#http.exchange(
      {
        method: 'POST',
        path: (this.#path || '/') + this.#query,
        headers: { ...headers, 'content-type': 'application/x-ndjson', 'idempotency-key': `batch-${key}` },
        body: jobs.map((job) => jobMessage(job, origin) + '\n').join(''),
      },
      signal,
    )
    if (result.kind === 'answer') {
      if ((result.status >= 200 && result.status < 300) || result.status === 409) return outcomesOfLines(jobs, result.body)
      // Which job of the batch it didn't like isn't said: each is asked for alone, and only the guilty one is refused.
      if (outcomeOf(result).kind === 'refused' && jobs.length > 1) {
        this.#context.log('info', 'a batch was refused: its jobs are sent one by one', {
          status: result.status,
          jobs: jobs.length,
        })
        const outcomes: Outcome[] = []
        for (const job of jobs) outcomes.push(...(await this.#submitBatch([job], origin, headers, signal)))
        return outcomes
      }
    }
    return jobs.map(() => outcomeOf(result))
  }

  readonly find = (ids: readonly string[], signal: AbortSignal): Promise<Finding[]> => this.#findAll(ids, signal)

  async #findAll(ids: readonly string[], signal: AbortSignal): Promise<Finding[]> {
    const headers = await this.#headers()
    if ('reason' in headers) return ids.map(() => ({ kind: 'unknown', reason: headers.reason }))
    const findings: Finding[] = Array.from({ length: ids.length }, () => ({ kind: 'unknown', reason: 'not asked' }))
    let next = 0
    const worker = async (): Promise<void> => {
      for (let at = next++; at < ids.length; at = next++) {
        const path = `${this.#path}/${encodeURIComponent(ids[at] ?? '')}${this.#query}`
        findings[at] = findingOf(await this.#http.exchange({ method: 'GET', path, headers: headers.headers }, signal))
      }
    }
    await Promise.all(Array.from({ length: Math.min(this.limits.inFlightMax, ids.length) }, worker))
    return findings
  }

  async #headers(): Promise<{ headers: Record<string, string> } | { reason: string }> {
    const headers: Record<string, string> = { accept: 'application/json' }
    if (this.#options.token_file === undefined) return { headers }
    try {
      const token = (await readFile(this.#options.token_file, 'utf8')).trim()
      return { headers: { ...headers, authorization: `Bearer ${token}` } }
    } catch (error) {
      return { reason: `the token can't be read: ${messageOf(error)}` }
    }
  }

  close(): Promise<void> {
    this.#http.close()
    return Promise.resolve()
  }
}

/** What an answer says of one job. 401, 407 and 408 are about this host or this attempt, never about the job. */
const outcomeOf = (result: Exchange): Outcome => {
  if (result.kind === 'unsent') return { kind: 'later', reason: result.reason }
  if (result.kind === 'unanswered') return { kind: 'doubt', reason: result.reason }
  const { status, body } = result
  const said = `answered ${status} ${excerpt(body)}`.trim()
  if (status >= 200 && status < 300) return { kind: 'submitted', jobId: jobIdOf(body) ?? null }
  if (status === 409) return { kind: 'submitted', jobId: jobIdOf(body) ?? null, detail: 'the service had it already' }
  const later = status === 429 || status >= 500 || status < 400 || [401, 407, 408, 425].includes(status)
  if (!later) return { kind: 'refused', reason: said }
  const afterMs = retryAfterMs(result.headers, Date.now())
  return { kind: 'later', reason: said, ...(afterMs === undefined ? {} : { afterMs }) }
}

const outcomesOfLines = (jobs: readonly Submission[], body: string): Outcome[] => {
  const lines = body.split('\n').filter((line) => line.trim() !== '')
  const answers = lines.map(objectOf)
  const astray = answers.findIndex((answer, at) => answer?.['id'] !== undefined && answer['id'] !== jobs[at]?.id)
  if (lines.length > jobs.length || astray !== -1) {
    const reason = astray === -1 ? `${lines.length} lines answer ${jobs.length} jobs` : `line ${astray + 1} answers another job`
    return jobs.map(() => ({ kind: 'doubt', reason }))
  }
  return jobs.map((_, at): Outcome => {
    const answer = answers[at]
    if (answer === undefined)
      return {
        kind: 'doubt',
        reason: at < lines.length ? `line ${at + 1} of the answer is not JSON` : 'the answer has no line for it',
      }
    const status = answer['status']
    if (status === undefined) return { kind: 'submitted', jobId: idText(answer['jobId']) }
    if (typeof status !== 'number')
      return { kind: 'doubt', reason: `line ${at + 1} of the answer has a status that is no number` }
    const jobId = idText(answer['jobId'])
    const text = typeof answer['error'] === 'string' ? answer['error'] : JSON.stringify({ jobId })
    return outcomeOf({
      kind: 'answer',
      status,
      headers: {},
      body: status < 300 || status === 409 ? JSON.stringify({ jobId }) : text,
    })
  })
}

const findingOf = (result: Exchange): Finding => {
  if (result.kind !== 'answer') return { kind: 'unknown', reason: result.reason }
  if (result.status === 200) return { kind: 'found', jobId: jobIdOf(result.body) ?? null }
  if (result.status === 404) return { kind: 'absent' }
  return { kind: 'unknown', reason: `answered ${result.status} ${excerpt(result.body)}`.trim() }
}
