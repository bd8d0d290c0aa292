import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Command } from 'commander'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { codes, UsherError } from '../../../src/base/errors.ts'
import { clusterRemedy, renderDiagnoses, statusOf } from '../../../src/cli/doctor.ts'
import { asUsherError, reportError } from '../../../src/cli/exit.ts'
import { painter } from '../../../src/cli/output.ts'
import { createProgram, run } from '../../../src/cli/program.ts'

const captured = () => {
  let text = ''
  return {
    write: (part: string) => {
      text += part
    },
    text: () => text,
  }
}

const runCaptured = async (...args: string[]) => {
  const [out, err] = [captured(), captured()]
  const status = await run(args, out, err)
  return { status, out: out.text(), err: err.text() }
}

describe('the command usher', () => {
  let folder: string
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'usher-cli-'))
  })
  afterEach(() => {
    rmSync(folder, { recursive: true })
    process.exitCode = undefined
  })

  it('prints the version of package.json', async () => {
    const manifest = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')) as { version: string }
    expect(await runCaptured('--version')).toEqual({ status: 0, out: `${manifest.version}\n`, err: '' })
  })

  it('shows help with examples first, on standard output when asked for', async () => {
    const { status, out } = await runCaptured('--help')
    expect(status).toBe(0)
    expect(out.startsWith('Examples:\n')).toBe(true)
    expect(out.indexOf('Examples:')).toBeLessThan(out.indexOf('Usage: usher'))
  })

  it('has examples before the usage of every command', async () => {
    const leaves = (command: Command): Command[] => (command.commands.length === 0 ? [command] : command.commands.flatMap(leaves))
    const pathOf = (command: Command): string[] => (command.parent === null ? [] : [...pathOf(command.parent), command.name()])
    const all = leaves(createProgram()).map(pathOf)
    expect(all.length).toBeGreaterThan(1)
    for (const path of all) expect((await runCaptured(...path, '--help')).out, path.join(' ')).toMatch(/^Examples?:\n/)
  })

  it.each([
    { args: ['sned'], says: "unknown command 'sned'" },
    { args: ['doctor', '--stroe', 'x'], says: "unknown option '--stroe'\n(Did you mean --store?)" },
    { args: ['doctor', '--store'], says: "option '--store <dir>' argument missing" },
    { args: ['config', 'show', 'extra'], says: 'too many arguments' },
  ])('ends with 64 and says what is wrong with $args', async ({ args, says }) => {
    const { status, out, err } = await runCaptured(...args)
    expect(status).toBe(64)
    expect(out).toBe('')
    expect(err).toMatch(/^usher: /)
    expect(err).toContain(says)
  })

  it('ends with 64 and help on standard error where no command is given', async () => {
    for (const args of [[], ['config']]) {
      const { status, out, err } = await runCaptured(...args)
      expect(status).toBe(64)
      expect(out).toBe('')
      expect(err).toContain('Usage: usher')
    }
  })

  it('ends with 78 and the key in JSON where the configuration is not valid', async () => {
    const file = join(folder, 'usher.toml')
    writeFileSync(file, 'lease = "soon"\n')
    const { status, out, err } = await runCaptured('config', 'show', '--config', file, '--json')
    expect(status).toBe(78)
    expect(out).toBe('')
    const { error } = JSON.parse(err) as { error: { code: string; message: string; details: { problems: unknown[] } } }
    expect(error.code).toBe('config_invalid')
    expect(error.details.problems).toMatchObject([{ key: 'lease', origin: `${file}:1`, given: 'soon' }])
  })
})

describe('an error', () => {
  it('is printed with its hint, and ends the command with the status of its code', () => {
    const err = captured()
    const error = new UsherError('address_in_use', '127.0.0.1:7433 is taken', {
      details: { hint: 'choose another with --listen' },
    })
    expect(reportError(error, false, err)).toBe(codes.address_in_use.exit)
    expect(err.text()).toBe('usher: 127.0.0.1:7433 is taken\nchoose another with --listen\n')
  })

  it('is one JSON document for programs', () => {
    const err = captured()
    expect(reportError(new UsherError('not_found', 'no such job', { details: { id: 'x' } }), true, err)).toBe(65)
    expect(JSON.parse(err.text())).toEqual({ error: { code: 'not_found', message: 'no such job', details: { id: 'x' } } })
  })

  it('that nobody expected is internal, with the place where it happened', () => {
    const err = captured()
    expect(reportError(new TypeError('x is not a function'), false, err)).toBe(70)
    expect(err.text()).toContain('usher: x is not a function\n')
    expect(err.text()).toContain('program.test.ts')
  })

  it('of the operating system keeps its meaning', () => {
    expect(asUsherError(Object.assign(new Error('EACCES: no'), { code: 'EACCES' })).code).toBe('permission')
    expect(asUsherError(Object.assign(new Error('ENOENT: no'), { code: 'ENOENT' })).code).toBe('not_found')
  })
})

describe('usher doctor', () => {
  const good = { subject: 'store', name: 'link', ok: true, detail: 'one of two wins' } as const
  const bad = { subject: 'store', name: 'space', ok: false, detail: '0 MiB\nfree', remedy: 'make room' } as const
  const away = { subject: 'cluster main', name: 'slurm preflight', ok: false, detail: 'refused' } as const

  it('ends with 0 if all is well, 69 if only a cluster fails, else 78', () => {
    expect([[good], [good, away], [bad], [bad, away]].map(statusOf)).toEqual([0, 69, 78, 78])
  })

  it("says of a failing cluster the driver's reason and where to look", () => {
    const slurm = { driver: 'slurm', hold: false, array_jobs: 1000, in_flight: 8, timeout: 30, settle: 30, min_job_age: 300 } as const
    const commands = clusterRemedy('main', slurm, 'scontrol ping: it exited with 1')
    expect(commands).toMatch(/^scontrol ping: it exited with 1\. .* main .*'scontrol ping'/)
    const rest = clusterRemedy('main', { ...slurm, url: 'unix:/run/slurmrestd' }, 'ECONNREFUSED')
    expect(rest).toMatch(/^ECONNREFUSED\. .*slurmrestd at unix:\/run\/slurmrestd.*\[cluster\.main\]/)
    const command = { driver: 'command', submit: ['/opt/submit', '-x'], timeout: 60, in_flight: 4, settle: 60 } as const
    expect(clusterRemedy('b', command, 'no')).toContain("'/opt/submit'")
    expect(clusterRemedy('b', { ...command, preflight: ['/opt/check'] }, 'no')).toContain("'/opt/check'")
  })

  it('prints each check on one line, and what to do', () => {
    const text = renderDiagnoses([good, bad], painter({ write: () => true }))
    expect(text).toBe(
      '   WHAT   CHECK  FOUND\n✓  store  link   one of two wins\n✗  store  space  0 MiB\\u000afree\n\nremedy  store, space: make room\n',
    )
  })
})
