import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { JobLineScanner, JobListingScanner, type ListedJob } from '../../../src/submit/drivers/slurm-listing.ts'

const scan = (bytes: Uint8Array, cut = bytes.length): { jobs: ListedJob[]; complete: boolean; hasErrors: boolean } => {
  const jobs: ListedJob[] = []
  const scanner = new JobListingScanner((job) => jobs.push(job))
  scanner.push(bytes.subarray(0, cut))
  scanner.push(bytes.subarray(cut))
  return { jobs, complete: scanner.complete, hasErrors: scanner.hasErrors }
}

const sample = JSON.stringify(
  {
    meta: { plugin: { name: 'x', jobs: [{ job_id: 99, comment: 'not here' }] }, errors: [{}] },
    errors: [],
    jobs: [
      {
        account: 'a',
        array_job_id: 0,
        comment: 'usher a"b\\c\u00e9 ü',
        job_id: 1,
        flags: ['job_id', 'comment'],
        job_resources: { job_id: 7, nodes: [{ comment: 'inner' }] },
      },
      { job_id: 2, comment: '', het_job_id: 0, time: { set: true, number: 3 } },
      { job_id: 3, name: '{"job_id": 4, "comment": "forged"}]}' },
    ],
    last_update: { number: 1 },
  },
  null,
  2,
)

test('reads the id and the comment of each job, and nothing that only looks like one', () => {
  expect(scan(Buffer.from(sample))).toEqual({
    jobs: [
      { jobId: '1', comment: 'usher a"b\\cé ü' },
      { jobId: '2', comment: '' },
      { jobId: '3', comment: '' },
    ],
    complete: true,
    hasErrors: false,
  })
})

test('reads the same wherever the bytes are cut', () => {
  const bytes = Buffer.from(sample)
  const whole = scan(bytes)
  for (let cut = 0; cut <= bytes.length; cut += 1) expect(scan(bytes, cut)).toEqual(whole)
})

test('calls no listing complete that is not whole, has errors, or has no jobs in it', () => {
  const bytes = Buffer.from(sample)
  for (let length = 0; length < bytes.length; length += 1) expect(scan(bytes.subarray(0, length)).complete).toBe(false)
  expect(scan(Buffer.from('{"errors":[{"error":"x"}],"jobs":[]}'))).toMatchObject({ complete: false, hasErrors: true })
  expect(scan(Buffer.from('{"errors":[]}')).complete).toBe(false)
  expect(scan(Buffer.from('{"jobs":[{"comment":"x"}]}')).complete).toBe(false)
  expect(scan(Buffer.from('{"errors":[],"jobs":[]}')).complete).toBe(true)
})

test('agrees with JSON.parse on any jobs', () => {
  const seed = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 31))
  const jobs = fc.array(
    fc.record({ before: fc.jsonValue(), comment: fc.string({ unit: 'grapheme' }), job_id: fc.nat(), after: fc.jsonValue() }),
  )
  fc.assert(
    fc.property(jobs, fc.nat(), fc.constantFrom(0, 2), (list, cut, indent) => {
      const bytes = Buffer.from(JSON.stringify({ errors: [], jobs: list }, null, indent))
      const result = scan(bytes, cut % (bytes.length + 1))
      expect(result.complete).toBe(true)
      expect(result.jobs).toEqual(list.map((job) => ({ jobId: String(job.job_id), comment: job.comment })))
    }),
    { seed, numRuns: 200 },
  )
})

test('reads lines of squeue, cut anywhere', () => {
  const text = '12|usher 00000000000000aa-1 term=1 host=h\n13_4|\nnot a job|x\n14|a|b\n'
  for (let cut = 0; cut <= text.length; cut += 1) {
    const jobs: ListedJob[] = []
    const scanner = new JobLineScanner((job) => jobs.push(job))
    scanner.push(Buffer.from(text.slice(0, cut)))
    scanner.push(Buffer.from(text.slice(cut)))
    expect(jobs).toEqual([
      { jobId: '12', comment: 'usher 00000000000000aa-1 term=1 host=h' },
      { jobId: '13', comment: '' },
      { jobId: '14', comment: 'a|b' },
    ])
    expect(scanner.complete).toBe(true)
  }
})

test('of a task of an array it reads the number of the array, as each version writes it', () => {
  const jobs = [
    { job_id: 12, array_job_id: 11, array_task_id: 3, comment: 'a' },
    { array_job_id: { set: true, infinite: false, number: 11 }, array_task_id: { set: true, number: 4 }, job_id: 13, comment: 'b' },
    { array_job_id: { set: true, infinite: false, number: 0 }, job_id: 14, comment: 'c' },
    { job_id: 15, comment: 'd' },
  ]
  const bytes = Buffer.from(JSON.stringify({ jobs }))
  for (let cut = 0; cut <= bytes.length; cut += 1) expect(scan(bytes, cut).jobs.map(({ jobId }) => jobId)).toEqual(['11', '11', '14', '15'])
})

test('of lines it reads the number of the array, too', () => {
  const jobs: ListedJob[] = []
  const scanner = new JobLineScanner((listed) => jobs.push(listed))
  scanner.push(Buffer.from('11_3|a\n11_[4-10]|a\n14|c\n'))
  expect(jobs.map(({ jobId }) => jobId)).toEqual(['11', '11', '14'])
})
