// `usher send`: a file or stream of jobs to any host of a store, each reported as accepted, refused or in doubt. A
// job's sequence is its line number, so that with --client-id the same file means the same jobs, however often it is sent.
import { createReadStream, createWriteStream, statSync, type WriteStream } from 'node:fs'
import { hostname } from 'node:os'
import type { Readable } from 'node:stream'
import { finished } from 'node:stream/promises'
import type { Command } from 'commander'
import { errnoOf, messageOf, UsherError } from '../base/errors.ts'
import { type Client, connect, type NumberedJob } from '../client/client.ts'
import { defaultPort } from '../client/options.ts'
import type { JobInput, JobSpecInput } from '../protocol/job-spec.ts'
import { type Line, readLines } from './send-lines.ts'
import { type SendOutput, SendReport } from './send-report.ts'
import { swfExecutable, SwfReader } from './send-swf.ts'

export interface SendOptions {
  readonly to: string
  readonly format: 'ndjson' | 'swf'
  readonly clientId?: string
  readonly ids?: string
  readonly cluster?: string
  readonly timeout: number
  readonly executable: string
  readonly json?: boolean
}

const examples = `Examples:
  usher send jobs.ndjson
  usher send jobs.ndjson --to node1,node2:7433 --client-id nightly-2026-11-23 --ids accepted.txt
  zcat LCG-2005.swf.gz | usher send - --format swf --json
  $ echo '{"executable":"/bin/echo","arguments":["hello"]}' | usher send -

Each line is one job: a PSI/J JobSpec with "cluster" and "traceparent" beside its fields. Without --client-id
every run sends new jobs; with it, sending the same file again is safe and does nothing twice.

Exit status: 0 all accepted; 65 some refused; 69 no host reachable; 75 some in doubt, not sent or refused for
now: send again with the same --client-id; 130 interrupted.`

const positiveSeconds = (text: string): number => {
  const seconds = Number(text)
  if (text.trim() === '' || !(seconds > 0)) {
    throw new UsherError('usage', `--timeout must be a number of seconds above 0, not ${JSON.stringify(text)}`)
  }
  return seconds
}

export const registerSend = (program: Command): void => {
  const to = program
    .createOption('--to <addresses>', 'HOST:PORT[,HOST:PORT…] of hosts of the store')
    .env('USHER_TO')
    .default(`127.0.0.1:${defaultPort}`)
  const command = program
    .command('send')
    .description('send jobs to usher and wait until each is on stable storage')
    .argument('<file>', 'jobs, one a line, plain or gzipped; "-" reads standard input')
    .addOption(to)
    .addOption(program.createOption('--format <format>', 'what the lines are').choices(['ndjson', 'swf']).default('ndjson'))
    .option('--client-id <name>', 'a name for these jobs, so that sending them again is safe')
    .option('--ids <file>', 'write the accepted ids there, one a line')
    .option('--cluster <name>', 'cluster for jobs that name none')
    .option('--timeout <seconds>', 'how long a job may wait for its answer', positiveSeconds, 60)
    .option('--executable <path>', 'what the jobs of --format swf run', swfExecutable)
    .option('--json', 'one JSON line for each job that was not accepted, and a summary as the last line')
    .addHelpText('before', examples)
  command.action(async (file: string, options: SendOptions) => {
    process.exitCode = await send(file, options)
  })
}

/** Bytes of the input, where that can be known. */
const openInput = (file: string, stdin: Readable): { input: Readable; bytes: number | undefined } => {
  if (file === '-') return { input: stdin, bytes: undefined }
  try {
    const stat = statSync(file)
    if (stat.isDirectory()) throw new UsherError('input_invalid', `${file} is a directory`)
    return { input: createReadStream(file, { highWaterMark: 256 * 1024 }), bytes: stat.isFile() ? stat.size : undefined }
  } catch (error) {
    if (error instanceof UsherError) throw error
    const code = errnoOf(error) === 'EACCES' ? 'permission' : 'input_invalid'
    throw new UsherError(code, `${file} can't be read: ${messageOf(error)}`, { cause: error, details: { file } })
  }
}

/** The accepted ids, one a line. Its errors are thrown by close(). */
class IdFile {
  readonly #stream: WriteStream
  readonly #done: Promise<void>

  constructor(file: string) {
    this.#stream = createWriteStream(file)
    this.#done = finished(this.#stream)
    // Looked at in close(); until then a full disk must not end the process.
    this.#done.catch(() => undefined)
  }

  add(ids: readonly string[]): void {
    if (this.#stream.writable) this.#stream.write(`${ids.join('\n')}\n`)
  }

  async close(): Promise<void> {
    this.#stream.end()
    try {
      await this.#done
    } catch (error) {
      throw new UsherError('unavailable', `the accepted ids can't be written: ${messageOf(error)}`, { cause: error })
    }
  }
}

/** Lines to jobs; what is no job is reported and left out. */
class JobSource {
  stopped = false
  readonly #options: SendOptions
  readonly #report: SendReport
  readonly #swf: SwfReader
  #client: Client | undefined

  constructor(options: SendOptions, report: SendReport) {
    this.#options = options
    this.#report = report
    this.#swf = new SwfReader(options.executable)
  }

