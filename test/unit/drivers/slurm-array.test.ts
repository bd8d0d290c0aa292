// Arrays: what their comments say is what is read there, and each task runs as its job would have run alone.
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import * as fc from 'fast-check'
import { afterAll, expect, test } from 'vitest'
import type { JobSpec } from '../../../src/submit/driver.ts'
import { arrayKey, beginFitting, slurmArray } from '../../../src/submit/drivers/slurm-array.ts'
import { byId, commentBytesMax, commentOf, idsInComment } from '../../../src/submit/drivers/slurm-comment.ts'
import { selfContainedScript, slurmJob, type SlurmJob, wholeEnvironment } from '../../../src/submit/drivers/slurm-job.ts'
import { job, origin, temporaryFolder } from './jobs.ts'

const folder = temporaryFolder()
afterAll(() => folder.remove())

const frame = { origin, hold: false, directory: folder.path, environment: { LANG: 'C.UTF-8' } }
const tasksOf = (specs: readonly JobSpec[]) =>
  specs.map((spec, at) => {
    const one = job(spec, `00000000000000aa-${at}`)
    const alone = slurmJob(one, frame)
    if ('refused' in alone) throw new Error(alone.refused)
    return { job: one, alone }
  })

const producers = fc.constantFrom('00000000000000aa', '9f8c2e71a4b0d3e5', 'ffffffffffffffff')
const sequences = fc.oneof(fc.bigInt(0n, 30n), fc.bigInt(0n, 2n ** 64n - 1n))
const ids = fc.uniqueArray(fc.tuple(producers, sequences).map(([producer, sequence]) => `${producer}-${sequence}`), { minLength: 1, maxLength: 40 })

test('the ids in a comment are those that were written, in their order', () => {
  fc.assert(
    fc.property(ids, fc.boolean(), (list, sorted) => {
      const written = sorted ? list.toSorted(byId) : list
      expect(idsInComment(commentOf(written, origin))).toEqual(written)
    }),
  )
  expect(commentOf(['00000000000000aa-7', '00000000000000aa-8', '00000000000000aa-30', '00000000000000ab-1'], origin)).toBe(
    'usher 00000000000000aa-7+2,30;00000000000000ab-1 term=7 host=testhost',
  )
})

test.each([
  'usher 00000000000000aa-7+ term=1',
  'usher 00000000000000aa-7+2, term=1',
  'usher 00000000000000aa-7+2;8 term=1',
  'usher 00000000000000aa-1+2,1+999999 term=1',
  'usher 00000000000000aa-7+2',
  ' usher 00000000000000aa-7+2 term=1',
])('the comment %j is nobody\'s of ours', (comment) => expect(idsInComment(comment)).toEqual([]))

test('what fits is never too long for a comment, whatever the ids', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.bigInt(0n, 2n ** 64n - 1n), sequences), { minLength: 100, maxLength: 120 }), (list) => {
      const fits = beginFitting('testhost')
      const taken = list.map(([producer, sequence]) => job({ executable: 'x' }, `${producer.toString(16).padStart(16, '0')}-${sequence}`)).filter((one) => fits(one))
      expect(taken.length).toBeGreaterThan(10)
      expect(commentOf(taken.map(({ id }) => id).toSorted(byId), origin).length).toBeLessThanOrEqual(commentBytesMax)
    }),
  )
})

test('jobs are alike but for arguments, environment and plain paths of streams', () => {
  const base: JobSpec = { executable: '/bin/a', name: 'n', directory: '/d', attributes: { queue_name: 'q' } }
  const key = (spec: JobSpec): string | null => arrayKey(job({ ...base, ...spec }))
  const alike = key({ executable: '/bin/a', stdout_path: 'out' })
  expect(key({ executable: '/bin/a', arguments: ['x'], environment: { A: '1' }, stdout_path: 'other' })).toBe(alike)
  const others: JobSpec[] = [
    { executable: '/bin/b', stdout_path: 'out' },
    { executable: '/bin/a' },
    { executable: '/bin/a', stdout_path: 'out.%j' },
    { executable: '/bin/a', stdout_path: 'out', name: 'm' },
    { executable: '/bin/a', stdout_path: 'out', directory: '/e' },
    { executable: '/bin/a', stdout_path: 'out', inherit_environment: false },
    { executable: '/bin/a', stdout_path: 'out', pre_launch: 'p' },
    { executable: '/bin/a', stdout_path: 'out', launcher: 'srun' },
    { executable: '/bin/a', stdout_path: 'out', resources: { __version: 1, process_count: 2 } },
    { executable: '/bin/a', stdout_path: 'out', attributes: { queue_name: 'r' } },
  ]
  const keys = [alike, ...others.map(key)]
  expect(new Set(keys).size).toBe(keys.length)
  for (const name of ['UID', 'SECONDS', 'SLURM_JOB_ID', 'BASH_ENV', 'usher_command']) expect(key({ executable: '/bin/a', environment: { [name]: '1' } })).toBeNull()
  for (const path of ['out.%A', '%4a/out']) expect(key({ executable: '/bin/a', stdout_path: path })).toBeNull()
  for (const name of ['slurm.dependency', 'slurm.mail_type', 'slurm.mail-user']) {
    expect(key({ executable: '/bin/a', attributes: { custom_attributes: { [name]: 'x' } } })).toBeNull()
  }
})

