// A real workload in the Standard Workload Format, whole: every job accounted for, with its demands in the JobSpec. USHER_TEST_SWF names
// the file (plain or gzipped); without it a small workload made here is used, so that something is always replayed.
import { createReadStream } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { createGunzip } from 'node:zlib'
import { afterEach, describe, expect, it } from 'vitest'
import { seeded, seedOf } from '../support/random.ts'
import { makeFolder, ServerProcess, settledAudit, traceOf, usher } from '../support/usher-process.ts'

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup()
})

const given = process.env['USHER_TEST_SWF']

interface Line {
  /** Of the file, from 1: the sequence of its job. */
  readonly number: number
  readonly columns: readonly number[]
}

/** The jobs of a workload and the names its header gives to queues, read without any of usher's code. */
const readWorkload = async (file: string): Promise<{ jobs: Line[]; queues: Map<number, string> }> => {
  const raw = createReadStream(file)
  const lines = createInterface({ input: file.endsWith('.gz') ? raw.pipe(createGunzip()) : raw, crlfDelay: Infinity })
  const jobs: Line[] = []
  const queues = new Map<number, string>()
  let number = 0
  for await (const line of lines) {
    number += 1
    const named = /^;\s*Queue:\s*(\d+)\s+(\S.*?)\s*$/i.exec(line)
    if (named !== null) queues.set(Number(named[1]), named[2]!)
    if (line.trim() !== '' && !line.trim().startsWith(';')) jobs.push({ number, columns: line.trim().split(/\s+/).map(Number) })
  }
  return { jobs, queues }
}

const residentKiB = async (pid: number, what: 'VmRSS' | 'VmHWM'): Promise<number> =>
  Number(new RegExp(`^${what}:\\s+(\\d+) kB`, 'm').exec(await readFile(`/proc/${pid}/status`, 'latin1'))?.[1] ?? 0)

const replay = async (file: string): Promise<void> => {
  const folder = await makeFolder()
  cleanups.push(folder.remove)
  const store = join(folder.path, 'store')
  const config = '[log]\nlevel = "warn"\n[cluster.nowhere]\ndriver = "discard"\n'
  const server = await ServerProcess.start({ config, store, folder: folder.path })
  cleanups.push(() => server.end('SIGKILL'))
  const { jobs, queues } = await readWorkload(file)
  expect(jobs.length).toBeGreaterThan(100)

  const startedMs = performance.now()
  const sent = await usher(['send', file, '--format', 'swf', '--to', server.address, '--client-id', 'workload', '--json'])
  expect(sent.status, sent.stderr).toBe(0)
  const summary = JSON.parse(sent.stdout.trimEnd()) as { sent: number; accepted: number; seconds: number }
  expect(summary).toMatchObject({ sent: jobs.length, accepted: jobs.length, refused: 0, inDoubt: 0 })
  expect(await settledAudit(store)).toMatchObject({
    accepted: jobs.length, submitted: jobs.length, waiting: 0, inDoubt: 0, dead: 0, duplicates: 0, setAside: 0, balanced: true,
  })
  const seconds = (performance.now() - startedMs) / 1000
  const submitter = await server.submitterPid()
  const [main, child] = await Promise.all([residentKiB(server.child.pid!, 'VmHWM'), residentKiB(submitter!, 'VmHWM')])
  process.stderr.write(
    `workload: ${jobs.length} jobs accepted in ${summary.seconds} s, submitted in ${seconds.toFixed(1)} s; most memory: server ${Math.round(main / 1024)} MiB, submitter ${Math.round(child / 1024)} MiB\n`,
  )

  const producer = 'workload'
  const { producerOfName } = await import('../../src/client/client.ts')
  const prefix = producerOfName(producer).toString(16).padStart(16, '0')
  const random = seeded(seedOf())
  const sample = [jobs[0]!, jobs.at(-1)!, ...Array.from({ length: 6 }, () => jobs[Math.floor(random() * jobs.length)]!)]
  // Those whose demands are known, as far as there are any: a sample without would show nothing.
  sample.push(...[7, 8].flatMap((column) => jobs.find(({ columns }) => columns[column]! > 0) ?? []))
  for (const { number, columns } of sample) {
    const { state, spec } = await traceOf(store, `${prefix}-${number}`)
    const first = (...of: number[]): number | undefined => of.map((column) => columns[column - 1]!).find((value) => value > 0)
    const queue = columns[14]!
    const context = JSON.stringify({ number, columns })
    expect(state, context).toBe('submitted')
    expect(spec?.name, context).toBe(`swf-${columns[0]}`)
    expect(spec?.resources?.process_count, context).toBe(first(8, 5))
    expect(spec?.attributes?.duration, context).toBe(first(9, 4) === undefined ? undefined : `${Math.ceil(first(9, 4)!)} s`)
    if (queue >= 0) expect(spec?.attributes?.queue_name, context).toBe(queues.get(queue) ?? `queue${queue}`)
    expect(spec?.attributes?.custom_attributes?.['swf.job'], context).toBe(String(columns[0]))
  }
  expect(await server.end('SIGTERM'), server.log).toBe(0)
}

describe('a workload in the Standard Workload Format', () => {
  it('is replayed whole, with requested processors, time and queue', async () => {
    const folder = await makeFolder()
    cleanups.push(folder.remove)
    const seed = seedOf()
    const random = seeded(seed)
    const upTo = (most: number): number => Math.floor(random() * most)
    const rows = Array.from({ length: 2000 }, (_, i) => {
      const unknown = random() < 0.2
      const processors = unknown ? -1 : 1 + upTo(512)
      const time = unknown ? -1 : 60 + upTo(100_000)
      return [i + 1, i * 7, upTo(100), 1 + upTo(5000), 1 + upTo(64), -1, -1, processors, time, -1, 1, upTo(50), upTo(5), upTo(9), upTo(4), 1 + upTo(2), -1, -1].join('  ')
    })
    const file = join(folder.path, 'small.swf')
    await writeFile(file, `; Version: 2.2\n; Computer: none, made by a test with seed ${seed}\n; Queue: 1 short\n; Queue: 2 long queue\n;\n\n${rows.join('\n')}\n`)
    await replay(file)
  })

  it.skipIf(given === undefined)('of the file that USHER_TEST_SWF names is replayed whole', { timeout: 600_000 }, async () => {
    await replay(given!)
  })
})
