import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { createCommandDriver } from '../../../src/submit/drivers/command.ts'
import type { CommandOptions } from '../../../src/submit/drivers/registry.ts'
import type { Driver } from '../../../src/submit/driver.ts'
import { contextIn, job, never, newId, origin, temporaryFolder, until } from './jobs.ts'

const folder = temporaryFolder()
afterAll(() => folder.remove())

let programs = 0
const program = (body: string): string => {
  const file = join(folder.path, `program-${++programs}`)
  writeFileSync(file, `#!/bin/bash\n${body}\n`)
  chmodSync(file, 0o755)
  return file
}

const driverOf = (options: Omit<CommandOptions, 'driver'>): Driver =>
  createCommandDriver({ driver: 'command', ...options }, contextIn(folder.path))

test('the program gets the job on stdin and who submits in its environment, and its first line is the job id', async () => {
  const file = join(folder.path, 'seen')
  const driver = driverOf({
    submit: [
      program(`cat > ${file}; echo "$1 $USHER_JOB_ID $USHER_TERM $USHER_HOST" >> ${file}; echo; echo ' 4711 '`),
      'first argument',
    ],
  })
  const one = job({ executable: '/bin/echo', arguments: ['ü'] })
  expect(await driver.submit([one], origin, never)).toEqual([{ kind: 'submitted', jobId: '4711' }])
  const [line, who] = readFileSync(file, 'utf8').split('\n')
  expect(JSON.parse(line ?? '')).toEqual({ id: one.id, spec: one.spec, term: 7, host: 'testhost', instance: origin.instance })
  expect(who).toBe(`first argument ${one.id} 7 testhost`)
})

test.each([
  [64, 'refused'],
  [65, 'refused'],
  [66, 'refused'],
  [67, 'refused'],
  [68, 'refused'],
  [69, 'later'],
  [75, 'later'],
  [77, 'later'],
  [78, 'later'],
  [1, 'doubt'],
  [2, 'doubt'],
  [70, 'doubt'],
  [74, 'doubt'],
  [127, 'doubt'],
])('an exit status of %i is %s', async (status, kind) => {
  const driver = driverOf({ submit: [program(`echo 12; echo why >&2; exit ${status}`)] })
  expect((await driver.submit([job({ executable: 'x' })], origin, never))[0]).toEqual({
    kind,
    reason: `the program exited with ${status}: why`,
  })
})

test('a program that is not there never ran: later', async () => {
  const driver = driverOf({ submit: [join(folder.path, 'missing')] })
  expect((await driver.submit([job({ executable: 'x' })], origin, never))[0]?.kind).toBe('later')
  expect((await driver.preflight(never)).ok).toBe(false)
})

test('a program that takes too long is killed with its children and leaves doubt', async () => {
  const file = join(folder.path, 'child')
  const driver = driverOf({
    submit: [program(`sleep 1000 & echo $! > ${file}.part; mv ${file}.part ${file}; wait`)],
    timeout: 0.5,
  })
  expect((await driver.submit([job({ executable: 'x' })], origin, never))[0]).toEqual({
    kind: 'doubt',
    reason: 'the program was killed after 0.5 s',
  })
  const pid = readFileSync(file, 'utf8').trim()
  await until('the child is gone', () => !existsSync(`/proc/${pid}`) || / Z /.test(readFileSync(`/proc/${pid}/stat`, 'latin1')))
})

test('a program killed by a signal leaves doubt, and one that writes without end is bounded', async () => {
  const killed = driverOf({ submit: [program('kill -KILL $$')] })
  expect((await killed.submit([job({ executable: 'x' })], origin, never))[0]).toEqual({
    kind: 'doubt',
    reason: 'the program was killed by SIGKILL',
  })
  const loud = driverOf({ submit: [program('echo 5; head -c 5000000 /dev/zero | tr "\\0" x; echo')] })
  expect(await loud.submit([job({ executable: 'x' })], origin, never)).toEqual([{ kind: 'submitted', jobId: '5' }])
})

test('a program that reads nothing of its input is taken at its exit status', async () => {
  const driver = driverOf({ submit: [program('exec 0<&-; echo 8')] })
  expect(await driver.submit([job({ executable: 'x', arguments: ['y'.repeat(1_000_000)] })], origin, never)).toEqual([
    { kind: 'submitted', jobId: '8' },
  ])
})

test('find tells found, absent and unknown apart, and is null without a program', async () => {
  const [there, gone, broken] = [newId(), newId(), newId()]
  const find = program(`case "\${@: -1}" in ${there}) echo 33;; ${gone}) exit 1;; *) echo broken >&2; exit 2;; esac`)
  const driver = driverOf({ submit: ['true'], find: [find, '--id'] })
  expect(await driver.find?.([there, gone, broken], never)).toEqual([
    { kind: 'found', jobId: '33' },
    { kind: 'absent' },
    { kind: 'unknown', reason: 'the program exited with 2: broken' },
  ])
  expect(driverOf({ submit: ['true'] }).find).toBeNull()
})

test('preflight runs its program, or looks whether the submitting one can be run', async () => {
  expect(await driverOf({ submit: ['x'], preflight: [program('echo fine')] }).preflight(never)).toEqual({
    ok: true,
    detail: 'fine',
  })
  expect(await driverOf({ submit: ['x'], preflight: [program('echo no account >&2; exit 1')] }).preflight(never)).toEqual({
    ok: false,
    kind: 'refused',
    reason: 'the program exited with 1: no account',
  })
  expect(await driverOf({ submit: ['x'], preflight: [program('exit 75')] }).preflight(never)).toMatchObject({ ok: false, kind: 'unreachable' })
  expect(await driverOf({ submit: ['/nowhere/submit'] }).preflight(never)).toMatchObject({ ok: false, kind: 'refused' })
  expect((await driverOf({ submit: ['true'] }).preflight(never)).ok).toBe(true)
})

test('the settle time is never shorter than a program can live, and is used as it is configured where it is longer', () => {
  const settleMs = (options: object): number => driverOf({ submit: ['true'], ...options }).limits.settleMs
  expect(settleMs({ timeout: 5, settle: 1 })).toBe(7000)
  expect(settleMs({ timeout: 5, settle: 10 })).toBe(10_000)
  expect(settleMs({})).toBe(62_000)
})