/** Runs the script as Slurm would, as that task. */
const run = (array: SlurmJob, task: number, way: 'slurmrestd' | 'sbatch') => {
  const script = way === 'sbatch' ? selfContainedScript(array) : array.script
  const env = way === 'sbatch' ? { PATH: '/usr/bin:/bin', ...array.inherited } : wholeEnvironment(array)
  const path = join(folder.path, 'slurm_script')
  writeFileSync(path, script)
  return spawnSync('bash', [path], { cwd: folder.path, env: { ...env, SLURM_ARRAY_TASK_ID: String(task), SLURM_ARRAY_JOB_ID: '5', SLURM_JOB_ID: '7' } })
}

const text = fc.string({ unit: 'binary', maxLength: 12 }).map((value) => value.replaceAll('\0', ''))
const hostile = fc.oneof(text, fc.constantFrom("'", "it's", '$(touch injected)', '`touch injected`', '"; touch injected; "', '\n', ';;\nesac\ntouch injected', '*)', '\\', '-n', ''))

test('each task runs with its own arguments, environment and files, whatever they hold, and nothing else is run', () => {
  const showing = `printf '%s\\0' "$@" "$A" "\${B-unset}" "\${SLURM_ARRAY_TASK_ID-unset}" "$(env -0 | tr '\\0\\n' '\\n ' | sed -n 's/^ODD-NAME=//p')"`
  const one = fc.record({ words: fc.array(hostile, { maxLength: 4 }), a: hostile, b: fc.option(hostile, { nil: undefined }) })
  fc.assert(
    fc.property(fc.array(one, { minLength: 2, maxLength: 4 }), fc.constantFrom('slurmrestd' as const, 'sbatch' as const), fc.boolean(), (list, way, odd) => {
      const tasks = tasksOf(
        list.map(({ words, a, b }, at) => ({
          executable: '/bin/bash',
          arguments: ['-c', showing, 'zero', ...words],
          environment: { A: a, ...(b === undefined ? {} : { B: b }), ...(odd ? { 'ODD-NAME': `odd${at}` } : {}) },
        })),
      )
      const array = slurmArray(tasks, origin)
      expect(array.options.get('array')).toBe(`0-${list.length - 1}`)
      for (const [at, { words, a, b }] of list.entries()) {
        const { stdout, status } = run(array, at, way)
        expect(status).toBe(0)
        expect(stdout.toString().split('\0').slice(0, -1)).toEqual([...words, a, b ?? 'unset', 'unset', odd ? `odd${at}` : ''])
      }
    }),
    { numRuns: 60 },
  )
  expect(existsSync(join(folder.path, 'injected'))).toBe(false)
})

test('each task has its own streams where they differ, and Slurm the rest', () => {
  writeFileSync(join(folder.path, "in put'1"), 'first')
  writeFileSync(join(folder.path, 'in2'), 'second')
  const program = ['-c', 'cat; echo wrong >&2']
  const array = slurmArray(
    tasksOf([
      { executable: 'sh', arguments: program, stdin_path: "in put'1", stdout_path: 'out1', stderr_path: 'out1' },
      { executable: 'sh', arguments: program, stdin_path: 'in2', stdout_path: join(folder.path, 'out2'), stderr_path: 'err2' },
    ]),
    origin,
  )
  for (const stream of ['input', 'output', 'error']) expect(array.options.get(stream)).toBe('/dev/null')
  for (const task of [0, 1]) expect(run(array, task, 'slurmrestd').status).toBe(0)
  const read = (name: string): string => readFileSync(join(folder.path, name), 'utf8')
  expect([read('out1'), read('out2'), read('err2')]).toEqual(['firstwrong\n', 'second', 'wrong\n'])
  const alike = slurmArray(tasksOf([1, 2].map(() => ({ executable: 'x', stdout_path: 'o.%j' }))), origin)
  expect(alike.options.get('output')).toBe('o.%j')
  expect(alike.script).not.toContain('case')
  // A file that isn't there, and a number that isn't in the array.
  const broken = slurmArray(tasksOf(['a', 'b'].map((stdin_path) => ({ executable: 'touch', arguments: ['ran'], stdin_path }))), origin)
  expect([run(broken, 0, 'sbatch').status, run(broken, 2, 'sbatch').status]).toEqual([1, 70])
  expect(existsSync(join(folder.path, 'ran'))).toBe(false)
})

test('scripts before and after, copies and launchers are as for a job alone', () => {
  writeFileSync(join(folder.path, 'pre.sh'), 'echo "pre $V $#"; set -- changed')
  writeFileSync(join(folder.path, 'post.sh'), 'echo "post $V"')
  const array = slurmArray(
    tasksOf(
      ['1', '2'].map((value) => ({
        executable: 'sh',
        arguments: ['-c', `echo "run ${value} $V"; exit ${value}`],
        environment: { V: value },
        pre_launch: 'pre.sh',
        post_launch: 'post.sh',
        launcher: 'multiple',
        resources: { __version: 1 as const, process_count: 2 },
      })),
    ),
    origin,
  )
  const { stdout, status } = run(array, 1, 'slurmrestd')
  expect([status, stdout.toString()]).toEqual([2, 'pre 2 0\nrun 2 2\nrun 2 2\npost 2\n'])
  const launched = slurmArray(tasksOf(['a', 'b'].map((word) => ({ executable: 'x', arguments: [word], launcher: 'srun' }))), origin)
  expect(launched.script).toContain('exec srun "${usher_command[@]}"')
})
