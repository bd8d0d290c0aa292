// `usher bench replay`: a recorded workload to a server at k times the pace at which it was recorded. A job is due at its
// submit time; its latency is counted from then, also when it could only be sent later, so that a server that stalls is
// charged for every job that had to wait.
import { createReadStream } from 'node:fs'
import { hostname } from 'node:os'
import type { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Command } from 'commander'
import { Latencies } from '../bench/latencies.ts'
import { errnoOf, messageOf, UsherError } from '../base/errors.ts'
import { type Client, connect, type NumberedJob } from '../client/client.ts'
import { defaultPort } from '../client/options.ts'
import { openStore } from '../store/identity.ts'
import { type AuditStatus, survey } from '../submit/survey.ts'
import { humanCount, humanDuration } from './output.ts'
import { readLines } from './send-lines.ts'
import { type SendOutput, SendReport } from './send-report.ts'
import { swfExecutable, SwfReader } from './send-swf.ts'

export interface ReplayOptions {
  readonly to: string
  readonly speed: number
  readonly jobs?: number
  readonly cluster?: string
  readonly executable: string
  readonly store?: string
  readonly timeout: number
  readonly json?: boolean
}

const examples = `Examples:
  usher bench replay LCG-2005.swf.gz --speed 1000
  usher bench replay workload.swf --speed 60 --jobs 10000 --store /shared/usher

The file is in the Standard Workload Format, plain or gzipped. With --store the books are checked on it at the end: what
was accepted must have an outcome there, and nothing may be there twice. That needs a store nobody else sends to meanwhile.

Exit status: 0 all accepted and the books balance; 65 some refused; 69 no host reachable; 75 some in doubt or not
sent, or the books don't balance in time; 130 interrupted.`

const above = (option: string, whole = false) => (text: string): number => {
  const value = Number(text)
  if (text.trim() === '' || !(value > 0) || !Number.isFinite(value) || (whole && !Number.isInteger(value))) {
    throw new UsherError('usage', `${option} must be a ${whole ? 'whole ' : ''}number above 0, not ${JSON.stringify(text)}`)
  }
  return value
}

export const registerReplay = (bench: Command): void => {
  const to = bench
    .createOption('--to <addresses>', 'HOST:PORT[,HOST:PORT…] of hosts of the store')
    .env('USHER_TO')
    .default(`127.0.0.1:${defaultPort}`)
  bench
    .command('replay')
    .description('send the jobs of a workload at k times the pace at which it was recorded')
    .argument('<file>', 'a workload in the Standard Workload Format, plain or gzipped')
    .addOption(to)
    .option('--speed <k>', 'how many times faster than recorded', above('--speed'), 1)
    .option('--jobs <n>', 'only the first n jobs', above('--jobs', true))
    .option('--cluster <name>', 'cluster for the jobs')
    .option('--executable <path>', 'what the jobs run', swfExecutable)
    .option('--store <dir>', 'check the books on this store at the end')
    .option('--timeout <seconds>', 'how long a job may wait for its answer, and the books to balance', above('--timeout'), 60)
    .option('--json', 'one JSON line for each job that was not accepted, and a summary as the last line')
    .addHelpText('before', examples)
    .action(async (file: string, options: ReplayOptions) => {
      process.exitCode = await replay(file, options)
    })
}

/** The jobs of a workload, each when it is due. */
class PacedSource {
  readonly latencies = new Latencies()
  /** The longest that the sender was behind the pace: what sending itself couldn't keep up with. */
  behindMs = 0
  readonly #options: ReplayOptions
  readonly #report: SendReport
  readonly #stop: AbortSignal
  /** Of jobs without an answer: when each was due. */
  readonly #dueMs = new Map<number, number>()

  constructor(options: ReplayOptions, report: SendReport, stop: AbortSignal) {
    this.#options = options
    this.#report = report
    this.#stop = stop
  }

