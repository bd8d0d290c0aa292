import { describe, expect, it } from 'vitest'
import { humanAge, humanBytes, humanCount, humanDuration, painter, printable, renderTable } from '../../../src/cli/output.ts'

describe('numbers for people', () => {
  it.each([
    [0, '0 ms'],
    [0.123, '0.12 ms'],
    [12.4, '12 ms'],
    [999.4, '999 ms'],
    [999.6, '1 s'],
    [3_400, '3.4 s'],
    [59_949, '59.9 s'],
    [59_999, '1 min'],
    [125_000, '2 min 5 s'],
    [3_599_600, '1 h'],
    [12_000_000, '3 h 20 min'],
    [86_399_999, '1 d'],
    [7 * 86_400_000, '7 d'],
    [439_200_000, '5 d 2 h'],
    [-1_500, '-1.5 s'],
    [Number.NaN, '?'],
  ])('shows %d ms as %s', (ms, text) => expect(humanDuration(ms)).toBe(text))

  it.each([
    [0, '0 B'],
    [1_023, '1023 B'],
    [1_024, '1 KiB'],
    [1_572_864, '1.5 MiB'],
    [1_048_575, '1 MiB'],
    [2 ** 50, '1024 TiB'],
  ])('shows %d bytes as %s', (value, text) => expect(humanBytes(value)).toBe(text))

  it('shows counts with commas and ages as how long ago', () => {
    expect(humanCount(1_234_567)).toBe('1,234,567')
    expect(humanAge(1_000, 4_000)).toBe('3 s ago')
    expect(humanAge(4_000, 1_000)).toBe('now')
  })
})

describe('tables', () => {
  it('are aligned whatever is coloured, without spaces at the ends of lines', () => {
    const columns = [{ title: 'NAME' }, { title: 'JOBS', align: 'right' }, { title: 'WHY' }] as const
    const rows = [
      ['\u001b[32mab\u001b[39m', '7', ''],
      ['é', '12,345', 'x'],
    ]
    expect(renderTable(columns, rows)).toBe('NAME    JOBS  WHY\n\u001b[32mab\u001b[39m         7\né     12,345  x\n')
  })
})

describe('colours', () => {
  it('appear on a terminal alone, and not with NO_COLOR or TERM=dumb', () => {
    const terminal = { isTTY: true, write: () => true }
    expect(painter({ write: () => true }, {})('red', 'x')).toBe('x')
    expect(painter(terminal, { NO_COLOR: '1' })('red', 'x')).toBe('x')
    expect(painter(terminal, { TERM: 'dumb' })('red', 'x')).toBe('x')
    expect(painter(terminal, { NO_COLOR: '' })('red', 'x')).toBe('\u001b[31mx\u001b[39m')
  })
})

it('prints text from outside without control characters', () => {
  expect(printable('a\u001b[2Jb\n\u009bc\u2028é')).toBe('a\\u001b[2Jb\\u000a\\u009bc\\u2028é')
})
