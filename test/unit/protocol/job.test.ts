import { readFileSync } from 'node:fs'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ByteWriter } from '../../../src/protocol/byte-writer.ts'
import { parseDuration } from '../../../src/protocol/duration.ts'
import { encodeJob } from '../../../src/protocol/job-encoder.ts'
import { formatJobId, parseJobId, producerOfName, randomProducer } from '../../../src/protocol/job-id.ts'
import { parseJobSpec } from '../../../src/protocol/parse-job-spec.ts'
import { compareUtf8, textProblem } from '../../../src/protocol/text.ts'
import { limits } from '../../vectors/make.ts'
import { judgeJob, splitJobs } from '../../vectors/reference.ts'

const seed = Number(process.env['SEED'] ?? Date.now() % 2 ** 31)
const check = <T>(property: fc.IProperty<T>, numRuns = 500): void => fc.assert(property, { seed, numRuns })

const large = { ...limits, jobBytesMax: 2 ** 30 }
const encode = (input: unknown, sequence: bigint | number = 1): Buffer => {
  const { job, problem } = parseJobSpec(input)
  if (job === undefined) throw new Error(JSON.stringify(problem))
  const out = new ByteWriter(16)
  encodeJob(out, sequence, job)
  return out.take()
}
const problemOf = (input: unknown) => parseJobSpec(input).problem

describe('job ids', () => {
  it('are written with 16 hexadecimal digits, a hyphen and decimal', () => {
    expect(formatJobId(0x9f8c2e71a4b0d3e5n, 17)).toBe('9f8c2e71a4b0d3e5-17')
    expect(formatJobId(1n, 0n)).toBe('0000000000000001-0')
  })

  it('come back from their text, for every producer and sequence', () => {
    check(fc.property(fc.bigInt(0n, 2n ** 64n - 1n), fc.bigInt(0n, 2n ** 64n - 1n), (producer, sequence) => {
      expect(parseJobId(formatJobId(producer, sequence))).toEqual({ producer, sequence })
    }))
  })

  it.each(['', '-', '9f8c2e71a4b0d3e5', '9f8c2e71a4b0d3e5-', '9F8C2E71A4B0D3E5-1', '9f8c2e71a4b0d3e-1', '9f8c2e71a4b0d3e5-01', '9f8c2e71a4b0d3e5--1',
    '9f8c2e71a4b0d3e5-18446744073709551616', '9f8c2e71a4b0d3e5-1 ', '9f8c2e71a4b0d3e5-1.0'])('are not read from %j', (text) => {
    expect(parseJobId(text)).toBeUndefined()
  })

  it('derive the producer from a name by SHA-256', () => {
    // printf abc | sha256sum: ba7816bf8f01cfea…
    expect(producerOfName('abc')).toBe(0xba7816bf8f01cfean)
    expect(randomProducer()).not.toBe(randomProducer())
  })
})

describe('durations', () => {
  it.each([
    ['7205 s', 7205], ['7205.0 s', 7205], ['7205s', 7205], ['0.1 s', 1], ['1.000000001 s', 2], ['90 m', 5400], ['1.5 h', 5400], ['0.1 h', 360],
    ['02:00:05', 7205], ['100:00:00', 360_000], ['0:00:01', 1], [10, 600], [0, 0],
  ] as const)('read %j as %i seconds', (text, seconds) => expect(parseDuration(text)).toBe(seconds))

  it.each(['', 's', '1', '-1 s', '1 d', '1:2', '1:60:00', '1:00:60', '1e3 s', '1. s', ' 1 s', 1.5, -1, Number.NaN])('refuse %j', (text) => {
    expect(parseDuration(text)).toBeUndefined()
  })
})

describe('text', () => {
  it('is compared as its UTF-8 is', () => {
    check(fc.property(fc.string({ unit: 'binary' }), fc.string({ unit: 'binary' }), (a, b) => {
      expect(Math.sign(compareUtf8(a, b))).toBe(Buffer.compare(Buffer.from(a), Buffer.from(b)))
    }), 2000)
    expect(compareUtf8('\uffff', '😀')).toBeLessThan(0)
  })

  it('is refused where UTF-8 or XML has no place for it', () => {
    expect(textProblem('tab\t line\n return\r \u0085 \ufffd 😀')).toBeUndefined()
    for (const text of ['\0', '\u001b', '\ufffe', '\uffff', 'a\u0008']) expect(textProblem(text)).toBe('text_not_xml')
    for (const text of ['\ud800', '\udc00', 'a\ud83d', '\ude00\ud83d']) expect(textProblem(text)).toBe('text_not_utf8')
  })
})

