// The Python client: its own tests (clients/python/tests), and that it means by a job what the TypeScript client means, byte for
// byte; and the examples of docs/clients.md.
import { spawn } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { codes } from '../../src/base/errors.ts'
import type { CodeInfo } from '../../src/base/errors.ts'
import { ByteWriter } from '../../src/protocol/byte-writer.ts'
import { encodeJob } from '../../src/protocol/job-encoder.ts'
import { parseJobSpec } from '../../src/protocol/parse-job-spec.ts'
import { seeded, seedOf } from '../support/random.ts'
import { makeFolder, root, ServerProcess } from '../support/usher-process.ts'

const client = join(root, 'clients', 'python')

const python = (args: readonly string[], options: { input?: string; timeoutMs?: number } = {}): Promise<{ status: number | string; out: string; err: string }> =>
  new Promise((resolve, reject) => {
    const child = spawn('python3', ['-W', 'error::ResourceWarning', ...args], {
      cwd: client,
      env: { ...process.env, PYTHONPATH: 'src', PYTHONDONTWRITEBYTECODE: '1' },
      timeout: options.timeoutMs ?? 60_000,
      killSignal: 'SIGKILL',
    })
    let out = ''
    let err = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text))
    child.stderr.setEncoding('utf8').on('data', (text: string) => (err += text))
    child.once('error', reject)
    child.once('close', (status, signal) => resolve({ status: status ?? signal ?? '', out, err }))
    // Whoever ends early reads no more; its status says why.
    child.stdin.on('error', () => undefined)
    child.stdin.end(options.input ?? '')
  })

