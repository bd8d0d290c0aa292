// What `usher send` tells people and programs: counts, the jobs that were refused or are in doubt, a progress bar on
// a terminal. Data goes to stdout, messages to stderr. Keeps counts only, however long the input.
import type { Code } from '../base/errors.ts'

export interface FailedLine {
  readonly line: number
  readonly id: string
  readonly code: Code
  readonly retryable: boolean
  /** '' for the job as a whole. */
  readonly field: string
  readonly reason: string
}

export interface SendOutput {
  readonly stdout: { write(text: string): unknown }
  readonly stderr: { write(text: string): unknown; readonly isTTY?: boolean; readonly columns?: number }
  readonly env: Readonly<Record<string, string | undefined>>
}

/** Listed on stderr; --json lists all. */
const shownMax = 20
const redrawMs = 100
const barCells = 24

/** in doubt: sent and not answered. unsent: it never left, or was refused for a reason that passes. */
type FailureKind = 'refused' | 'inDoubt' | 'unsent'

const unsentCodes: ReadonlySet<Code> = new Set(['timed_out', 'aborted', 'closed', 'disconnected', 'queue_full'])

const kindOf = (code: Code): FailureKind => (code === 'in_doubt' ? 'inDoubt' : unsentCodes.has(code) ? 'unsent' : 'refused')

export class SendReport {
  accepted = 0
  refused = 0
  /** Of the refused, those for a reason that passes. */
  refusedForNow = 0
  inDoubt = 0
  unsent = 0
  /** Bytes of the input read, and of all (undefined: not known). */
  readBytes = 0
  totalBytes: number | undefined
  readonly #json: boolean
  readonly #output: SendOutput
  readonly #startedMs: number
  readonly #bar: boolean
  readonly #colour: boolean
  #shown = 0
  #drawn = false
  #drawnAtMs = -Infinity

  constructor(json: boolean, output: SendOutput, nowMs = performance.now()) {
    this.#json = json
    this.#output = output
    this.#startedMs = nowMs
    this.#bar = output.stderr.isTTY === true && output.env['TERM'] !== 'dumb'
    this.#colour = this.#bar && (output.env['NO_COLOR'] ?? '') === ''
  }

  get answered(): number {
    return this.accepted + this.refused + this.inDoubt
  }

  failed(failure: FailedLine): void {
    const kind = kindOf(failure.code)
    this[kind]++
    if (kind === 'refused' && failure.retryable) this.refusedForNow++
    const { line, id, code, field, reason } = failure
    if (this.#json) this.#output.stdout.write(`${JSON.stringify({ line, id, outcome: kind, code, field, reason })}\n`)
    if (this.#shown++ < shownMax) this.message(`line ${line}: ${code}: ${reason}`)
    else if (this.#shown === shownMax + 1) this.message(`further jobs are counted${this.#json ? ' here' : ''}; --json lists each`)
  }

  message(text: string): void {
    this.#erase()
    this.#output.stderr.write(`${text}\n`)
  }

  /** Draws at most ten times a second. */
  progress(nowMs = performance.now()): void {
    if (!this.#bar || nowMs - this.#drawnAtMs < redrawMs) return
    this.#drawnAtMs = nowMs
    const seconds = Math.max(0.001, (nowMs - this.#startedMs) / 1000)
    const perSecond = Math.round(this.answered / seconds).toLocaleString('en')
    const parts = [`${this.accepted.toLocaleString('en')} accepted`, `${perSecond}/s`]
    if (this.refused > 0) parts.push(this.#paint(31, `${this.refused} refused`))
    if (this.inDoubt > 0) parts.push(this.#paint(33, `${this.inDoubt} in doubt`))
    const total = this.totalBytes ?? 0
    const share = total === 0 ? undefined : Math.min(1, this.readBytes / total)
    const cells = share === undefined ? 0 : Math.floor(share * barCells)
    const roomy = (this.#output.stderr.columns ?? 80) >= 70
    const drawn = `${this.#paint(36, '█'.repeat(cells))}${'░'.repeat(barCells - cells)}`
    const bar = share === undefined || !roomy ? '' : `${drawn} ${Math.floor(share * 100)} %  `
    this.#output.stderr.write(`\r\u001b[K${bar}${parts.join('  ')}`)
    this.#drawn = true
  }

  /** `more`: what the summary of a command says besides, for programs. */
  finish(nowMs = performance.now(), more: Readonly<Record<string, unknown>> = {}): void {
    this.#erase()
    const seconds = Math.round(nowMs - this.#startedMs) / 1000
    const { accepted, refused, inDoubt, unsent, answered } = this
    if (this.#json) {
      const summary = { sent: answered, accepted, refused, inDoubt, seconds, ...(unsent === 0 ? {} : { unsent }), ...more }
      this.#output.stdout.write(`${JSON.stringify(summary)}\n`)
      return
    }
    const left = unsent === 0 ? '' : `, ${unsent} not sent`
    const counts = `${accepted} accepted, ${refused} refused, ${inDoubt} in doubt${left}`
    this.#output.stdout.write(`${answered} sent: ${counts}, ${seconds} s\n`)
  }

  #erase(): void {
    if (this.#drawn) this.#output.stderr.write('\r\u001b[K')
    this.#drawn = false
  }

  #paint(colour: number, text: string): string {
    return this.#colour ? `\u001b[${colour}m${text}\u001b[0m` : text
  }
}
