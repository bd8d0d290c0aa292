// Slurm through slurmrestd: over a unix socket, or http with a JWT. The version of the API is chosen from what the
// daemon offers, and chosen again when it is gone. A submission is never repeated here.
import { readFile } from 'node:fs/promises'
import { userInfo } from 'node:os'
import { messageOf } from '../../base/errors.ts'
import type { Outcome, Preflight } from '../driver.ts'
import { type AbortOnClose, type Exchange, HttpExchange, type HttpRequest } from './http-exchange.ts'
import { excerpt, objectOf } from './job-message.ts'
import type { SlurmOptions } from './registry.ts'
import type { SlurmCluster } from './slurm-cluster.ts'
import { invalidJobId, outcomeOfCode } from './slurm-errors.ts'
import { idsInComment } from './slurm-comment.ts'
import type { SlurmJob } from './slurm-job.ts'
import { JobListingScanner, type ListedJob } from './slurm-listing.ts'
import { type ApiVersion, chooseVersion, submissionBody } from './slurm-rest-shapes.ts'

type Answered = Extract<Exchange, { kind: 'answer' }>

interface SlurmAnswerError {
  readonly code: number
  readonly text: string
}

export class SlurmRest implements SlurmCluster {
  readonly #http: HttpExchange
  readonly #options: SlurmOptions
  readonly #url: string
  readonly #listTimeoutMs: number
  readonly #releaseLanes: number
  #version: ApiVersion | undefined