  async *jobs(input: Readable, client: Client): AsyncGenerator<NumberedJob> {
    const { speed, jobs = Infinity, cluster, executable } = this.#options
    const reader = new SwfReader(executable)
    let zero: { readonly atMs: number; readonly submitted: number } | null = null
    let handed = 0
    for await (const lines of readLines(input, (bytes) => (this.#report.readBytes += bytes))) {
      for (const { number, text, problem } of lines) {
        if (this.#stop.aborted || handed >= jobs) return
        const read = text === undefined ? { problem: problem ?? 'the line is no text' } : reader.read(text)
        if ('problem' in read) {
          const id = client.idOf(number)
          this.#report.failed({ line: number, id, code: 'job_malformed', retryable: false, field: '', reason: read.problem })
        }
        if (!('job' in read)) continue
        // Column 2: seconds since the log began. Lines may be out of order: then a job is due at once.
        const submitted = Number(text?.trim().split(/\s+/)[1])
        zero ??= { atMs: performance.now(), submitted }
        const dueMs = zero.atMs + ((submitted - zero.submitted) * 1000) / speed
        if (!(await this.#until(dueMs))) return
        const lateMs = Math.max(0, performance.now() - Math.max(dueMs, zero.atMs))
        this.behindMs = Math.max(this.behindMs, lateMs)
        this.#dueMs.set(number, Math.max(dueMs, zero.atMs))
        handed += 1
        yield { job: cluster === undefined ? read.job : { ...read.job, cluster }, sequence: number }
      }
      this.#report.progress()
    }
  }

  accepted(first: number, jobs: number): void {
    const nowMs = performance.now()
    for (let sequence = first; sequence < first + jobs; sequence++) {
      const dueMs = this.#dueMs.get(sequence)
      if (dueMs !== undefined) this.latencies.add(nowMs - dueMs)
      this.#dueMs.delete(sequence)
    }
  }

  failed(sequence: number): void {
    this.#dueMs.delete(sequence)
  }

  /** Waits until then; false where it was stopped before. Progress is shown while nothing is due. */
  async #until(dueMs: number): Promise<boolean> {
    for (let leftMs = dueMs - performance.now(); leftMs > 0; leftMs = dueMs - performance.now()) {
      try {
        await sleep(Math.min(leftMs, 1000), undefined, { signal: this.#stop })
      } catch {
        // Stopping is the only reason for which it ends early.
        return false
      }
      this.#report.progress()
    }
    return true
  }
}

type Outcomes = Pick<AuditStatus, 'accepted' | 'submitted' | 'waiting' | 'inDoubt' | 'dead' | 'duplicates'> & { readonly balanced: boolean }

const auditOf = async (directory: string): Promise<AuditStatus> => {
  const { store, identity } = await openStore(directory, { create: false })
  return (await survey(store, identity.uuid)).audit
}

/** What has been added to the books, once everything accepted has an outcome, or when time is over. */
const booksSince = async (before: AuditStatus, directory: string, accepted: number, withinMs: number): Promise<Outcomes> => {
  const untilMs = performance.now() + withinMs
  for (;;) {
    const { balanced, ...now } = await auditOf(directory)
    const grown = (key: 'accepted' | 'submitted' | 'waiting' | 'inDoubt' | 'dead' | 'duplicates'): number => now[key] - before[key]
    const added = {
      accepted: grown('accepted'), submitted: grown('submitted'), waiting: grown('waiting'), inDoubt: grown('inDoubt'),
      dead: grown('dead'), duplicates: grown('duplicates'),
    }
    const whole = balanced && added.accepted === accepted && added.submitted + added.dead === accepted && added.duplicates === 0
    if (whole || performance.now() > untilMs) return { ...added, balanced: whole }
    await sleep(200)
  }
}

/** Returns the exit status; throws what kept it from sending. */
export const replay = async (file: string, options: ReplayOptions, io: SendOutput = process): Promise<number> => {
  const json = options.json === true
  const before = options.store === undefined ? undefined : await auditOf(options.store)
  const report = new SendReport(json, io)
  const stop = new AbortController()
  const source = new PacedSource(options, report, stop.signal)
  const input = createReadStream(file, { highWaterMark: 64 * 1024 })
  // Reading reports it; this keeps one that comes before from ending the process.
  input.on('error', () => undefined)
  let client: Client | undefined
  const onInterrupt = (): void => {
    if (!stop.signal.aborted) report.message('stopping: waiting for what is sent')
    stop.abort()
  }
  process.on('SIGINT', onInterrupt)
  process.on('SIGTERM', onInterrupt)
  try {
    const timeoutMs = options.timeout * 1000
    client = await connect({
      addresses: options.to, name: `usher bench replay on ${hostname()}`.slice(0, 80), timeoutMs, connectWithinMs: Math.min(timeoutMs, 10_000),
      batchJobs: 4_000, batchBytes: 256 * 1024, heldJobsMax: 50_000, lingerMs: 1,
    })
    await client.sendAll(source.jobs(input, client), {
      onAccepted: (first, jobs) => {
        report.accepted += jobs
        source.accepted(first, jobs)
        report.progress()
      },
      onFailed: (error) => {
        const id = typeof error.details['id'] === 'string' ? error.details['id'] : ''
        const line = Number(id.slice(id.lastIndexOf('-') + 1))
        source.failed(line)
        const field = typeof error.details['field'] === 'string' ? error.details['field'] : ''
        report.failed({ line, id, code: error.code, retryable: error.retryable, field, reason: error.message })
      },
    }).catch((error: unknown) => {
      if (error instanceof UsherError) throw error
      const code = errnoOf(error) === 'EACCES' ? 'permission' : 'input_invalid'
      throw new UsherError(code, `${file} can't be read: ${messageOf(error)}`, { cause: error, details: { file } })
    })
    await client.close()
    const books = before === undefined ? undefined : await booksSince(before, options.store!, report.accepted, timeoutMs)
    const at = (share: number): number => source.latencies.at(share)
    const latencyMs = { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: at(1) }
    report.finish(performance.now(), { speed: options.speed, behindMs: Math.round(source.behindMs), latencyMs, ...(books === undefined ? {} : { books }) })
    if (!json) {
      const { p50, p99, max } = latencyMs
      io.stdout.write(`from when a job was due to its acknowledgement: p50 ${humanDuration(p50)}, p99 ${humanDuration(p99)}, most ${humanDuration(max)}; behind the pace by ${humanDuration(source.behindMs)} at most\n`)
      if (books !== undefined) {
        const counts = `${humanCount(books.accepted)} accepted, ${humanCount(books.submitted)} submitted, ${humanCount(books.dead)} dead, ${humanCount(books.waiting)} waiting, ${humanCount(books.duplicates)} twice`
        io.stdout.write(`the books of the store ${books.balanced ? 'balance' : "DON'T balance"}: ${counts}\n`)
      }
    }
    if (stop.signal.aborted) return 130
    if (report.inDoubt + report.unsent + report.refusedForNow > 0 || books?.balanced === false) return 75
    return report.refused > 0 ? 65 : 0
  } finally {
    client?.destroy()
    input.destroy()
    process.off('SIGINT', onInterrupt)
    process.off('SIGTERM', onInterrupt)
  }
}