describe('parseJobSpec', () => {
  it('takes every field, turns labels into text and leaves defaults out', () => {
    const { job } = parseJobSpec({
      name: 'n', executable: '/bin/true', arguments: [], inherit_environment: true, environment: { A: 1, B: true, C: 1.5, D: '' }, directory: null,
      resources: { __version: 1, process_count: 2, exclusive_node_use: false }, attributes: { duration: 10, custom_attributes: {} }, cluster: 'main',
    })
    expect(job).toEqual({
      cluster: 'main',
      spec: {
        name: 'n', executable: '/bin/true', environment: { A: '1', B: 'true', C: '1.5', D: '' },
        resources: { __version: 1, process_count: 2 }, attributes: { duration: '600 s' },
      },
    })
  })

  it('takes an envelope, which means the same', () => {
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
    expect(encode({ spec: { executable: '/bin/true' }, cluster: 'c', traceparent })).toEqual(encode({ executable: '/bin/true', cluster: 'c', traceparent }))
  })

  it.each([
    [{ executable: 'x', arguements: [] }, 'field_unknown', 'arguements'],
    [{ executable: 'x', resources: { nodes: 1 } }, 'field_unknown', 'resources.nodes'],
    [{ executable: 'x', attributes: { walltime: 1 } }, 'field_unknown', 'attributes.walltime'],
    [{ executable: 'x', id: 'a-1' }, 'field_unknown', 'id'],
    [{ spec: { executable: 'x' }, name: 'n' }, 'field_unknown', 'name'],
    [{ spec: { executable: 'x', cluster: 'c' } }, 'field_unknown', 'cluster'],
    [{}, 'field_missing', 'executable'],
    [{ executable: null }, 'field_missing', 'executable'],
    [{ executable: '' }, 'field_invalid', 'executable'],
    [{ executable: 7 }, 'field_invalid', 'executable'],
    [{ executable: 'x', arguments: 'a b' }, 'field_invalid', 'arguments'],
    [{ executable: 'x', arguments: ['a', 1] }, 'field_invalid', 'arguments'],
    [{ executable: 'x', environment: { 'A=B': '1' } }, 'field_invalid', 'environment'],
    [{ executable: 'x', environment: { '': '1' } }, 'field_invalid', 'environment'],
    [{ executable: 'x', environment: { A: null } }, 'field_invalid', 'environment'],
    [{ executable: 'x', environment: { A: {} } }, 'field_invalid', 'environment'],
    [{ executable: 'x', environment: ['A=1'] }, 'field_invalid', 'environment'],
    [{ executable: 'x', inherit_environment: 'yes' }, 'field_invalid', 'inherit_environment'],
    [{ executable: 'x', resources: { node_count: 0 } }, 'field_invalid', 'resources.node_count'],
    [{ executable: 'x', resources: { node_count: 2 ** 31 } }, 'field_invalid', 'resources.node_count'],
    [{ executable: 'x', resources: { node_count: '2' } }, 'field_invalid', 'resources.node_count'],
    [{ executable: 'x', resources: { memory: 1.5 } }, 'field_invalid', 'resources.memory'],
    [{ executable: 'x', resources: { memory: 2 ** 53 } }, 'field_invalid', 'resources.memory'],
    [{ executable: 'x', resources: { __version: 2 } }, 'field_invalid', 'resources.__version'],
    [{ executable: 'x', resources: { node_count: 2, process_count: 3, processes_per_node: 2 } }, 'resources_contradict', 'resources.process_count'],
    [{ executable: 'x', attributes: { duration: '0 s' } }, 'field_invalid', 'attributes.duration'],
    [{ executable: 'x', attributes: { duration: 'forever' } }, 'field_invalid', 'attributes.duration'],
    [{ executable: 'x', attributes: [] }, 'field_invalid', 'attributes'],
    [{ executable: 'x', traceparent: '00-1-2-3' }, 'field_invalid', 'traceparent'],
    [{ executable: 'x', directory: '\ud800' }, 'text_not_utf8', 'directory'],
    [{ executable: 'x', attributes: { custom_attributes: { k: '\0' } } }, 'text_not_xml', 'attributes.custom_attributes'],
    [[], 'job_malformed', ''],
    [null, 'job_malformed', ''],
    ['x', 'job_malformed', ''],
  ])('refuses %j with %s at %j', (input, code, field) => expect(problemOf(input)).toMatchObject({ code, field }))

  it('names the argument and the key', () => {
    expect(problemOf({ executable: 'x', arguments: ['a', '\0'] })?.detail).toBe('1')
    expect(problemOf({ executable: 'x', environment: { A: '1', B: '\0' } })?.detail).toBe('B')
  })

  it('treats __proto__ as a key like any other', () => {
    const bytes = encode(JSON.parse('{"executable":"x","environment":{"__proto__":"1","A":"2"}}'))
    expect(bytes.includes('__proto__1')).toBe(true)
    expect(problemOf(JSON.parse('{"executable":"x","__proto__":{"a":1}}'))).toMatchObject({ code: 'field_unknown', field: '__proto__' })
  })

  it('answers any JSON with a job that the protocol takes or with a problem, and never throws', () => {
    const keys = fc.constantFrom('executable', 'arguments', 'environment', 'resources', 'attributes', 'name', 'memory', 'duration', 'custom_attributes', 'node_count')
    const value = fc.letrec((tie) => ({
      any: fc.oneof({ depthSize: 'small' }, fc.jsonValue(), fc.string({ unit: 'binary' }), fc.integer(), fc.array(tie('any'), { maxLength: 3 }), tie('object')),
      object: fc.dictionary(fc.oneof(keys, fc.string()), tie('any'), { maxKeys: 4 }),
    })).object
    check(fc.property(value, (input) => {
      const { job, problem } = parseJobSpec({ executable: 'x', ...input })
      expect((job === undefined) !== (problem === undefined)).toBe(true)
      if (job !== undefined) {
        const [split] = splitJobs(encode({ executable: 'x', ...input }), 1)!
        expect(judgeJob(split!.fields, { ...large, clusters: [job.cluster ?? 'main'] })).toBeUndefined()
      }
    }), 1000)
  })
})

