// docs/job.schema.json against the lines that the transform writes.
import { readFileSync } from 'node:fs'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { native } from '../../src/base/native.ts'
import { plainly, segment } from './segment-documents.ts'

const seed = process.env['SEED'] === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(process.env['SEED'])
const text = readFileSync(new URL('../../docs/job.schema.json', import.meta.url), 'utf8')
const schema = z.fromJSONSchema(JSON.parse(text) as Parameters<typeof z.fromJSONSchema>[0])

const linesOf = (root: Parameters<typeof plainly>[0]): Record<string, never>[] => {
  const { failure, jsonl } = native.transform(Buffer.from(plainly(root)))
  expect(failure).toBeNull()
  return jsonl.toString().split('\n').slice(0, -1).map(line => JSON.parse(line) as Record<string, never>)
}

describe('docs/job.schema.json', () => {
  it('describes every line that the transform writes', () => {
    fc.assert(fc.property(segment, root => {
      for (const line of linesOf(root)) expect(schema.safeParse(line).error?.issues ?? []).toEqual([])
    }), { seed, numRuns: 300 })
  })

  it('refuses lines that are not usher\'s', () => {
    const [root] = fc.sample(segment.filter(candidate => candidate.content.length > 0), { seed, numRuns: 1 })
    const [line] = linesOf(root as never) as unknown as [Record<string, Record<string, unknown>>]
    expect(schema.safeParse(line).success).toBe(true)
    const wrong: unknown[] = [
      { ...line, id: 'job-1' },
      { ...line, digest: 'short' },
      { ...line, more: 1 },
      { ...line, cluster: '' },
      { ...line, spec: {} },
      { ...line, spec: { ...line['spec'], executable: '' } },
      { ...line, spec: { ...line['spec'], nodes: 1 } },
      { ...line, spec: { ...line['spec'], inherit_environment: true } },
      { ...line, spec: { ...line['spec'], arguments: [1] } },
      { ...line, spec: { ...line['spec'], resources: { node_count: 1 } } },
      { ...line, spec: { ...line['spec'], resources: { __version: 1, node_count: 0 } } },
      { ...line, spec: { ...line['spec'], attributes: { duration: '7205.0 s' } } },
      { ...line, provenance: { ...line['provenance'], index: -1 } },
    ]
    const { id: _id, ...withoutId } = line
    for (const other of [...wrong, withoutId, null, 'text']) expect(schema.safeParse(other).success, JSON.stringify(other)).toBe(false)
  })
})
