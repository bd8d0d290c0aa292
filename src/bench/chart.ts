// Plots as SVG text: lines over linear or logarithmic axes, and horizontal bars. Colours are the page's CSS classes, so that
// one drawing serves light and dark.
import type { Plot, Series } from './results.ts'

export const escapeText = (text: string): string =>
  text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`)

const width = 640
const height = 300
const left = 64
const right = 16
const top = 12
const bottom = 44

/** `1.2M`, `350k`, `0.05`. */
export const shortNumber = (value: number): string => {
  const size = Math.abs(value)
  if (size >= 1e9) return `${Number((value / 1e9).toPrecision(3))}G`
  if (size >= 1e6) return `${Number((value / 1e6).toPrecision(3))}M`
  if (size >= 1e4) return `${Number((value / 1e3).toPrecision(3))}k`
  return `${Number(value.toPrecision(3))}`
}

/** Round numbers, some five of them, from zero or below to the highest value or above. */
const linearTicks = (most: number): number[] => {
  if (!(most > 0)) return [0, 1]
  const rough = most / 5
  const power = 10 ** Math.floor(Math.log10(rough))
  const step = power * ([1, 2, 5, 10].find((factor) => factor * power >= rough) ?? 10)
  return Array.from({ length: Math.ceil(most / step - 1e-9) + 1 }, (_, i) => i * step)
}

const logTicks = (values: readonly number[]): number[] => {
  const from = Math.floor(Math.log10(Math.min(...values)))
  const to = Math.max(from + 1, Math.ceil(Math.log10(Math.max(...values)) - 1e-9))
  return Array.from({ length: to - from + 1 }, (_, i) => 10 ** (from + i))
}

interface Axis {
  readonly ticks: readonly number[]
  /** 0 to 1 along the axis. */
  readonly place: (value: number) => number
}

const axisOf = (values: readonly number[], log: boolean): Axis => {
  const ticks = log ? logTicks(values) : linearTicks(Math.max(...values))
  const scale = log ? Math.log10 : (value: number): number => value
  const [first, last] = [scale(ticks[0] ?? 0), scale(ticks.at(-1) ?? 1)]
  return { ticks, place: (value) => (scale(value) - first) / (last - first) }
}

const fixed = (value: number): string => `${Number(value.toFixed(1))}`

export const legend = (series: readonly Series[]): string =>
  series.length < 2 ? '' : `<p class="legend">${series.map(({ name }, i) => `<span class="c${i % 8}">${escapeText(name)}</span>`).join(' ')}</p>`

export const linePlot = (plot: Plot): string => {
  const usable = plot.series.map(({ name, points }) => ({
    name,
    points: points.filter(([x, y]) => Number.isFinite(x) && Number.isFinite(y) && (plot.logX !== true || x > 0) && (plot.logY !== true || y > 0)),
  }))
  const points = usable.flatMap((series) => series.points)
  if (points.length === 0) return ''
  const x = axisOf(points.map(([value]) => value), plot.logX === true)
  const y = axisOf(points.map(([, value]) => value), plot.logY === true)
  const atX = (value: number): number => left + x.place(value) * (width - left - right)
  const atY = (value: number): number => height - bottom - y.place(value) * (height - top - bottom)
  const grid = [
    ...y.ticks.map((tick) => `<line class="grid" x1="${left}" x2="${width - right}" y1="${fixed(atY(tick))}" y2="${fixed(atY(tick))}"/><text x="${left - 6}" y="${fixed(atY(tick) + 4)}" text-anchor="end">${shortNumber(tick)}</text>`),
    ...x.ticks.map((tick) => `<line class="grid" x1="${fixed(atX(tick))}" x2="${fixed(atX(tick))}" y1="${top}" y2="${height - bottom}"/><text x="${fixed(atX(tick))}" y="${height - bottom + 16}" text-anchor="middle">${shortNumber(tick)}</text>`),
  ]
  const lines = usable.map((series, i) => {
    const places = series.points.map(([px, py]) => `${fixed(atX(px))},${fixed(atY(py))}`)
    const dots = places.length > 40 ? '' : places.map((place) => `<circle cx="${place.split(',')[0]}" cy="${place.split(',')[1]}" r="2.5"/>`).join('')
    return `<g class="c${i % 8}"><polyline points="${places.join(' ')}"/>${dots}</g>`
  })
  const labels = `<text class="label" x="${(left + width - right) / 2}" y="${height - 6}" text-anchor="middle">${escapeText(plot.x)}</text>` +
    `<text class="label" transform="translate(14 ${(top + height - bottom) / 2}) rotate(-90)" text-anchor="middle">${escapeText(plot.y)}</text>`
  return `<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${escapeText(plot.title)}">${grid.join('')}${lines.join('')}${labels}</svg>${legend(usable)}`
}

export interface Bar {
  readonly name: string
  readonly value: number
  readonly least: number
  readonly most: number
}

/** Horizontal bars with their spread; `mark` is a line to compare with. */
export const barPlot = (title: string, bars: readonly Bar[], unit: string, mark?: number): string => {
  if (bars.length === 0) return ''
  const rowHeight = 26
  // Letters are some 7.5 wide in this size; what still doesn't fit is cut off at its beginning.
  const nameWidth = Math.min(360, 16 + 7.5 * Math.max(...bars.map(({ name }) => name.length)))
  const tall = bars.length * rowHeight + 28
  const { ticks, place } = axisOf([...bars.map(({ most }) => most), mark ?? 0], false)
  const at = (value: number): number => nameWidth + place(value) * (width - nameWidth - 70)
  const rows = bars.map(({ name, value, least, most }, i) => {
    const y = i * rowHeight + 4
    return `<text x="${nameWidth - 8}" y="${y + 14}" text-anchor="end">${escapeText(name)}</text>` +
      `<rect class="bar" x="${nameWidth}" y="${y}" width="${fixed(Math.max(1, at(value) - nameWidth))}" height="18"/>` +
      `<line class="spread" x1="${fixed(at(least))}" x2="${fixed(at(most))}" y1="${y + 9}" y2="${y + 9}"/>` +
      `<text x="${fixed(at(Math.max(value, most)) + 6)}" y="${y + 14}">${shortNumber(value)} ${escapeText(unit)}</text>`
  })
  const axis = ticks.map((tick) => `<text x="${fixed(at(tick))}" y="${tall - 6}" text-anchor="middle">${shortNumber(tick)}</text>`)
  const line = mark === undefined ? '' : `<line class="mark" x1="${fixed(at(mark))}" x2="${fixed(at(mark))}" y1="0" y2="${tall - 22}"/>`
  return `<svg viewBox="0 0 ${width} ${tall}" role="img" aria-label="${escapeText(title)}">${rows.join('')}${axis.join('')}${line}</svg>`
}