  async *jobs(input: Readable, client: Client): AsyncGenerator<NumberedJob> {
    this.#client = client
    for await (const lines of readLines(input, (bytes) => (this.#report.readBytes += bytes))) {
      for (const line of lines) {
        if (this.stopped) return
        const job = this.#job(line)
        if (job !== undefined) yield { job, sequence: line.number }
      }
      this.#report.progress()
    }
  }

  #job(line: Line): JobInput | undefined {
    if (line.text === undefined) return this.#refuse(line, line.problem ?? 'the line is no text')
    if (this.#options.format === 'swf') {
      const read = this.#swf.read(line.text)
      if ('problem' in read) return this.#refuse(line, read.problem)
      return 'job' in read ? this.#withCluster(read.job) : undefined
    }
    if (line.text.trim() === '') return undefined
    try {
      return this.#withCluster(JSON.parse(line.text))
    } catch (error) {
      // Only JSON.parse throws here; what it says names the place.
      return this.#refuse(line, `the line is not JSON: ${messageOf(error)}`)
    }
  }

  /** Whether it really is a job is found by the client, which refuses by field name. */
  #withCluster(value: unknown): JobInput {
    const { cluster } = this.#options
    if (cluster === undefined || typeof value !== 'object' || value === null || Array.isArray(value)) return value as JobInput
    const named = (value as { cluster?: unknown }).cluster
    return (named === undefined || named === null ? { ...value, cluster } : value) as JobSpecInput
  }

  #refuse(line: Line, reason: string): undefined {
    const id = this.#client!.idOf(line.number)
    this.#report.failed({ line: line.number, id, code: 'job_malformed', retryable: false, field: '', reason })
    return undefined
  }
}

const exitStatus = (report: SendReport, interrupted: boolean): number => {
  if (interrupted) return 130
  if (report.inDoubt + report.unsent + report.refusedForNow > 0) return 75
  return report.refused > 0 ? 65 : 0
}

/** Returns the exit status; throws what kept it from sending. The summary is printed either way. */
export const send = async (
  file: string,
  options: SendOptions,
  io: SendOutput & { readonly stdin: Readable } = process,
): Promise<number> => {
  const json = options.json === true
  const report = new SendReport(json, io)
  const source = new JobSource(options, report)
  const abort = new AbortController()
  let input: Readable | undefined
  let client: Client | undefined
  let ids: IdFile | undefined
  let interrupted = false
  const onInterrupt = (): void => {
    if (interrupted) return abort.abort()
    interrupted = true
    if (client === undefined) return abort.abort()
    source.stopped = true
    report.message('stopping: waiting for what is sent (again to stop at once)')
    // Ends a read that waits for input; what was read is dropped.
    input?.destroy()
  }
  process.on('SIGINT', onInterrupt)
  process.on('SIGTERM', onInterrupt)
  try {
    const opened = openInput(file, io.stdin)
    input = opened.input
    report.totalBytes = opened.bytes
    const timeoutMs = options.timeout * 1000
    client = await connect({
      addresses: options.to,
      ...(options.clientId === undefined ? {} : { clientId: options.clientId }),
      name: (options.clientId ?? `usher send on ${hostname()}`).slice(0, 80),
      timeoutMs,
      connectWithinMs: Math.min(timeoutMs, 10_000),
      batchJobs: 4_000,
      batchBytes: 256 * 1024,
      heldJobsMax: 50_000,
      lingerMs: 2,
      signal: abort.signal,
    })
    const sender = client
    if (options.ids !== undefined) ids = new IdFile(options.ids)
    await client.sendAll(source.jobs(opened.input, client), {
      signal: abort.signal,
      onAccepted: (first, jobs) => {
        report.accepted += jobs
        ids?.add(Array.from({ length: jobs }, (_, i) => sender.idOf(first + i)))
        report.progress()
      },
      onFailed: (error) => {
        const id = textOf(error.details['id'])
        const line = Number(id.slice(id.lastIndexOf('-') + 1))
        const { code, retryable, message: reason } = error
        report.failed({ line, id, code, retryable, field: textOf(error.details['field']), reason })
        if (error.details['reason'] !== 'timed_out' || sender.connectedTo !== undefined || source.stopped) return
        source.stopped = true
        report.message('no host is reachable any more: the rest of the input is not read')
      },
    }).catch((error: unknown) => {
      // The read that an interrupt ended; everything sent has its answer.
      if (!interrupted) throw readingError(file, error)
    })
    if (abort.signal.aborted) client.destroy()
    else await client.close()
    await ids?.close()
    return exitStatus(report, interrupted)
  } catch (error) {
    if (interrupted && error instanceof UsherError && error.code === 'aborted') return 130
    throw error
  } finally {
    client?.destroy()
    input?.destroy()
    process.off('SIGINT', onInterrupt)
    process.off('SIGTERM', onInterrupt)
    // After everything that can still change a count. A program finds it however this ended; people need no counts of
    // what never began.
    if (json || client !== undefined) report.finish()
  }
}

const readingError = (file: string, error: unknown): UsherError =>
  error instanceof UsherError
    ? error
    : new UsherError('input_invalid', `${file}: ${messageOf(error)}`, { cause: error, details: { file } })

const textOf = (detail: unknown): string => (typeof detail === 'string' ? detail : '')
