// The Slurm driver against a real Slurm, over slurmrestd and over the commands.
import { execFileSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { Driver, JobSpec, Outcome } from '../../src/submit/driver.ts'
import type { SlurmOptions } from '../../src/submit/drivers/registry.ts'
import { createSlurmDriver } from '../../src/submit/drivers/slurm.ts'
import { contextIn, job, never, newId, origin, temporaryFolder, until } from '../unit/drivers/jobs.ts'
import { jobsOf, lab, labUrl, showJob, stateFile } from './lab.ts'

const folder = temporaryFolder()
// slurmrestd's jobs run as another user.
chmodSync(folder.path, 0o777)

beforeAll(() => {
  lab('install')
  lab('up')
})
afterAll(() => {
  lab('down')
  folder.remove()
})

const drivers: Driver[] = []
afterEach(async () => {
  for (const driver of drivers.splice(0)) await driver.close()
})

const fds: number[] = []
const driverOf = (options: Omit<SlurmOptions, 'driver'> = {}) => {
  const driver = createSlurmDriver({ driver: 'slurm', ...options }, contextIn(folder.path), {
    abortOnClose: (fd) => fds.push(fd),
  })
  drivers.push(driver)
  return driver
}

const jobIdOf = (outcome: Outcome | undefined): string => {
  if (outcome?.kind !== 'submitted' || outcome.jobId === null) throw new Error(`not submitted: ${JSON.stringify(outcome)}`)
  return outcome.jobId
}

describe.each<[string, Omit<SlurmOptions, 'driver'>]>([
  ['slurmrestd', { url: labUrl }],
  ['the commands', {}],
])('over %s', (name, way) => {
  test('preflight says what was found, and changes nothing', async () => {
    const listed = (): string => execFileSync('squeue', ['-h', '-a', '-t', 'all', '-S', 'i', '-o', '%i %k']).toString()
    const before = listed()
    expect(await driverOf(way).preflight(never)).toEqual({ ok: true, detail: expect.stringMatching(/2 partitions/) })
    expect(listed()).toBe(before)
  })

  test('a job runs with its arguments, environment, files and status', async () => {
    const out = join(folder.path, `out-${name.length}`)
    const spec: JobSpec = {
      executable: '/bin/bash',
      arguments: [
        '-c',
        'printf "%s|" "$@"; echo; echo "$MINE"; env | grep -c "^USHER_"; pwd; exit 3',
        'zero',
        "it's",
        '',
        '$HOME',
        'ü\n2',
      ],
      environment: { MINE: 'a "b" \\ c' },
      stdout_path: out,
      directory: '/tmp',
      attributes: { duration: '60 s' },
    }
    process.env['USHER_SOMETHING'] = 'own'
    const jobId = jobIdOf((await driverOf(way).submit([job(spec)], origin, never))[0])
    const shown = await until(
      'the job has ended',
      () => {
        const fields = showJob(jobId)
        return fields['JobState'] === 'FAILED' && fields
      },
      60_000,
    )
    expect(shown['ExitCode']).toBe('3:0')
    expect(readFileSync(out, 'utf8')).toBe(`it's||$HOME|ü\n2|\na "b" \\ c\n0\n/tmp\n`)
  })

  test('the whole JobSpec arrives', async () => {
    const directory = join(folder.path, 'work')
    mkdirSync(directory, { recursive: true })
    const one = job({
      name: 'a name',
      executable: '/bin/true',
      directory,
      inherit_environment: false,
      stdin_path: '/dev/zero',
      stdout_path: 'out',
      stderr_path: '/tmp/err',
      resources: {
        __version: 1,
        node_count: 1,
        process_count: 4,
        processes_per_node: 4,
        cpu_cores_per_process: 2,
        gpu_cores_per_process: 1,
        exclusive_node_use: true,
        memory: 100 * 1024 ** 2 + 1,
      },
      attributes: {
        duration: '301 s',
        queue_name: 'debug',
        custom_attributes: {
          'slurm.constraint': 'lab',
          'slurm.nice': '10',
          'slurm.requeue': 'false',
          'slurm.begin': '2035-01-02T03:04:05',
          'slurm.mincpus': '3',
          label: 'x',
        },
      },
    })
    const jobId = jobIdOf((await driverOf({ ...way, hold: true }).submit([one], origin, never))[0])
    expect(showJob(jobId)).toMatchObject({
      JobName: 'a name',
      WorkDir: directory,
      StdIn: '/dev/zero',
      StdOut: join(directory, 'out'),
      StdErr: '/tmp/err',
      NumNodes: expect.stringMatching(/^1(-1)?$/),
      NumTasks: '4',
      'CPUs/Task': '2',
      MinMemoryNode: '101M',
      TresPerTask: 'gres:gpu:1',
      OverSubscribe: 'NO',
      TimeLimit: '00:06:00',
      Partition: 'debug',
      Features: 'lab',
      Requeue: '0',
      Nice: '10',
      EligibleTime: '2035-01-02T03:04:05',
      MinCPUsNode: expect.any(String),
      Comment: `usher ${one.id} term=7 host=testhost`,
      JobState: 'PENDING',
      Reason: 'JobHeldUser',
    })
  })

  test('account and reservation arrive', async () => {
    execFileSync('scontrol', [
      'create',
      'reservation',
      `ReservationName=res${name.length}`,
      'StartTime=now',
      'Duration=60',
      'NodeCnt=1',
      'Users=root,slurmrest',
      'Flags=IGNORE_JOBS,OVERLAP',
    ])
    const spec: JobSpec = { executable: 'true', attributes: { reservation_id: `res${name.length}`, account: 'physics' } }
    const jobId = jobIdOf((await driverOf({ ...way, hold: true }).submit([job(spec)], origin, never))[0])
    expect(showJob(jobId)).toMatchObject({ Reservation: `res${name.length}`, Account: 'physics' })
    execFileSync('scancel', ['-t', 'PENDING', jobId])
    execFileSync('scontrol', ['delete', `ReservationName=res${name.length}`])
  })

  test.each<[JobSpec, RegExp]>([
    [{ executable: 'x', attributes: { queue_name: 'no-such' } }, /Invalid partition/],
    [
      { executable: 'x', attributes: { custom_attributes: { 'slurm.gres': 'unicorn:1' } } },
      /Invalid generic resource|Failure during parsing/,
    ],
    [{ executable: 'x', attributes: { custom_attributes: { 'slurm.array': '1-3' } } }, /would overrule what/],
    [{ executable: 'x', attributes: { reservation_id: 'none' } }, /reservation is invalid/],
    [{ executable: 'x', attributes: { custom_attributes: { 'slurm.licenses': 'none:1' } } }, /Invalid license/],
    [{ executable: 'x', attributes: { custom_attributes: { 'slurm.constraint': 'none' } } }, /Invalid feature/],
  ])('%j is refused for good', async (spec, reason) => {
    expect((await driverOf(way).submit([job(spec)], origin, never))[0]).toEqual({
      kind: 'refused',
      reason: expect.stringMatching(reason),
    })
  })

  test('find knows waiting, held, running and ended jobs by their comments, and no others', async () => {
    const driver = driverOf(way)
    const held = driverOf({ ...way, hold: true })
    const [ended, running, waiting] = [
      job({ executable: 'true' }),
      job({ executable: 'sleep', arguments: ['1000'] }),
      job({ executable: 'true' }),
    ]
    const ids = [
      jobIdOf((await driver.submit([ended], origin, never))[0]),
      jobIdOf((await driver.submit([running], origin, never))[0]),
      jobIdOf((await held.submit([waiting], origin, never))[0]),
    ]
    await until(
      'one ended, one runs',
      () => showJob(ids[0] as string)['JobState'] === 'COMPLETED' && showJob(ids[1] as string)['JobState'] === 'RUNNING',
      60_000,
    )
    expect(await driver.find([newId(), ended.id, running.id, waiting.id], never)).toEqual([
      { kind: 'absent' },
      ...ids.map((jobId) => ({ kind: 'found', jobId })),
    ])
    execFileSync('scancel', [ids[1] as string])
  })

  test('held jobs wait until they are released, which does no harm twice', async () => {
    const driver = driverOf({ ...way, hold: true })
    const out = join(folder.path, `held-${name.length}`)
    const one = job({ executable: 'sh', arguments: ['-c', `echo ran >> ${out}`] })
    const jobId = jobIdOf((await driver.submit([one], origin, never))[0])
    expect(showJob(jobId)['Reason']).toBe('JobHeldUser')
    // A number that another job has now is not released for this one.
    expect(
      await driver.release?.(
        [
          { id: newId(), jobId },
          { id: one.id, jobId: '9999999' },
        ],
        never,
      ),
    ).toEqual(['gone', 'gone'])
    expect(showJob(jobId)['Reason']).toBe('JobHeldUser')
    expect(existsSync(out)).toBe(false)
    expect(await driver.release?.([{ id: one.id, jobId }], never)).toEqual(['done'])
    await until('it ran', () => existsSync(out) && showJob(jobId)['JobState'] === 'COMPLETED', 60_000)
    expect(await driver.release?.([{ id: one.id, jobId }], never)).toEqual(['done'])
    expect(readFileSync(out, 'utf8')).toBe('ran\n')
    expect(driverOf(way).release).toBeUndefined()
  })

  test('a paused slurmctld leaves doubt, and find knows afterwards which jobs it took', async () => {
    const driver = driverOf({ ...way, timeout: 2 })
    const jobs = Array.from({ length: 4 }, () => job({ executable: 'true' }))
    expect((await driver.preflight(never)).ok).toBe(true)
    lab('pause')
    let outcomes: Outcome[]
    let asked: unknown
    try {
      outcomes = await driver.submit(jobs, origin, never)
      asked = await driverOf({ ...way, timeout: 1 }).find([newId()], AbortSignal.timeout(1500))
    } finally {
      lab('resume')
    }
    expect(outcomes.map((outcome) => outcome.kind)).toEqual(['doubt', 'doubt', 'doubt', 'doubt'])
    expect(asked).toEqual([{ kind: 'unknown', reason: expect.any(String) }])
    // Over slurmrestd the requests were on their way and take effect late; sbatch was killed and may not have sent any. What
    // isn't found may still come, so that find knows is only to be seen when the listing has nothing else to say.
    await until(
      'find and the listing agree',
      async () => {
        const ids = jobs.map((one) => one.id)
        const findings = await driver.find(ids, never)
        const agree = ids.every((id, at) => jobsOf(id).length === (findings[at]?.kind === 'found' ? 1 : 0))
        return agree && (name !== 'slurmrestd' || findings.every((finding) => finding.kind === 'found'))
      },
      60_000,
    )
  })

  test('a slurmctld that is down is later, unknown and no preflight', async () => {
    const driver = driverOf(way)
    await driver.preflight(never)
    lab('crash')
    try {
      const [[outcome], [finding], preflight] = await Promise.all([
        driver.submit([job({ executable: 'true' })], origin, never),
        driver.find([newId()], never),
        driver.preflight(never),
      ])
      expect(outcome?.kind).toBe('later')
      expect(finding?.kind).toBe('unknown')
      expect(preflight?.ok).toBe(false)
    } finally {
      lab('start')
    }
  })

  test('what a crash made slurmctld forget is proven forgotten, what it had saved is kept, and nothing is guessed', async () => {
    const driver = driverOf(way)
    const saved = job({ executable: 'sleep', arguments: ['1000'] })
    const savedId = jobIdOf((await driver.submit([saved], origin, never))[0])
    const savedAt = Date.now()
    const known = { id: saved.id, jobId: savedId, submittedAtMs: savedAt }
    expect(await driver.confirm([known], never)).toEqual(['unknown'])
    await until('its state is saved', async () => (await driver.confirm([known], never))[0] === 'kept', 60_000)
    expect(Date.now() - savedAt).toBeGreaterThanOrEqual(10_000)

    // slurmctld saves at once after a quiet time, and then not for five seconds: the job after a save can be lost.
    const savedState = (): number => statSync(stateFile).mtimeMs
    const before = savedState()
    await driver.submit([job({ executable: 'sleep', arguments: ['1000'] })], origin, never)
    await until('a save', () => savedState() > before, 30_000)
    const forgotten = job({ executable: 'true' })
    const forgottenId = jobIdOf((await driver.submit([forgotten], origin, never))[0])
    lab('crash')
    const submittedAtMs = Date.now()
    expect(await driver.confirm([{ id: forgotten.id, jobId: forgottenId, submittedAtMs }], AbortSignal.timeout(3000))).toEqual([
      'unknown',
    ])
    lab('start')
    const old = { id: newId(), jobId: '8888888', submittedAtMs: Date.now() - 400_000 }
    const future = { id: newId(), jobId: '8888889', submittedAtMs: Date.now() + 60_000 }
    await until(
      'slurmctld shows what it lost',
      async () => (await driver.confirm([{ id: forgotten.id, jobId: forgottenId, submittedAtMs }], never))[0] === 'forgotten',
      30_000,
    )
    // Seen twice, a while apart.
    await until('what was saved is kept', async () => (await driver.confirm([known], never))[0] === 'kept', 30_000)
    expect(await driver.confirm([old, future], never)).toEqual(['doubtful', 'unknown'])
    expect(jobsOf(forgotten.id)).toEqual([])
    // The number is given out again: that is proof by itself, and find isn't fooled by it.
    const next = job({ executable: 'true' })
    const nextId = jobIdOf((await driver.submit([next], origin, never))[0])
    expect(nextId).toBe(forgottenId)
    expect(await driver.find([forgotten.id, next.id], never)).toEqual([{ kind: 'absent' }, { kind: 'found', jobId: nextId }])
    expect(await driver.confirm([{ id: forgotten.id, jobId: forgottenId, submittedAtMs }], never)).toEqual(['forgotten'])
    execFileSync('scancel', ['-p', 'main'])
  })
})

test('eight submissions in flight share kept-alive sockets, each set to abort', async () => {
  const driver = driverOf({ url: labUrl })
  await driver.preflight(never)
  fds.length = 0
  const jobs = Array.from({ length: 200 }, () => job({ executable: 'true', stdout_path: '/dev/null' }))
  let next = 0
  const outcomes: Outcome[] = []
  await Promise.all(
    Array.from({ length: driver.limits.takenMax ?? 8 }, async () => {
      for (let at = next++; at < jobs.length; at = next++)
        outcomes.push(...(await driver.submit([jobs[at] as (typeof jobs)[0]], origin, never)))
    }),
  )
  expect(new Set(outcomes.map(jobIdOf)).size).toBe(200)
  expect(fds.length).toBeLessThanOrEqual(9)
})
