// Hands jobs to a program of the user's: the way to any scheduler that usher doesn't know. docs/drivers.md has the
// contract with the programs; the exit statuses are those of sysexits.h.
import type { Driver, DriverContext, DriverLimits, Finding, Origin, Outcome, Preflight, Submission } from '../driver.ts'
import { excerpt, jobMessage } from './job-message.ts'
import { executableAt, type ProgramEnd, runProgram, settlesAfterMs } from './program.ts'
import type { CommandOptions } from './registry.ts'

/** What the exit status of `submit` says. Those that aren't here say nothing for certain: doubt. */
const refusedStatuses = new Set([64, 65, 66, 67, 68])
/** 69 unavailable, 75 try again; 77 permission and 78 configuration are faults of this host, not of the job. */
const laterStatuses = new Set([69, 75, 77, 78])
const passingStatuses = new Set([69, 75])

export const createCommandDriver = (options: CommandOptions, context: DriverContext): Driver =>
  new CommandDriver(options, context)

class CommandDriver implements Driver {
  readonly kind = 'command'
  readonly limits: DriverLimits
  readonly find: Driver['find']
  readonly #options: CommandOptions
  readonly #context: DriverContext
  readonly #timeoutMs: number

  constructor(options: CommandOptions, context: DriverContext) {
    this.#options = options
    this.#context = context
    this.#timeoutMs = (options.timeout ?? 60) * 1000
    this.limits = {
      batchJobsMax: 1,
      inFlightMax: options.in_flight ?? 4,
      settleMs: Math.max((options.settle ?? 60) * 1000, settlesAfterMs(this.#timeoutMs)),
      askEveryMs: 5000,
    }
    const { find } = options
    this.find = find === undefined ? null : (ids, signal) => this.#findAll(find, ids, signal)
  }

  async preflight(signal: AbortSignal): Promise<Preflight> {
    const { preflight, submit } = this.#options
    if (preflight === undefined) {
      const file = executableAt(submit[0] ?? '', process.env['PATH'])
      return file === undefined
        ? { ok: false, kind: 'refused', reason: `'${submit[0] ?? ''}' is not an executable file` }
        : { ok: true, detail: `${file} is executable (no preflight program is configured)` }
    }
    const end = await this.#run(preflight, undefined, {}, signal)
    if (end.kind === 'exited' && end.code === 0)
      return { ok: true, detail: excerpt(end.stdout) || 'the preflight program exited with 0' }
    const passing = end.kind === 'killed' || (end.kind === 'exited' && passingStatuses.has(end.code))
    return { ok: false, kind: passing ? 'unreachable' : 'refused', reason: describe(end) }
  }

  submit(jobs: readonly Submission[], origin: Origin, signal: AbortSignal): Promise<Outcome[]> {
    return Promise.all(jobs.map((job) => this.#submitOne(job, origin, signal)))
  }

  async #submitOne(job: Submission, origin: Origin, signal: AbortSignal): Promise<Outcome> {
    const environment = { USHER_JOB_ID: job.id, USHER_TERM: String(origin.term), USHER_HOST: origin.host }
    const end = await this.#run(this.#options.submit, jobMessage(job, origin) + '\n', environment, signal)
    if (end.kind === 'unstarted') return { kind: 'later', reason: end.reason }
    if (end.kind === 'exited') {
      if (end.code === 0) return { kind: 'submitted', jobId: firstLine(end.stdout) }
      if (refusedStatuses.has(end.code)) return { kind: 'refused', reason: describe(end) }
      if (laterStatuses.has(end.code)) return { kind: 'later', reason: describe(end) }
    }
    return { kind: 'doubt', reason: describe(end) }
  }

  async #findAll(find: readonly string[], ids: readonly string[], signal: AbortSignal): Promise<Finding[]> {
    const findings: Finding[] = Array.from({ length: ids.length }, () => ({ kind: 'unknown', reason: 'not asked' }))
    let next = 0
    const worker = async (): Promise<void> => {
      for (let at = next++; at < ids.length; at = next++) {
        const id = ids[at] ?? ''
        const end = await this.#run([...find, id], undefined, { USHER_JOB_ID: id }, signal)
        if (end.kind === 'exited' && end.code === 0) findings[at] = { kind: 'found', jobId: firstLine(end.stdout) }
        else if (end.kind === 'exited' && end.code === 1) findings[at] = { kind: 'absent' }
        else findings[at] = { kind: 'unknown', reason: describe(end) }
      }
    }
    await Promise.all(Array.from({ length: Math.min(this.limits.inFlightMax, ids.length) }, worker))
    return findings
  }

  #run(
    argv: readonly string[],
    stdin: string | undefined,
    more: Record<string, string>,
    signal: AbortSignal,
  ): Promise<ProgramEnd> {
    const environment: Record<string, string> = { USHER_CLUSTER: this.#context.cluster, USHER_HOST: this.#context.host, ...more }
    for (const [name, value] of Object.entries(process.env)) {
      if (value !== undefined && !name.startsWith('USHER_') && !name.startsWith('NODE_')) environment[name] = value
    }
    return runProgram({ argv, environment, timeoutMs: this.#timeoutMs, ...(stdin === undefined ? {} : { stdin }) }, signal)
  }

  close(): Promise<void> {
    return Promise.resolve()
  }
}

const firstLine = (text: string): string | null =>
  text
    .split('\n')
    .find((line) => line.trim() !== '')
    ?.trim()
    .slice(0, 1024) ?? null

const describe = (end: ProgramEnd): string => {
  if (end.kind === 'unstarted') return end.reason
  const said = excerpt(end.stderr) || excerpt(end.stdout)
  const what = end.kind === 'exited' ? `the program exited with ${end.code}` : `the program was ${end.reason}`
  return said === '' ? what : `${what}: ${said}`
}