describe('the Python client', () => {
  const modules = readdirSync(join(client, 'tests')).flatMap((file) => /^(test_\w+)\.py$/.exec(file)?.[1] ?? [])

  it('has tests', () => {
    expect(modules).toEqual(expect.arrayContaining(['test_aio', 'test_client', 'test_crc32c', 'test_encoder', 'test_frames', 'test_server', 'test_vectors']))
  })

  it.each(modules)('passes its own tests: %s', { timeout: 300_000 }, async (module) => {
    const { status, err } = await python(['-m', 'unittest', `tests.${module}`], { timeoutMs: 280_000 })
    expect(status, err).toBe(0)
    expect(err).toMatch(/^Ran [1-9]\d* tests? in [^\n]*\n\nOK$/m)
  })

  it('has the codes of src/base/errors.ts and takes the same jobs, with the same bytes and the same mistakes', async () => {
    const seed = seedOf()
    const random = seeded(seed)
    const one = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)]!
    const texts = ['/bin/true', 'a', 'ä€😀', 'x'.repeat(127), 'x'.repeat(300), '\u{ffe0}', 'a=b', ' ', '\t\n\r']
    const bad = ['', '\u0000', '\u{fffe}', '\ud800', 'x\udc00', 1, 2.5, true, null, [], {}, ['a'], -1]
    const text = (): unknown => (random() < 0.03 ? one(bad) : one(texts))
    const number = (): unknown => (random() < 0.03 ? one([0, -1, 2.5, 2 ** 31, 2 ** 53, '1', true, null, 1e21]) : one([1, 2, 4, 127, 128, 255, 256, 65_536, 2 ** 31 - 1]))
    const label = (): unknown => one<() => unknown>([text, text, number, () => one([0, -0.5, 0.1, 1e21, 1e-7, 123_456_789.125, 1e20, 5e-324, 1.7976931348623157e308, true, false])])()
    const pairs = (): unknown => (random() < 0.03 ? one(bad) : Object.fromEntries(Array.from({ length: Math.floor(random() * 4) }, () => [random() < 0.02 ? one(['', '=', '\u0001', 'a=']) : one([...texts.slice(1, 6), 'B', 'C', '__proto__', '7']), label()])))
    const durations = ['90 s', '15 m', '1.5 h', '0.1 h', '02:00:05', '0.0001 s', '1.999999999h', 15, '0 s', 0, 'soon', -1, 2.5, '99999999 h', '9999999999 s', ' 1 s', '1\u00a0s', '1٣ s']
    const some = (fields: Record<string, () => unknown>, chance: number): Record<string, unknown> =>
      Object.fromEntries(Object.entries(fields).filter(() => random() < chance).map(([key, make]) => [key, make()]))
    const resources = (): unknown =>
      some({ process_count: number, node_count: number, processes_per_node: () => one([1, 2]), cpu_cores_per_process: number, gpu_cores_per_process: () => one([0, 1, -1]), exclusive_node_use: () => one([true, false, null, 1]), memory: number, __version: () => one([1, 1, 1, 2, null]), nodes: () => 1 }, 0.15)
    const attributes = (): unknown => some({ custom_attributes: pairs, queue_name: text, duration: () => one(durations), account: text, reservation_id: text, project: () => 'x' }, 0.25)
    const spec = (): Record<string, unknown> => ({
      ...(random() < 0.98 ? { executable: text() } : {}),
      ...some({ launcher: text, name: text, arguments: () => (random() < 0.03 ? one(bad) : Array.from({ length: Math.floor(random() * 4) }, text)), directory: text, inherit_environment: () => one([true, false, null, 0]), environment: pairs, stdin_path: text, stdout_path: text, stderr_path: text, resources, attributes, pre_launch: text, post_launch: text }, 0.2),
      ...some({ id: () => 1, spec: () => null }, 0.005),
    })
    const beside = (): Record<string, unknown> =>
      some({ cluster: text, traceparent: () => one(['00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', 'ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', '00-00000000000000000000000000000000-b7ad6b7169203331-01', '']) }, 0.1)
    const jobs: unknown[] = [
      ...readFileSync(join(root, 'examples', 'jobs.ndjson'), 'utf8').trim().split('\n').map((line) => JSON.parse(line) as unknown),
      ...bad,
      ...Array.from({ length: 4000 }, () => (random() < 0.1 ? { ...beside(), spec: random() < 0.05 ? one(bad) : spec(), ...some({ more: () => 1 }, 0.02) } : { ...beside(), ...spec() })),
    ]
    const lines = jobs.map((job) => JSON.stringify(job))
    const { status, out, err } = await python(['-m', 'tests.encode_lines'], { input: lines.join('\n') })
    expect(status, err).toBe(0)
    const [table, ...answers] = out.trimEnd().split('\n')
    for (const [code, [retryable, wire]] of Object.entries(JSON.parse(table!) as Record<string, [boolean, number]>)) {
      const info = (codes as Record<string, CodeInfo>)[code]
      expect([code, info?.retryable, info?.wire ?? 0]).toEqual([code, retryable, wire])
    }
    const known = Object.keys(JSON.parse(table!) as object)
    expect(Object.entries<CodeInfo>(codes).filter(([, { wire }]) => wire !== undefined).map(([code]) => code).filter((code) => !known.includes(code))).toEqual([])
    expect(answers.length).toBe(lines.length)
    const expected = lines.map((line) => {
      const { job, problem } = parseJobSpec(JSON.parse(line))
      if (problem !== undefined) return JSON.stringify([problem.code, problem.field, problem.detail ?? null])
      const writer = new ByteWriter(1024)
      encodeJob(writer, 1, job)
      return Buffer.from(writer.view(12)).toString('hex')
    })
    const plain = (answer: string): string => (answer.startsWith('[') ? JSON.stringify(JSON.parse(answer)) : answer)
    const different = lines.flatMap((line, index) => (plain(answers[index]!) === expected[index] ? [] : [{ line, python: answers[index], typescript: expected[index] }]))
    expect(different.slice(0, 5), `seed ${seed}, ${different.length} of ${lines.length} differ`).toEqual([])
    // Neither kind is rare.
    expect(expected.filter((answer) => answer.startsWith('[')).length).toBeGreaterThan(500)
    expect(expected.filter((answer) => !answer.startsWith('[')).length).toBeGreaterThan(1000)
  })
})

describe('the Python of docs/clients.md', () => {
  const page = readFileSync(join(root, 'docs', 'clients.md'), 'utf8')
  const blocks = Array.from(page.matchAll(/^```python\n([^]*?)^```$/gm), (match, index) => ({ text: match[1]!, number: index + 1 }))
  let folder: Awaited<ReturnType<typeof makeFolder>>
  let server: ServerProcess
  beforeAll(async () => {
    folder = await makeFolder()
    server = await ServerProcess.start({ config: '[log]\nlevel = "warn"\n[cluster.main]\ndriver = "discard"\n', store: `${folder.path}/store`, folder: folder.path })
  })
  afterAll(async () => {
    expect(await server.end('SIGTERM')).toBe(0)
    await folder.remove()
  })

  it('is there', () => {
    expect(blocks.length).toBeGreaterThan(3)
  })

  it.each(blocks)('runs: example $number', async ({ text, number }) => {
    const file = join(folder.path, `example-${number}.py`)
    await writeFile(file, text.replaceAll('node1:7433,node2:7433', server.address).replaceAll('jobs.ndjson', join(root, 'examples', 'jobs.ndjson')))
    const { status, out, err } = await python([file])
    expect(status, err).toBe(0)
    expect(err).toBe('')
    expect(out).not.toBe('')
  })
})
