import { describe, expect, it } from 'vitest'
import { barPlot, linePlot, shortNumber } from '../../../src/bench/chart.ts'
import { renderReport } from '../../../src/bench/report.ts'
import type { Measure, Plot } from '../../../src/bench/results.ts'
import { results } from './results.ts'

const measure = (name: string, unit: string, rounds: readonly number[]): Measure => ({ name, what: `what ${name} is`, unit, better: 'higher', rounds })
const plot = (points: [number, number][], more: Partial<Plot> = {}): Plot => ({ title: 'a plot', x: 'seconds', y: 'jobs/s', series: [{ name: 'usher', points }], ...more })

/** Opening and closing tags of SVG and HTML, in order. */
const isBalanced = (html: string): boolean => {
  const open: string[] = []
  for (const [, end, name, , single] of html.matchAll(/<(\/?)([a-z][a-z0-9]*)((?:"[^"]*"|[^>"])*?)(\/?)>/gi)) {
    if (single === '/' || ['meta', 'html', 'body', 'p'].includes(name ?? '')) continue
    if (end === '') open.push(name ?? '')
    else if (open.pop() !== name) return false
  }
  return open.length === 0
}

const numbersIn = (svg: string): number[] => Array.from(svg.matchAll(/\b(?:x|y|x1|x2|y1|y2|cx|cy|width)="([^"]*)"/g), ([, text]) => Number(text))

describe('the report', () => {
  const page = renderReport(results({
    measures: [
      measure('accept/usher', 'jobs/s', [400_000, 500_000, 450_000]),
      measure('accept/Redis XADD', 'jobs/s', [200_000, 250_000, 225_000]),
      measure('accept/usher ÷ Redis XADD', '×', [2, 2, 2]),
    ],
    plots: [plot([[0, 1], [1, 2]])],
    books: [{ run: 'a', sent: 1000, accepted: 1000, found: 1000, twice: 0 }, { run: 'b', sent: 234, accepted: 234, found: 234, twice: 0 }],
    peers: { 'Redis XADD': '7.0.15' },
  }))

  it('needs nothing but itself', () => {
    expect(page).not.toMatch(/<script|<link|<img|@import|url\(|https?:/)
  })

  it('has every measure with its median, spread and rounds, the machine and the books', () => {
    for (const text of ['450,000 jobs/s', '400,000 to 500,000', 'what accept/usher is', 'commit 0123456', 'a processor', 'Redis XADD 7.0.15', '1,234 jobs were sent; each was acknowledged and found once']) {
      expect(page).toContain(text)
    }
    expect(isBalanced(page)).toBe(true)
  })

  it('serves light and dark', () => {
    expect(page).toContain('color-scheme: light dark')
    expect(page).toContain('prefers-color-scheme: dark')
  })

  it('says so where books do not balance', () => {
    expect(renderReport(results({ books: [{ run: 'the bad one', sent: 2, accepted: 2, found: 1, twice: 0 }] }))).toContain("The books don&#39;t balance: the bad one")
  })

  it('shows text from outside as text', () => {
    const hostile = renderReport(results({ commit: '<script>"&', measures: [measure('<b>/x', '<i>', [1])], plots: [plot([[0, 1]], { title: '<b>', x: '<b>', y: '"' })] }))
    expect(hostile).not.toMatch(/<script|<b>|<i>/)
    expect(isBalanced(hostile)).toBe(true)
  })
})

describe('a plot', () => {
  it.each([
    ['one point', plot([[5, 5]])],
    ['zeros', plot([[0, 0], [1, 0]])],
    ['logarithmic axes', plot([[1, 0.01], [10_000, 900]], { logX: true, logY: true })],
    ['one value on logarithmic axes', plot([[10, 10], [10, 10]], { logX: true, logY: true })],
    ['what a logarithm has no place for', plot([[0, 1], [1, 0], [10, 5]], { logX: true, logY: true })],
  ])('of %s keeps inside of its frame', (_, given) => {
    const svg = linePlot(given)
    const points = Array.from(svg.matchAll(/points="([^"]*)"/g), ([, text]) => text!.split(' ').map((point) => point.split(',').map(Number))).flat()
    expect(points.length).toBeGreaterThan(0)
    for (const [x, y] of points) {
      expect(x).toBeGreaterThanOrEqual(0)
      expect(x).toBeLessThanOrEqual(640)
      expect(y).toBeGreaterThanOrEqual(0)
      expect(y).toBeLessThanOrEqual(300)
    }
    expect(numbersIn(svg).every((value) => Number.isFinite(value))).toBe(true)
  })

  it('of nothing is nothing', () => {
    expect(linePlot(plot([]))).toBe('')
    expect(linePlot(plot([[0, 1]], { logX: true }))).toBe('')
    expect(barPlot('t', [], '×')).toBe('')
  })

  it('has higher values higher, and larger ones further right', () => {
    const [[x1 = 0, y1 = 0] = [], [x2 = 0, y2 = 0] = []] = /points="([^"]*)"/.exec(linePlot(plot([[1, 10], [2, 20]])))![1]!.split(' ').map((point) => point.split(',').map(Number))
    expect(x2).toBeGreaterThan(x1)
    expect(y2).toBeLessThan(y1)
  })

  it('has bars as long as their values', () => {
    const svg = barPlot('t', [{ name: 'a', value: 1, least: 1, most: 1 }, { name: 'b', value: 3, least: 2, most: 4 }], '×', 1)
    const [a = 0, b = 0] = Array.from(svg.matchAll(/class="bar"[^>]* width="([^"]+)"/g), ([, text]) => Number(text))
    expect(b / a).toBeCloseTo(3, 1)
    expect(numbersIn(svg).every((value) => Number.isFinite(value))).toBe(true)
  })
})

describe('numbers on axes', () => {
  it.each([[0, '0'], [0.05, '0.05'], [999, '999'], [12_000, '12k'], [1_500_000, '1.5M'], [2e9, '2G']])('%d is written %s', (value, text) => {
    expect(shortNumber(value)).toBe(text)
  })
})
