import { describe, expect, it } from 'vitest'
import { createLogger, prettyLine } from '../../../src/observe/log.ts'

const logged = (format: 'auto' | 'json' | 'pretty', terminal: boolean, env: Record<string, string> = {}) => {
  const lines: string[] = []
  const destination = { write: (line: string) => void lines.push(line) }
  const log = createLogger({
    level: 'info',
    format,
    host: 'node7',
    instance: 'node7-1',
    version: '1.2.3',
    destination,
    terminal,
    env,
  })
  return { log, lines }
}

describe('the log', () => {
  it('says on each line who wrote it, and leaves out what is below its level', () => {
    const { log, lines } = logged('auto', false)
    log.debug('unseen')
    log.warn({ free: 3 }, 'little room')
    expect(lines).toHaveLength(1)
    const record = JSON.parse(lines[0] ?? '') as Record<string, unknown>
    expect(record).toMatchObject({
      level: 'warn',
      host: 'node7',
      instance: 'node7-1',
      pid: process.pid,
      version: '1.2.3',
      free: 3,
      msg: 'little room',
    })
    expect(new Date(String(record['time'])).toISOString()).toBe(record['time'])
  })

  it('is readable on a terminal, in colours unless NO_COLOR is set', () => {
    const colored = logged('auto', true)
    colored.log.info({ address: '127.0.0.1:7433' }, 'listening')
    expect(colored.lines[0]).toContain('\u001b[32mINFO \u001b[0m listening')
    const plain = logged('auto', true, { NO_COLOR: '1' })
    plain.log.info({ address: '127.0.0.1:7433', reason: 'two words' }, 'listening')
    expect(plain.lines[0]).toMatch(/^\d\d:\d\d:\d\d\.\d{3} INFO {2}listening address=127\.0\.0\.1:7433 reason="two words"\n$/)
    const asked = logged('pretty', false)
    asked.log.info('x')
    expect(asked.lines[0]).toMatch(/^\d\d:\d\d:\d\d\.\d{3} INFO {2}x\n$/)
  })

  it('shows where an error happened, and lets no text fake a line of its own', () => {
    const { log, lines } = logged('pretty', false)
    log.error({ err: new Error('broken'), from: 'a\n00:00:00.000 INFO fake' }, 'evil\u001b[2J')
    expect(lines[0]).toContain('evil\\u001b[2J')
    expect(lines[0]).toMatch(/\n {4}Error: broken\n {4} +at /)
    expect(lines[0]?.split('\n').some((line) => line.startsWith('00:00'))).toBe(false)
  })

  it('passes on what is no line of its own', () => {
    expect(prettyLine('not json\n', true)).toBe('not json\n')
  })
})