  constructor(url: string, options: SlurmOptions, timing: { timeoutMs: number; inFlight: number; abortOnClose?: AbortOnClose }) {
    this.#url = url
    this.#options = options
    this.#listTimeoutMs = Math.max(timing.timeoutMs, 120_000)
    this.#releaseLanes = Math.ceil(timing.inFlight / 2)
    const { abortOnClose } = timing
    this.#http = new HttpExchange(url, {
      // Submissions never wait for releases, and neither for a question.
      socketsMax: timing.inFlight + this.#releaseLanes + 2,
      timeoutMs: timing.timeoutMs,
      answerBytesMax: 64 * 1024 * 1024,
      ...(abortOnClose === undefined ? {} : { abortOnClose }),
    })
  }

  async preflight(signal: AbortSignal): Promise<Preflight> {
    // Looked up anew each time: a slurmrestd that was upgraded shows here first.
    this.#version = undefined
    const headers = await this.#headers()
    if ('reason' in headers) return { ok: false, kind: 'refused', reason: headers.reason }
    const ping = await this.#ask('ping', signal)
    if ('reason' in ping) return { ok: false, kind: kindOf(ping), reason: ping.reason }
    const pings = (ping.answer['pings'] ?? []) as readonly {
      ping?: unknown
      pinged?: unknown
      responding?: unknown
      hostname?: unknown
    }[]
    const up = Array.isArray(pings) && pings.some((one) => one.ping === 'UP' || one.pinged === 'UP' || one.responding === true)
    if (!up) return { ok: false, kind: 'unreachable', reason: `slurmrestd at ${this.#url} answers, slurmctld doesn't` }
    const listing = await this.#ask('partitions', signal)
    if ('reason' in listing) return { ok: false, kind: kindOf(listing), reason: listing.reason }
    const partitions = listing.answer['partitions']
    if (!Array.isArray(partitions) || partitions.length === 0)
      return { ok: false, kind: 'refused', reason: 'Slurm shows no partition to this user' }
    const { name } = this.#version as unknown as ApiVersion
    return {
      ok: true,
      detail: `slurmrestd ${name} at ${this.#url}, ${partitions.length} partition${partitions.length === 1 ? '' : 's'}`,
    }
  }

  async submit(job: SlurmJob, signal: AbortSignal): Promise<Outcome> {
    const version = await this.#negotiated(signal)
    if ('reason' in version) return { kind: 'later', reason: version.reason }
    const message = submissionBody(job, version)
    if ('refused' in message) return { kind: 'refused', reason: message.refused }
    const result = await this.#send({ method: 'POST', path: `/slurm/${version.name}/job/submit`, body: message.body }, signal)
    if (result.kind === 'unsent') return { kind: 'later', reason: result.reason }
    if (result.kind === 'unanswered') return { kind: 'doubt', reason: result.reason }
    return this.#outcomeOf(result)
  }

  #outcomeOf(result: Answered): Outcome {
    const answer = objectOf(result.body)
    const nested = answer?.['result']
    const jobId =
      answer?.['job_id'] ??
      (typeof nested === 'object' && nested !== null ? (nested as Record<string, unknown>)['job_id'] : undefined)
    const errors = errorsOf(answer)
    // An id and an error can come together, as for a held job: who has an id has the job.
    if (typeof jobId === 'number' && jobId > 0) {
      const detail = errors.map((error) => error.text).join('; ')
      return { kind: 'submitted', jobId: String(jobId), ...(detail === '' ? {} : { detail }) }
    }
    const said = `slurmrestd answers ${result.status} ${excerpt(result.body)}`.trim()
    if (result.status === 401 || result.status === 403) return { kind: 'later', reason: said }
    if (result.status === 404) {
      this.#version = undefined
      return { kind: 'later', reason: said }
    }
    const outcomes = errors.map((error) => outcomeOfCode(error.code, error.text))
    const worst =
      outcomes.find((outcome) => outcome.kind === 'refused') ??
      outcomes.find((outcome) => outcome.kind === 'later') ??
      outcomes[0]
    // Errors without a number come beside one that has it, and say more than it does.
    const text = errors.map((error) => error.text).join('; ')
    const numbered = errors.filter((error) => error.code > 0).map((error) => outcomeOfCode(error.code, text))
    const doubtful = numbered.find((outcome) => outcome.kind === 'doubt')
    if (doubtful !== undefined) return doubtful
    if (numbered.length > 0) return numbered.find((outcome) => outcome.kind === worst?.kind) ?? (numbered[0] as Outcome)
    if (result.status === 400 || result.status === 413 || result.status === 415 || result.status === 422)
      return { kind: 'refused', reason: said }
    if (result.status === 429 || result.status === 503) return { kind: 'later', reason: said }
    return { kind: 'doubt', reason: said }
  }

  async list(onJob: (job: ListedJob) => void, signal: AbortSignal): ReturnType<SlurmCluster['list']> {
    const version = await this.#negotiated(signal)
    if ('reason' in version) return { complete: false, reason: version.reason }
    const scanner = new JobListingScanner(onJob)
    const onData = (chunk: Buffer): void => scanner.push(chunk)
    const result = await this.#send(
      { method: 'GET', path: `/slurm/${version.name}/jobs`, onData, timeoutMs: this.#listTimeoutMs },
      signal,
    )
    if (result.kind !== 'answer') return { complete: false, reason: `the list of jobs: ${result.reason}` }
    if (result.status !== 200) {
      if (result.status === 404) this.#version = undefined
      return { complete: false, reason: `the list of jobs: slurmrestd answers ${result.status} ${excerpt(result.body)}` }
    }
    if (scanner.complete) return { complete: true }
    return { complete: false, reason: scanner.hasErrors ? 'the list of jobs came with errors' : 'the list of jobs is not whole' }
  }

  async release(jobs: readonly { id: string; jobId: string }[], signal: AbortSignal): Promise<('done' | 'gone' | 'later')[]> {
    // A few at a time: a thousand requests at once would wait for sockets until they time out.
    const answers = jobs.map((): 'done' | 'gone' | 'later' => 'later')
    let next = 0
    const lane = async (): Promise<void> => {
      for (let at = next++; at < jobs.length && !signal.aborted; at = next++) answers[at] = await this.#releaseOne(jobs[at]!, signal)
    }
    await Promise.all(Array.from({ length: this.#releaseLanes }, lane))
    return answers
  }

  async #releaseOne(job: { id: string; jobId: string }, signal: AbortSignal): Promise<'done' | 'gone' | 'later'> {
    if (!/^\d+$/.test(job.jobId)) return 'gone'
    const found = await this.#ask(`job/${job.jobId}`, signal)
    if ('reason' in found) return found.code === invalidJobId ? 'gone' : 'later'
    const [listed] = (found.answer['jobs'] ?? []) as readonly { comment?: unknown; state_reason?: unknown }[]
    if (listed === undefined || !idsInComment(String(listed.comment)).includes(job.id)) return 'gone'
    if (!String(listed.state_reason).startsWith('JobHeld')) return 'done'
    const version = await this.#negotiated(signal)
    if ('reason' in version) return 'later'
    const result = await this.#send(
      { method: 'POST', path: `/slurm/${version.name}/job/${job.jobId}`, body: JSON.stringify({ hold: false }) },
      signal,
    )
    if (result.kind !== 'answer') return 'later'
    const errors = errorsOf(objectOf(result.body))
    if (result.status === 200 && errors.length === 0) return 'done'
    return errors.some((error) => error.code === invalidJobId) ? 'gone' : 'later'
  }

  async uptimeMs(signal: AbortSignal): Promise<number | undefined> {
    const diag = await this.#ask('diag', signal)
    if ('reason' in diag) return undefined
    const statistics = (diag.answer['statistics'] ?? {}) as Record<string, unknown>
    const now = seconds(statistics['req_time'])
    const start = seconds(statistics['req_time_start'])
    // 0 for a moment after slurmctld's start: it has not begun to count.
    return now === undefined || start === undefined || start <= 0 || now < start ? undefined : (now - start) * 1000
  }

  /** A question whose answer is a JSON object without errors. */
  async #ask(
    path: string,
    signal: AbortSignal,
  ): Promise<{ answer: Record<string, unknown> } | Unanswered> {
    const version = await this.#negotiated(signal)
    if ('reason' in version) return version
    const result = await this.#send({ method: 'GET', path: `/slurm/${version.name}/${path}` }, signal)
    if (result.kind !== 'answer') return { reason: `${this.#url}: ${result.reason}` }
    const answer = objectOf(result.body)
    const [error] = errorsOf(answer)
    if (error !== undefined) return { reason: `Slurm error ${error.code}: ${error.text}`, code: error.code }
    if (result.status !== 200 || answer === undefined)
      return { reason: `slurmrestd answers ${result.status} ${excerpt(result.body)}`.trim(), status: result.status }
    return { answer }
  }

  async #negotiated(signal: AbortSignal): Promise<ApiVersion | Unanswered> {
    if (this.#version !== undefined) return this.#version
    let reason = ''
    let status = 0
    for (const path of ['/openapi', '/openapi/v3']) {
      const result = await this.#send({ method: 'GET', path }, signal)
      if (result.kind !== 'answer') return { reason: `${this.#url}: ${result.reason}` }
      const paths = objectOf(result.body)?.['paths']
      const version = typeof paths === 'object' && paths !== null ? chooseVersion(Object.keys(paths)) : undefined
      if (version !== undefined) return (this.#version = version)
      status = result.status
      reason =
        `${this.#url} offers no API for submitting jobs (${path} answers ${result.status} ${excerpt(paths === undefined ? result.body : '')}`.trim() +
        ')'
    }
    return { reason, status }
  }

  async #send(request: Omit<HttpRequest, 'headers'>, signal: AbortSignal): Promise<Exchange> {
    const made = await this.#headers()
    if ('reason' in made) return { kind: 'unsent', reason: made.reason }
    const headers = request.body === undefined ? made.headers : { ...made.headers, 'content-type': 'application/json' }
    return this.#http.exchange({ ...request, path: this.#http.basePath + request.path, headers }, signal)
  }

  async #headers(): Promise<{ headers: Record<string, string> } | { reason: string }> {
    const headers: Record<string, string> = { accept: 'application/json' }
    if (this.#options.token_file === undefined) return { headers }
    try {
      // `scontrol token` prints SLURM_JWT=…, and people redirect that into files.
      headers['x-slurm-user-token'] = (await readFile(this.#options.token_file, 'utf8')).trim().replace(/^SLURM_JWT=/, '')
    } catch (error) {
      return { reason: `the token can't be read: ${messageOf(error)}` }
    }
    headers['x-slurm-user-name'] = this.#options.user ?? userInfo().username
    return { headers }
  }

  close(): void {
    this.#http.close()
  }
}

/** Why there is no answer that could be used: Slurm's error, or the HTTP status of an answer that wasn't understood. */
interface Unanswered {
  readonly reason: string
  readonly code?: number
  readonly status?: number
}

/** Protocol authentication error; access denied; invalid user id. */
const refusals: ReadonlySet<number> = new Set([1007, 2002, 2010])

/** What isn't about this host's credentials or its address of slurmrestd passes by itself. */
const kindOf = ({ code, status }: Unanswered): 'refused' | 'unreachable' =>
  (code !== undefined && refusals.has(code)) || (status !== undefined && status >= 200 && status < 500) ? 'refused' : 'unreachable'

/** Versions name the number error_code, error_number or both. */
const errorsOf = (answer: Record<string, unknown> | undefined): SlurmAnswerError[] => {
  const errors = answer?.['errors']
  if (!Array.isArray(errors)) return []
  return (errors as readonly Record<string, unknown>[]).map((error) => {
    const code = [error['error_number'], error['error_code']].find((number) => typeof number === 'number' && number !== 0)
    const words = [error['error'], error['description']].filter((word) => typeof word === 'string' && word !== '')
    return { code: typeof code === 'number' ? code : -1, text: excerpt(words.join(': ')) }
  })
}

/** Seconds since 1970, plain or as {"set":true,"number":…}. */
const seconds = (value: unknown): number | undefined => {
  if (typeof value === 'number') return value
  const number = (value as { number?: unknown } | null | undefined)?.number
  return typeof number === 'number' ? number : undefined
}
