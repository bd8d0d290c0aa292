import { spawnSync } from 'node:child_process'
import { chmodSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import type { JobSpec } from '../../../src/submit/driver.ts'
import { durationSeconds, inheritable, shellWord } from '../../../src/submit/drivers/job-environment.ts'
import { commentOf, idsInComment } from '../../../src/submit/drivers/slurm-comment.ts'
import {
  selfContainedScript,
  type SlurmJob,
  slurmJob,
  slurmOptions,
} from '../../../src/submit/drivers/slurm-job.ts'
import { chooseVersion, submissionBody } from '../../../src/submit/drivers/slurm-rest-shapes.ts'
import { outcomeOfCode, outcomeOfText } from '../../../src/submit/drivers/slurm-errors.ts'
import { job, origin, temporaryFolder } from './jobs.ts'

const folder = temporaryFolder()
afterAll(() => folder.remove())

const frame = { origin, hold: false, directory: '/work', environment: { LANG: 'C', USHER_STORE: '/x', SLURM_JWT: 'secret' } }
const mapped = (spec: JobSpec): SlurmJob => {
  const result = slurmJob(job(spec, '00000000000000aa-1'), frame)
  if ('refused' in result) throw new Error(result.refused)
  return result
}
const refusal = (spec: JobSpec): string => {
  const result = slurmJob(job(spec), frame)
  return 'refused' in result ? result.refused : ''
}

const full: JobSpec = {
  name: 'a name',
  executable: '/bin/echo',
  arguments: ['a'],
  directory: '/tmp',
  inherit_environment: false,
  environment: { A: '1' },
  stdin_path: '/in',
  stdout_path: '/out',
  stderr_path: '/err',
  resources: {
    __version: 1,
    node_count: 2,
    process_count: 8,
    processes_per_node: 4,
    cpu_cores_per_process: 3,
    gpu_cores_per_process: 1,
    exclusive_node_use: true,
    memory: 3 * 1024 ** 3 + 1,
  },
  attributes: {
    duration: '7205 s',
    queue_name: 'q',
    account: 'acc',
    reservation_id: 'r',
    custom_attributes: { 'slurm.qos': 'high', 'slurm.mail_type': 'END', 'slurm.requeue': 'false', label: 'x', 'pbs.y': 'z' },
  },
}

describe('a JobSpec', () => {
  test('becomes options of sbatch, all of it', () => {
    expect(Object.fromEntries(mapped(full).options)).toEqual({
      'job-name': 'a name',
      comment: 'usher 00000000000000aa-1 term=7 host=testhost',
      chdir: '/tmp',
      input: '/in',
      output: '/out',
      error: '/err',
      nodes: 2,
      ntasks: 8,
      'ntasks-per-node': 4,
      'cpus-per-task': 3,
      'gpus-per-task': 1,
      exclusive: true,
      mem: 1537,
      time: 121,
      partition: 'q',
      account: 'acc',
      reservation: 'r',
      qos: 'high',
      'mail-type': 'END',
      requeue: false,
    })
  })

  test('has memory divided by its nodes, also where they follow from the processes', () => {
    expect(
      mapped({
        executable: 'x',
        resources: { __version: 1, process_count: 8, processes_per_node: 2, memory: 4096 * 1024 ** 2 },
      }).options.get('mem'),
    ).toBe(1024)
    expect(mapped({ executable: 'x', resources: { __version: 1, memory: 1 } }).options.get('mem')).toBe(1)
  })

  test('inherits nothing that is usher’s own, and says its own whole', () => {
    expect(mapped({ executable: 'x', environment: { USHER_MINE: '1' } })).toMatchObject({
      inherited: { LANG: 'C' },
      environment: { USHER_MINE: '1' },
    })
    expect(mapped({ executable: 'x', inherit_environment: false }).inherited).toEqual({})
    expect(
      inheritable({
        NODE_OPTIONS: 'x',
        DB_PASSWORD: 'x',
        npm_config_x: 'x',
        AWS_SECRET_ACCESS_KEY: 'x',
        NOTIFY_SOCKET: 'x',
        HOME: '/h',
      }),
    ).toEqual({ HOME: '/h' })
  })

  test.each<[JobSpec, RegExp]>([
    [{ executable: 'x', attributes: { custom_attributes: { 'slurm.array': '1-10' } } }, /'slurm.array' would overrule/],
    [{ executable: 'x', attributes: { custom_attributes: { 'slurm.constructor': '1' } } }, /'slurm.constructor' is no option/],
    [{ executable: 'x', attributes: { custom_attributes: { 'slurm.comment': 'mine' } } }, /'slurm.comment' would overrule/],
    [{ executable: 'x', attributes: { custom_attributes: { 'slurm.nice': 'very' } } }, /not an integer/],
    [{ executable: 'x', attributes: { custom_attributes: { 'slurm.requeue': 'yes' } } }, /neither true nor false/],
    [{ executable: 'x', launcher: 'aprun' }, /launcher 'aprun'/],
    [{ executable: 'x', attributes: { duration: 'long' } }, /no duration/],
    [{ executable: 'x', arguments: ['a\0b'] }, /NUL/],
  ])('%j is refused for good', (spec, reason) => {
    expect(refusal(spec)).toMatch(reason)
  })
})

describe('the script', () => {
  const run = (spec: JobSpec, environment: Record<string, string> = {}): { stdout: string; status: number | null } => {
    const result = spawnSync('bash', ['-s'], {
      input: selfContainedScript(mapped(spec)),
      env: { PATH: `${folder.path}:/usr/bin:/bin`, ...environment },
      cwd: folder.path,
    })
    return { stdout: result.stdout.toString(), status: result.status }
  }

  test('passes every argument and variable through the shell as it is', () => {
    const nasty = ['', ' ', "it's", '"$HOME" `id` $(id) \\ !', '-n', 'line\nfeed', '*', 'ü', '~', '#', 'a;b&c|d<e>f', "'\\''"]
    const { stdout, status } = run({
      executable: '/usr/bin/printf',
      arguments: ['%s\\0', ...nasty],
      environment: { GOOD: nasty.join(), 'odd.name': 'kept' },
    })
    expect(status).toBe(0)
    expect(stdout.split('\0').slice(0, -1)).toEqual(nasty)
    expect(run({ executable: 'sh', arguments: ['-c', 'printf %s "$GOOD"'], environment: { GOOD: nasty.join() } }).stdout).toBe(
      nasty.join(),
    )
    // Not seen by sh, which drops names that it can't use.
    expect(run({ executable: 'env', environment: { 'odd.name': "k'e pt" } }).stdout).toContain("\nodd.name=k'e pt\n")
  })

  test('ends with the status of the job, around its sourced scripts', () => {
    writeFileSync(join(folder.path, 'pre.sh'), 'X=from-pre; export X')
    writeFileSync(join(folder.path, 'post.sh'), 'echo "after $usher_status"; false')
    expect(
      run({ executable: 'sh', arguments: ['-c', 'echo $X; exit 6'], pre_launch: 'pre.sh', post_launch: './post.sh' }),
    ).toEqual({ stdout: 'from-pre\nafter 6\n', status: 6 })
    expect(run({ executable: 'sh', arguments: ['-c', 'exit 3'] }).status).toBe(3)
  })

  test('uses its launcher', () => {
    writeFileSync(join(folder.path, 'srun'), '#!/bin/sh\necho "srun $*"')
    writeFileSync(join(folder.path, 'mpirun'), '#!/bin/sh\necho "mpirun $*"')
    for (const name of ['srun', 'mpirun']) chmodSync(join(folder.path, name), 0o755)
    const resources = { __version: 1 as const, process_count: 3, cpu_cores_per_process: 2 }
    expect(run({ executable: 'exe', arguments: ['a'], resources, launcher: 'srun' }).stdout).toBe(
      'srun --cpus-per-task=2 exe a\n',
    )
    expect(run({ executable: 'exe', resources, launcher: 'mpirun' }).stdout).toBe('mpirun -n 3 exe\n')
    expect(run({ executable: 'sh', arguments: ['-c', 'echo copy; exit 2'], resources, launcher: 'multiple' })).toEqual({
      stdout: 'copy\ncopy\ncopy\n',
      status: 2,
    })
  })
})

test.each([
  ['7205 s', 7205],
  ['7205.0 s', 7205],
  ['2 m', 120],
  ['1.5 h', 5400],
  ['01:00:01', 3601],
  ['10', 600],
  ['x', undefined],
  ['1 d', undefined],
  ['-1 s', undefined],
])('the duration %j is %j seconds', (text, seconds) => {
  expect(durationSeconds(text)).toBe(seconds)
})

test('a shell word is quoted only where it must be', () => {
  expect(shellWord('/bin/a-b_c.d')).toBe('/bin/a-b_c.d')
  expect(shellWord('')).toBe("''")
})

test('a comment names the job, and only usher’s comments do', () => {
  expect(idsInComment(commentOf(['9f8c2e71a4b0d3e5-17'], origin))).toEqual(['9f8c2e71a4b0d3e5-17'])
  for (const other of [
    '',
    'usher',
    'usher 9f8c2e71a4b0d3e5-17',
    'see usher 9f8c2e71a4b0d3e5-17 term=1',
    'usher 9F8C2e71a4b0d3e5-17 term=1',
  ]) {
    expect(idsInComment(other)).toEqual([])
  }
})

describe('the API of slurmrestd', () => {
  test('is the newest version that is known, or else the oldest of the others', () => {
    const path = (number: number): string => `/slurm/v0.0.${number}/job/submit`
    expect(chooseVersion([path(36), path(38), path(37), '/slurm/v0.0.39/jobs', '/slurmdb/v0.0.45/jobs'])?.name).toBe('v0.0.38')
    expect(chooseVersion([path(41), path(99)])?.name).toBe('v0.0.41')
    expect(chooseVersion([path(98), path(99)])?.name).toBe('v0.0.98')
    expect(chooseVersion(['/slurm/v0.0.35/job/submit', '/'])).toBeUndefined()
  })

  test('has one shape up to v0.0.38 and another from v0.0.39 on', () => {
    const bodyOf = (number: number): Record<string, unknown> => {
      const message = submissionBody(mapped(full), { name: `v0.0.${number}`, number })
      if ('refused' in message) throw new Error(message.refused)
      return JSON.parse(message.body) as Record<string, unknown>
    }
    expect(bodyOf(38)).toMatchObject({
      script: expect.stringMatching(/^#!\/bin\/bash\n/),
      job: {
        nodes: [2, 2],
        memory_per_node: 1537,
        time_limit: 121,
        exclusive: 'exclusive',
        gpus_per_task: '1',
        no_requeue: true,
        mail_type: 'END',
        environment: { A: '1' },
      },
    })
    expect(bodyOf(41)['job']).toMatchObject({
      script: expect.stringMatching(/^#!\/bin\/bash\n/),
      nodes: '2',
      memory_per_node: { set: true, number: 1537 },
      time_limit: { set: true, number: 121 },
      shared: ['none'],
      tres_per_task: 'gres/gpu=1',
      requeue: false,
      mail_type: ['END'],
      environment: expect.arrayContaining(['A=1']),
    })
  })

  test('refuses what a version cannot say, rather than leaving it out', () => {
    const asks = mapped({ executable: 'x', attributes: { custom_attributes: { 'slurm.nodelist': 'n1' } } })
    expect(submissionBody(asks, { name: 'v0.0.38', number: 38 })).toEqual({ refused: expect.stringContaining('--nodelist') })
    expect(submissionBody(asks, { name: 'v0.0.40', number: 40 })).toEqual({
      body: expect.stringContaining('"required_nodes":["n1"]'),
    })
  })

  test('can say every option that usher’s own fields need', () => {
    const own = Object.entries(slurmOptions)
      .filter(([, option]) => !option.custom)
      .map(([name]) => name)
    for (const number of [36, 38, 39, 40, 45]) {
      const body = submissionBody({ ...mapped(full), options: new Map(own.map((name) => [name, 1])) }, { name: 'v', number })
      expect(body).toHaveProperty('body')
    }
  })
})

test('errors of Slurm are told apart by number and by text', () => {
  expect(outcomeOfCode(2000, 'x').kind).toBe('refused')
  expect(outcomeOfCode(1800, 'x').kind).toBe('later')
  expect(outcomeOfCode(5004, 'x').kind).toBe('doubt')
  expect(outcomeOfCode(2999, 'x').kind).toBe('later')
  expect(outcomeOfCode(31337, 'x').kind).toBe('doubt')
  expect(outcomeOfText('sbatch: error: Batch job submission failed: Invalid partition name specified')?.kind).toBe('refused')
  expect(
    outcomeOfText(
      'sbatch: error: Invalid account\nsbatch: error: Batch job submission failed: Socket timed out on send/recv operation',
    )?.kind,
  ).toBe('doubt')
  expect(outcomeOfText('something else')).toBeUndefined()
})