describe('encodeJob', () => {
  const xmlText = fc.string({ unit: 'grapheme', maxLength: 60 }).filter((text) => textProblem(text) === undefined)
  const filled = xmlText.filter((text) => text !== '')
  const spec = fc.record(
    {
      executable: filled, name: filled, arguments: fc.array(xmlText, { maxLength: 5 }), environment: fc.dictionary(filled.filter((key) => !key.includes('=')), xmlText),
      stdin_path: filled, launcher: filled, inherit_environment: fc.boolean(),
      resources: fc.record({ node_count: fc.integer({ min: 1, max: 2 ** 31 - 1 }), memory: fc.maxSafeNat().filter((n) => n > 0) }, { requiredKeys: [] }),
      attributes: fc.record({ duration: fc.integer({ min: 1, max: 2 ** 31 - 1 }).map((n) => `${n} s`), custom_attributes: fc.dictionary(filled, xmlText) }, { requiredKeys: [] }),
    },
    { requiredKeys: ['executable'] },
  )

  it('makes bytes that the reference takes, whatever the job', () => {
    check(fc.property(spec, fc.bigInt(0n, 2n ** 64n - 1n), (input, sequence) => {
      const [split] = splitJobs(encode(input, sequence), 1)!
      expect(split!.sequence).toBe(sequence)
      expect(judgeJob(split!.fields, large)).toBeUndefined()
    }))
  })

  it('makes the same bytes for the same job, in whichever order its keys come', () => {
    check(fc.property(spec, (input) => {
      const reversed = JSON.parse(JSON.stringify(input), (_key, value: unknown) =>
        typeof value === 'object' && value !== null && !Array.isArray(value) ? Object.fromEntries(Object.entries(value).toReversed()) : value)
      expect(encode(reversed)).toEqual(encode(input))
    }))
  })

  it('writes numbers and bigints alike', () => {
    for (const sequence of [0, 1, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1]) expect(encode({ executable: 'x' }, sequence)).toEqual(encode({ executable: 'x' }, BigInt(sequence)))
  })

  it('takes every example', () => {
    const lines = readFileSync(new URL('../../../examples/jobs.ndjson', import.meta.url), 'utf8').trimEnd().split('\n')
    expect(lines.length).toBeGreaterThanOrEqual(40)
    for (const line of lines) {
      const [split] = splitJobs(encode(JSON.parse(line)), 1)!
      expect(judgeJob(split!.fields, large), line).toBeUndefined()
    }
  })
})
