import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { codes } from '../../../src/base/errors.ts'
import { FrameDecoder, frameTypes } from '../../../src/protocol/frame.ts'
import { decodeMessage, encodeMessage, type Message } from '../../../src/protocol/messages.ts'
import { limits, type Vector, vectorFiles } from '../../vectors/make.ts'
import { describeMessage, mismatches } from '../../vectors/match.ts'
import { answer, type ServerLimits } from '../../vectors/reference.ts'

const folder = fileURLToPath(new URL('../../vectors/', import.meta.url))
const all = Object.values(vectorFiles).flatMap((file) => file.vectors)

const answered = (vector: Vector) => {
  const server: ServerLimits = { ...limits, ...(vector.server as Partial<ServerLimits>) }
  return answer(Buffer.from(vector.bytes, 'hex'), server)
}

describe('test vectors', () => {
  it('are what the generator makes (UPDATE_VECTORS=1 writes them)', () => {
    for (const [name, file] of Object.entries(vectorFiles)) {
      const text = `${JSON.stringify(file, null, 2)}\n`
      if (process.env['UPDATE_VECTORS'] === '1') writeFileSync(`${folder}${name}.json`, text)
      expect(readFileSync(`${folder}${name}.json`, 'utf8') === text, `${name}.json is up to date`).toBe(true)
    }
    expect(readdirSync(folder).filter((name) => name.endsWith('.json')).sort()).toEqual(Object.keys(vectorFiles).map((name) => `${name}.json`).sort())
  })

  it('have names of their own', () => {
    expect(new Set(all.map((vector) => vector.name)).size).toBe(all.length)
  })

  it('cover every code that crosses the wire', () => {
    const expected = JSON.stringify(all.map((vector) => vector.expect))
    for (const [code, info] of Object.entries(codes)) if ('wire' in info) expect(expected, code).toContain(`"code":"${code}"`)
  })

  it('cover every type of frame', () => {
    const shown = vectorFiles['answers']!.answers!.map((vector) => vector.frame['type'])
    for (const type of Object.keys(frameTypes)) expect(shown).toContain(type)
  })

  const replayable = all.filter((vector) => vector.needs === undefined && vector.slow === undefined)
  it.each(replayable.map((vector) => [vector.name, vector] as const))('are answered by the reference as expected: %s', (_name, vector) => {
    const { answer: bytes, closes } = answered(vector)
    expect(mismatches(vector.expect, bytes, closes)).toEqual([])
  })

  it('tell a wrong answer from a right one', () => {
    const vector = all.find(({ name }) => name === 'one bad among good')!
    const { answer: bytes } = answered(vector)
    expect(mismatches(vector.expect, bytes, true)).toEqual(['the connection was closed'])
    expect(mismatches(vector.expect, bytes.subarray(0, 8), false)).not.toEqual([])
    const other = all.find(({ name }) => name === 'the smallest job')!
    expect(mismatches(vector.expect, answered(other).answer, false)).toContain('job 6 was not acknowledged')
  })

  it('show frames that decode to what they say and encode to the same bytes', () => {
    for (const vector of vectorFiles['answers']!.answers!) {
      const messages: Message[] = []
      new FrameDecoder({ payloadBytesMax: 4096, onFrame: (frame) => messages.push(decodeMessage(frame)) }).push(Buffer.from(vector.bytes, 'hex'))
      expect(messages.map(describeMessage)).toEqual([vector.frame])
      expect(encodeMessage(messages[0]!).toString('hex')).toBe(vector.bytes)
    }
  })
})
