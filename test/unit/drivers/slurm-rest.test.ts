// What usher makes of answers that a real slurmrestd gives rarely, or gives only in versions that aren't at hand.
import { writeFileSync } from 'node:fs'
import { createServer, type IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { afterAll, afterEach, expect, test } from 'vitest'
import type { SlurmOptions } from '../../../src/submit/drivers/registry.ts'
import { createSlurmDriver, type SlurmDriver } from '../../../src/submit/drivers/slurm.ts'
import { commentOf } from '../../../src/submit/drivers/slurm-comment.ts'
import { contextIn, job, never, newId, origin, temporaryFolder } from './jobs.ts'

const folder = temporaryFolder()
afterAll(() => folder.remove())
const closers: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const close of closers.splice(0)) await close()
})

type Answers = Record<string, [status: number, body: unknown] | (() => [status: number, body: unknown])>

const slurm = async (
  version: number,
  answers: Answers,
  options: Partial<SlurmOptions> = {},
): Promise<{
  driver: SlurmDriver
  seen: { path: string; body: string; headers: IncomingHttpHeaders }[]
}> => {
  const seen: { path: string; body: string; headers: IncomingHttpHeaders }[] = []
  const prefix = `/slurm/v0.0.${version}/`
  const server = createServer((request, response) => {
    let body = ''
    request.on('data', (chunk: Buffer) => (body += chunk.toString()))
    request.on('end', () => {
      const path = request.url ?? ''
      seen.push({ path, body, headers: request.headers })
      if (path === '/openapi') return response.end(JSON.stringify({ paths: { [`${prefix}job/submit`]: {} } }))
      const answer = answers[path.replace(prefix, '')] ?? [404, 'no such path']
      const [status, content] = typeof answer === 'function' ? answer() : answer
      response.statusCode = status
      response.end(typeof content === 'string' ? content : JSON.stringify(content))
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  // Whoever looks twice has waited three seconds.
  let nowMs = 0
  const seams = { abortOnClose: () => {}, nowMs: () => (nowMs += 3000) }
  const driver = createSlurmDriver({ driver: 'slurm', url, ...options }, contextIn(folder.path), seams)
  closers.push(async () => {
    await driver.close()
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  })
  return { driver, seen }
}

const submitted = async (answer: [number, unknown]) => {
  const { driver } = await slurm(40, { 'job/submit': answer })
  return (await driver.submit([job({ executable: 'x' })], origin, never))[0]
}

test('the token goes along, is read again each time, and without it nothing is sent', async () => {
  const file = join(folder.path, 'token')
  const { driver, seen } = await slurm(40, { 'job/submit': [200, { job_id: 1 }] }, { token_file: file, user: 'service' })
  expect((await driver.submit([job({ executable: 'x' })], origin, never))[0]).toMatchObject({
    kind: 'later',
    reason: expect.stringContaining('token'),
  })
  expect(seen).toHaveLength(0)
  for (const token of ['first', 'SLURM_JWT=second\n']) {
    writeFileSync(file, token)
    expect((await driver.submit([job({ executable: 'x' })], origin, never))[0]?.kind).toBe('submitted')
  }
  const posts = seen.filter((one) => one.path.endsWith('submit'))
  expect(posts.map((one) => [one.headers['x-slurm-user-name'], one.headers['x-slurm-user-token']])).toEqual([
    ['service', 'first'],
    ['service', 'second'],
  ])
  expect(posts[0]?.body).not.toContain('first')
})

test.each<[[number, unknown], string]>([
  [[200, { job_id: 5, errors: [] }], 'submitted'],
  [[500, { job_id: 5, errors: [{ error_number: 2042, error: 'Job is in held state' }] }], 'submitted'],
  [[200, { result: { job_id: 5 }, errors: [] }], 'submitted'],
  [[500, { errors: [{ error_number: 2000, error_code: 0, error: 'Invalid partition' }] }], 'refused'],
  [
    [
      500,
      {
        errors: [
          { error_code: -1, error: 'x' },
          { error_code: 9001, error: 'Failure during parsing' },
        ],
      },
    ],
    'refused',
  ],
  [
    [
      500,
      {
        errors: [
          { error_code: 2000, error: 'x' },
          { error_code: 5004, error: 'timed out' },
        ],
      },
    ],
    'doubt',
  ],
  [[500, { errors: [{ error_code: 1800, error: 'x' }] }], 'later'],
  [[500, { errors: [] }], 'doubt'],
  [[200, { errors: [] }], 'doubt'],
  [[200, 'not JSON'], 'doubt'],
  [[200, { job_id: 0 }], 'doubt'],
  [[502, '<html>'], 'doubt'],
  [[503, ''], 'later'],
  [[401, 'Authentication failure'], 'later'],
  [[400, 'bad JSON'], 'refused'],
])('an answer of %j is %s', async (answer, kind) => {
  expect((await submitted(answer))?.kind).toBe(kind)
})

test('the version is negotiated once, and again when its paths are gone', async () => {
  let gone = true
  const { driver, seen } = await slurm(40, {
    'job/submit': () => (gone ? [404, 'Unable find requested URL'] : [200, { job_id: 1 }]),
  })
  expect((await driver.submit([job({ executable: 'x' })], origin, never))[0]?.kind).toBe('later')
  gone = false
  for (let round = 0; round < 3; round += 1)
    expect((await driver.submit([job({ executable: 'x' })], origin, never))[0]?.kind).toBe('submitted')
  expect(seen.filter((one) => one.path === '/openapi')).toHaveLength(2)
})

test('absent is said only of a whole listing', async () => {
  const [here, gone] = [newId(), newId()]
  const jobs = [{ comment: commentOf([here], origin), job_id: 3 }]
  const whole = JSON.stringify({ errors: [], jobs })
  for (const [answer, kinds] of [
    [
      [200, whole],
      ['found', 'absent'],
    ],
    [
      [200, whole.slice(0, -2)],
      ['found', 'unknown'],
    ],
    [
      [200, { errors: [{ error: 'x' }], jobs }],
      ['found', 'unknown'],
    ],
    [
      [500, whole],
      ['unknown', 'unknown'],
    ],
  ] as [[number, unknown], string[]][]) {
    const { driver } = await slurm(40, { jobs: answer })
    expect((await driver.find([here, gone], never)).map((finding) => finding.kind)).toEqual(kinds)
  }
})

test('forgotten is said only with proof', async () => {
  const id = newId()
  const mine = [{ job_id: 7, comment: commentOf([id], origin) }]
  const asked = async (listed: unknown, uptimeS: number | undefined, ageMs: number, jobId = '7') => {
    const statistics =
      uptimeS === undefined
        ? {}
        : { req_time: { set: true, number: 1000 + uptimeS }, req_time_start: { set: true, number: 1000 } }
    const { driver } = await slurm(40, { jobs: [200, { errors: [], jobs: listed }], diag: [200, { errors: [], statistics }] })
    const ask = async () => (await driver.confirm([{ id, jobId, submittedAtMs: Date.now() - ageMs }], never))[0]
    const first = await ask()
    // What is there was not there for long enough at the first look, whatever its age: slurmctld may have stood still meanwhile.
    expect(first).not.toBe(listed === mine ? 'kept' : undefined)
    return first === 'unknown' ? ask() : first
  }
  expect(await asked(mine, 100, 20_000)).toBe('kept')
  expect(await asked(mine, 100, 2_000)).toBe('unknown')
  expect(await asked([], 100, 20_000)).toBe('unknown')
  expect(await asked([], undefined, 20_000)).toBe('unknown')
  expect(await asked([], 5, 20_000)).toBe('forgotten')
  // Old enough to have ended and been dropped: forgotten can't be told from that, unless slurmctld never went away.
  expect(await asked([], 5, 299_000)).toBe('doubtful')
  expect(await asked([], 500, 299_000)).toBe('kept')
  expect(await asked([], undefined, 299_000)).toBe('unknown')
  expect(await asked([], 5, -5000)).toBe('unknown')
  expect(await asked([{ job_id: 7, comment: 'another' }], 100, 20_000)).toBe('forgotten')
  expect(await asked([{ job_id: 7, comment: 'another' }], 100, 400_000)).toBe('doubtful')
  expect(await asked([{ job_id: 8, comment: commentOf([id], origin) }], 5, 20_000)).toBe('kept')
})

test('an array is one call; each task is a job of its own to find and confirm, whatever of the array is listed', async () => {
  const producer = newId().slice(0, 17)
  const jobs = [7, 8, 30].map((sequence) => job({ executable: 'x', arguments: [`${sequence}`] }, `${producer}${sequence}`))
  const ids = jobs.map(({ id }) => id)
  let listed: unknown[] = []
  const { driver, seen } = await slurm(
    38,
    {
      'job/submit': [200, { job_id: 500 }],
      jobs: () => [200, { errors: [], jobs: listed }],
      diag: [200, { errors: [], statistics: { req_time: 100_000, req_time_start: 1 } }],
    },
    { array_jobs: 1000 },
  )
  const outcomes = await driver.submit([jobs[2]!, jobs[0]!, jobs[1]!], origin, never)
  expect(outcomes).toEqual(['500_2', '500_0', '500_1'].map((jobId) => ({ kind: 'submitted', jobId })))
  const posted = seen.filter(({ path }) => path.endsWith('job/submit'))
  expect(posted).toHaveLength(1)
  const comment = `usher ${producer}7+2,30 term=7 host=testhost`
  expect(JSON.parse(posted[0]!.body)).toMatchObject({ job: { array: '0-2', comment } })
  expect(await driver.find(ids, never)).toEqual(ids.map(() => ({ kind: 'absent' })))
  // Only the last task runs yet, and has a number of its own.
  listed = [{ job_id: 502, array_job_id: 500, array_task_id: 2, comment }]
  expect(await driver.find([...ids, newId()], never)).toEqual([
    ...ids.map((_, at) => ({ kind: 'found', jobId: `500_${at}` })),
    { kind: 'absent' },
  ])
  const known = ids.map((id, at) => ({ id, jobId: `500_${at}`, submittedAtMs: Date.now() - 20_000 }))
  expect(await driver.confirm(known, never)).toEqual(['unknown', 'unknown', 'unknown'])
  expect(await driver.confirm(known, never)).toEqual(['kept', 'kept', 'kept'])
  // The number is another's, and nothing of the array is there.
  listed = [{ job_id: 500, array_job_id: 500, comment: commentOf([newId(), newId()], origin) }]
  expect(await driver.confirm(known, never)).toEqual(['forgotten', 'forgotten', 'forgotten'])
})

test('an array that is refused is tried job by job; one for which there is no room becomes smaller', async () => {
  const answers: [number, unknown][] = []
  const { driver, seen } = await slurm(38, { 'job/submit': () => answers.shift() ?? [200, { job_id: 9 }] }, { array_jobs: 1000 })
  const jobs = [1, 2, 3, 4].map(() => job({ executable: 'x' }))
  const refused = (error_number: number, error: string): [number, unknown] => [500, { errors: [{ error_number, error }] }]
  const { limits } = driver
  expect(limits.batchJobsMax).toBe(1000)
  answers.push(refused(2000, 'no partition'), [200, { job_id: 1 }], refused(2000, 'no partition'))
  const kinds = (await driver.submit(jobs, origin, never)).map(({ kind }) => kind)
  expect(kinds.toSorted()).toEqual(['refused', 'submitted', 'submitted', 'submitted'])
  expect(seen.filter(({ path }) => path.endsWith('job/submit'))).toHaveLength(5)
  expect(limits.batchJobsMax).toBe(1000)
  answers.push(refused(2050, 'a limit'))
  expect((await driver.submit(jobs, origin, never)).map(({ kind }) => kind)).toEqual(['later', 'later', 'later', 'later'])
  expect(limits.batchJobsMax).toBe(2)
  await driver.submit(jobs.slice(0, 2), origin, never)
  expect(limits.batchJobsMax).toBe(52)
  answers.push(refused(2081, 'Invalid job array specification'))
  await driver.submit(jobs, origin, never)
  expect(limits.batchJobsMax).toBe(2)
  await driver.submit(jobs.slice(0, 2), origin, never)
  expect(limits.batchJobsMax).toBe(2)
})

test('no arrays where each job is by itself, or held', async () => {
  for (const options of [{}, { array_jobs: 1 }, { array_jobs: 1000, hold: true }]) {
    const { driver, seen } = await slurm(38, { 'job/submit': [200, { job_id: 3 }] }, options)
    expect(driver.gathering).toBeUndefined()
    expect(driver.limits.batchJobsMax).toBe(1)
    await driver.submit([job({ executable: 'x' }), job({ executable: 'x' })], origin, never)
    const posted = seen.filter(({ path }) => path.endsWith('job/submit')).map(({ body }) => (JSON.parse(body) as { job: { array?: string } }).job.array)
    expect(posted).toEqual([undefined, undefined])
  }
})
