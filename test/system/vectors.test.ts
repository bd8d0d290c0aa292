// The vectors of docs/protocol.md, replayed against the real server: whole, and cut at every byte.
import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { mismatches } from '../vectors/match.ts'
import type { Expectation } from '../vectors/match.ts'
import { RawConnection } from '../support/raw-connection.ts'
import { makeFolder, root, ServerProcess } from '../support/usher-process.ts'

interface Vector {
  readonly name: string
  readonly meaning: string
  readonly bytes: string
  readonly expect: Expectation
  readonly slow?: string
  readonly needs?: string
  readonly server?: Record<string, unknown>
}

const files = ['connection', 'frames', 'jobs', 'refusals']
const read = (file: string): Vector[] =>
  (JSON.parse(readFileSync(`${root}/test/vectors/${file}.json`, 'utf8')) as { vectors: Vector[] }).vectors

const configOf = (clusters: readonly string[]): string =>
  `[log]\nlevel = "warn"\n[limits]\nframe_bytes = 4096\njob_bytes = 2048\nframe_jobs = 16\ncredit_bytes = 4108\n` +
  // Short, so that the vectors about time are replayed as well.
  `hello_timeout = 0.5\nframe_timeout = 0.5\nidle_timeout = 1.5\n` +
  clusters.map((name) => `[cluster.${name}]\ndriver = "discard"\n`).join('')

const folder = await makeFolder()
let one: ServerProcess
let two: ServerProcess
beforeAll(async () => {
  one = await ServerProcess.start({ config: configOf(['main']), store: `${folder.path}/one`, folder: folder.path })
  two = await ServerProcess.start({ config: configOf(['main', 'second']), store: `${folder.path}/two`, folder: folder.path })
})
afterAll(async () => {
  expect(await one.end('SIGTERM')).toBe(0)
  expect(await two.end('SIGTERM')).toBe(0)
  await folder.remove()
})

/** Waits until everything expected is there and nothing more comes, or a little longer than the longest limit. */
const replay = async (server: ServerProcess, vector: Vector, pieces: readonly Buffer[]): Promise<string[]> => {
  const connection = new RawConnection(server.address)
  for (const piece of pieces) {
    connection.write(piece)
    if (pieces.length > 1) await new Promise((resolve) => setImmediate(resolve))
  }
  const end = Date.now() + (vector.slow === undefined ? 1200 : 4000)
  let problems: string[] = ['nothing came']
  do {
    await new Promise((resolve) => setTimeout(resolve, 5))
    problems = mismatches(vector.expect, connection.received, connection.closed)
  } while (problems.length > 0 && Date.now() < end)
  connection.destroy()
  return problems
}

describe.each(files)('the vectors of %s.json', (file) => {
  for (const vector of read(file)) {
    // Those that need a state of the server have tests of their own: test/system/abuse.test.ts and store-failure.test.ts.
    if (vector.needs !== undefined) continue
    it(`${vector.name}: ${vector.meaning}`, async () => {
      const server = vector.server === undefined ? one : two
      expect(await replay(server, vector, [Buffer.from(vector.bytes, 'hex')])).toEqual([])
    })
  }
})

describe('every vector', () => {
  it('means the same when each of its bytes comes by itself', { timeout: 120_000 }, async () => {
    // credit_exceeded is about two frames that come together: apart, the second may have its credit back.
    const all = files.flatMap(read).filter(({ name, needs, slow }) => needs === undefined && slow === undefined && name !== 'credit_exceeded')
    const results = await Promise.all(
      all.map(async (vector) => {
        const bytes = Buffer.from(vector.bytes, 'hex')
        const pieces = Array.from(bytes, (_, at) => bytes.subarray(at, at + 1))
        return { name: vector.name, problems: await replay(vector.server === undefined ? one : two, { ...vector, slow: 'many pieces' }, pieces) }
      }),
    )
    expect(results.filter(({ problems }) => problems.length > 0)).toEqual([])
  })
})
