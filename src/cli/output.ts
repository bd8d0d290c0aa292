// What commands print: tables, colours, numbers for people. Data goes to standard output, messages to standard error.
// Colours only on a terminal and never with NO_COLOR; text from outside is printed without control characters.
import { stripVTControlCharacters } from 'node:util'

export interface Output {
  readonly isTTY?: boolean
  readonly columns?: number
  write(text: string): unknown
}

/** The SGR codes that begin and end each. */
const styles = { bold: [1, 22], dim: [2, 22], red: [31, 39], green: [32, 39], yellow: [33, 39], cyan: [36, 39] } as const

type Style = keyof typeof styles
export type Paint = (style: Style, text: string) => string

/** Colours for that stream, or none. */
export const painter = (stream: Output, env: Readonly<Record<string, string | undefined>> = process.env): Paint => {
  const color = stream.isTTY === true && !env['NO_COLOR'] && env['TERM'] !== 'dumb'
  return color ? (style, text) => `\u001b[${styles[style][0]}m${text}\u001b[${styles[style][1]}m` : (_style, text) => text
}

/** Text from a job, a cluster or another host, safe to print. */
export const printable = (text: string): string =>
  text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`)

const widthOf = (text: string): number => Array.from(stripVTControlCharacters(text)).length

export interface Column {
  readonly title: string
  readonly align?: 'left' | 'right'
}

/** Columns two spaces apart, as wide as they need to be, nothing at the end of lines. Cells may be coloured. */
export const renderTable = (columns: readonly Column[], rows: readonly (readonly string[])[], paint?: Paint): string => {
  const lines = [columns.map(({ title }) => title), ...rows]
  const widths = columns.map((_, index) => Math.max(...lines.map((line) => widthOf(line[index] ?? ''))))
  return lines
    .map((line, number) => {
      const cells = columns.map(({ align }, index) => {
        const text = line[index] ?? ''
        const space = ' '.repeat((widths[index] ?? 0) - widthOf(text))
        return align === 'right' ? space + text : text + space
      })
      const text = cells.join('  ').trimEnd()
      return `${number === 0 && paint ? paint('bold', text) : text}\n`
    })
    .join('')
}

/** One JSON document on standard output: what `--json` means for every command. */
export const printJson = (value: unknown, stream: Output = process.stdout): void => {
  stream.write(`${JSON.stringify(value)}\n`)
}

/** 3 significant digits at most: `12 ms`, `3.4 s`, `2 min 5 s`, `3 h 20 min`, `5 d 2 h`. */
export const humanDuration = (ms: number): string => {
  if (!Number.isFinite(ms)) return '?'
  if (ms < 0) return `-${humanDuration(-ms)}`
  if (ms < 1) return `${Number(ms.toFixed(2))} ms`
  if (ms < 999.5) return `${Math.round(ms)} ms`
  if (ms < 59_950) return `${Number((ms / 1_000).toFixed(1))} s`
  const pairs: [number, string, number, string][] = [
    [3_600_000, 'min', 60_000, 's'],
    [86_400_000, 'h', 3_600_000, 'min'],
    [Number.POSITIVE_INFINITY, 'd', 86_400_000, 'h'],
  ]
  const step: Record<string, number> = { s: 1_000, min: 60_000, h: 3_600_000 }
  for (const [limit, big, bigMs, small] of pairs) {
    const smallMs = step[small] ?? 1
    const rounded = Math.round(ms / smallMs) * smallMs
    if (rounded >= limit) continue
    const rest = Math.round((rounded % bigMs) / smallMs)
    return rest === 0 ? `${Math.floor(rounded / bigMs)} ${big}` : `${Math.floor(rounded / bigMs)} ${big} ${rest} ${small}`
  }
  return '?'
}

/** How long ago a time in milliseconds since 1970 was. Clocks of hosts differ: what lies ahead is `now`. */
export const humanAge = (atMs: number, nowMs: number = Date.now()): string =>
  nowMs - atMs < 1 ? 'now' : `${humanDuration(nowMs - atMs)} ago`

/** `1,234,567` */
export const humanCount = (value: number): string => value.toLocaleString('en-US', { maximumFractionDigits: 0 })

/** `1.5 MiB` */
export const humanBytes = (value: number): string => {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  let scaled = value
  let unit = 0
  while (Math.round(scaled * 10) / 10 >= 1_024 && unit < units.length - 1) {
    scaled /= 1_024
    unit += 1
  }
  return `${Number(scaled.toFixed(1))} ${units[unit]}`
}
