// The log: lines on standard error, each with who wrote it (host, instance, pid, version). JSON for machines, or one
// readable line each on a terminal. Logging must never stop the program: a reader that went away is no error here.
import { isatty } from 'node:tty'
import { type DestinationStream, pino, type Logger } from 'pino'
import { errnoOf } from '../base/errors.ts'

export type { Logger } from 'pino'

export interface LogOptions {
  readonly level: string
  /** `auto`: `pretty` on a terminal, else `json`. */
  readonly format: 'auto' | 'json' | 'pretty'
  readonly host: string
  readonly instance: string
  readonly version: string
  /** For tests; otherwise standard error. */
  readonly destination?: DestinationStream
  /** For tests; otherwise found out from standard error and NO_COLOR. */
  readonly terminal?: boolean
  readonly env?: Readonly<Record<string, string | undefined>>
}

/** Left out of readable lines: the same on all of them, or shown in another place. */
const hidden: ReadonlySet<string> = new Set(['level', 'time', 'msg', 'host', 'instance', 'pid', 'version', 'err'])

const colorOf: Readonly<Record<string, number>> = { trace: 90, debug: 90, info: 32, warn: 33, error: 31, fatal: 35 }

/** Text from outside (a producer's name, a cluster's answer) must not move the cursor or fake a second line. */
const printable = (text: string): string =>
  text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`)

const fieldText = (value: unknown): string => {
  const text = typeof value === 'string' ? value : (JSON.stringify(value) ?? 'undefined')
  return /^[^\s"=]+$/.test(text) || typeof value !== 'string' ? printable(text) : printable(JSON.stringify(text))
}

/** One JSON line of the log as people read it: `04:00:00.123 INFO  listening address=127.0.0.1:7433`. */
export const prettyLine = (line: string, color: boolean): string => {
  const paint = (code: number, text: string): string => (color ? `\u001b[${code}m${text}\u001b[0m` : text)
  let record: Record<string, unknown>
  try {
    record = JSON.parse(line) as Record<string, unknown>
  } catch {
    // Not one of our lines: better shown as it is than lost.
    return line
  }
  const level = String(record['level'])
  const time = typeof record['time'] === 'string' ? record['time'].slice(11, 23) : ''
  const fields = Object.entries(record)
    .filter(([name]) => !hidden.has(name))
    .map(([name, value]) => ` ${paint(90, `${printable(name)}=`)}${fieldText(value)}`)
  const error = record['err'] as { stack?: unknown; message?: unknown } | undefined
  const stack = error === undefined ? [] : String(error.stack ?? error.message).split('\n')
  const message = typeof record['msg'] === 'string' ? printable(record['msg']) : ''
  const head = `${paint(90, time)} ${paint(colorOf[level] ?? 0, level.toUpperCase().padEnd(5))} ${message}${fields.join('')}`
  return [head, ...stack.map((each) => `    ${printable(each)}`), ''].join('\n')
}

/** Standard error, written at once: the last lines before a crash are those that matter. */
const standardError = (): DestinationStream => {
  const destination = pino.destination({ fd: 2, sync: true })
  destination.on('error', (error: unknown) => {
    // Nobody reads standard error any more (EPIPE, EIO of a closed terminal): there is nowhere left to say so.
    if (!['EPIPE', 'EIO', 'EBADF'].includes(errnoOf(error) ?? '')) throw error
  })
  return destination
}

/** A logger whose every line says who wrote it. */
export const createLogger = (options: LogOptions): Logger => {
  const destination = options.destination ?? standardError()
  const terminal = options.terminal ?? isatty(2)
  const env = options.env ?? process.env
  const pretty = options.format === 'pretty' || (options.format === 'auto' && terminal)
  const color = terminal && !env['NO_COLOR'] && env['TERM'] !== 'dumb'
  const stream: DestinationStream = pretty ? { write: (line) => destination.write(prettyLine(line, color)) } : destination
  return pino(
    {
      level: options.level,
      base: { host: options.host, instance: options.instance, pid: process.pid, version: options.version },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    stream,
  )
}
