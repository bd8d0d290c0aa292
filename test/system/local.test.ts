// The embedded default: jobs as processes of this machine. What a job is given arrives byte for byte, no more run than there
// are slots, and no end of usher ends a job, runs it twice or forgets how it ended.
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { sendJobs } from '../support/sending.ts'
import { makeFolder, ServerProcess, settledAudit, statusOf, traceOf, until } from '../support/usher-process.ts'

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup()
})

const start = async (slots: number, options: { grace?: number; env?: Record<string, string> } = {}) => {
  const folder = await makeFolder()
  cleanups.push(folder.remove)
  const store = join(folder.path, 'store')
  const config = `lease = 0.5\naccept_lease = 2\n[log]\nlevel = "warn"\n[cluster.here]\ndriver = "local"\nslots = ${slots}\ngrace = ${options.grace ?? 1}\n`
  const serve = async (): Promise<ServerProcess> => {
    const server = await ServerProcess.start({ config, store, folder: folder.path, ...(options.env === undefined ? {} : { env: options.env }) })
    cleanups.push(() => server.end('SIGKILL'))
    return server
  }
  return { folder: folder.path, store, serve }
}

const ended = async (store: string, id: string): Promise<string> => {
  let detail = ''
  await until(`job ${id} has ended`, async () => {
    const { state, steps } = await traceOf(store, id)
    detail = steps.find(({ step }) => step === 'ended')?.detail ?? ''
    return state === 'ended'
  })
  return detail
}

const readLines = async (file: string): Promise<string[]> => (await readFile(file, 'utf8')).split('\n').filter((line) => line !== '')

// Writes what it was given, each argument and variable followed by a NUL, so that nothing needs escaping.
const showsItself = ['-c', 'printf "%s\\0" "$@" >"$OUT"; env -0 >"$OUT.env"; pwd >"$OUT.pwd"; cat; echo to stderr >&2', 'shows-itself']
const nulParts = (text: string): string[] => text.split('\0').slice(0, -1)

describe('a job of the local driver', () => {
  it('gets arguments, environment, directory and files as they were sent, and its exit status is in its trace', async () => {
    const { folder, store, serve } = await start(4, { env: { INHERITED: 'yes', USHER_LOG_LEVEL: 'warn' } })
    const server = await serve()
    const awkward = [
      '', ' ', '  leading and trailing  ', "it's", '"quoted"', '$HOME', '`id`', '$(id)', 'back\\slash', '\\', '*', '?', '[a-z]', '~', '&&', '|', ';', '>', '<', '#', '!',
      'a\nb', '\n', 'tab\there', 'carriage\rreturn', '\r\n', '-rf', '--', '%s', '{}', '&amp;', ']]>', '<!--', 'ünïcödé', '日本語', '🙂👩‍👩‍👧', '\u00a0', '\u200b\u202e', '\ufffd', '\u0085\u2028', 'é', 'x'.repeat(10_000),
    ]
    const directory = join(folder, "a directory's naïve name")
    await mkdir(directory)
    await writeFile(join(directory, 'in put'), 'from stdin\n')
    const environment = { OUT: join(folder, 'shown'), AWKWARD: awkward.slice(0, -1).join('|'), EMPTY: '', 'with.dot': 'x', LINES_OF: 'a\nb\r\n\tc', PATH: '/usr/bin:/bin' }
    const jobs = [
      {
        executable: '/bin/sh', arguments: [...showsItself, ...awkward], directory, environment, inherit_environment: false,
        stdin_path: 'in put', stdout_path: 'out put', stderr_path: join(directory, 'err put'),
      },
      { executable: '/bin/sh', arguments: ['-c', 'env -0 >"$OUT"; exit 42'], environment: { OUT: join(folder, 'inherits') } },
      { executable: '/bin/sh', arguments: ['-c', 'kill -TERM $$'] },
      { executable: join(folder, 'is-not-there') },
    ]
    const { ids } = await sendJobs(server.address, jobs, { folder })
    const [shown, inherits, killed, missing] = ids as [string, string, string, string]
    expect(await ended(store, shown)).toContain('exit status 0')
    expect(nulParts(await readFile(environment.OUT, 'utf8'))).toEqual(awkward)
    const seen = new Map(nulParts(await readFile(`${environment.OUT}.env`, 'utf8')).map((pair) => [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)]))
    for (const [name, value] of Object.entries(environment)) {
      // A shell may drop variables that it can't name.
      if (name !== 'with.dot') expect(seen.get(name), name).toBe(value)
    }
    // What is left was made by the shell itself.
    expect([...seen.keys()].filter((name) => !(name in environment)).filter((name) => !['PWD', 'OLDPWD', '_', 'SHLVL'].includes(name))).toEqual([])
    expect((await readFile(`${environment.OUT}.pwd`, 'utf8')).trim()).toBe(directory)
    expect(await readFile(join(directory, 'out put'), 'utf8')).toBe('from stdin\n')
    expect(await readFile(join(directory, 'err put'), 'utf8')).toBe('to stderr\n')

    expect(await ended(store, inherits)).toContain('exit status 42')
    const inherited = nulParts(await readFile(join(folder, 'inherits'), 'utf8'))
    expect(inherited).toContain('INHERITED=yes')
    // What is usher's own business stays its own.
    expect(inherited.filter((pair) => pair.startsWith('USHER_'))).toEqual([])

    expect(await ended(store, killed)).toContain('signal')
    expect(await ended(store, missing)).toContain('exit status 127')
    expect(await settledAudit(store)).toMatchObject({ accepted: 4, submitted: 4, dead: 0, balanced: true })
  })

  it('that this machine can\'t run as it is is a dead letter', async () => {
    const { folder, store, serve } = await start(2)
    const server = await serve()
    const jobs = [
      { executable: '/bin/true', resources: { node_count: 2 } },
      { executable: '/bin/true', resources: { process_count: 3 } },
      { executable: '/bin/true', launcher: 'mpirun' },
    ]
    await sendJobs(server.address, jobs, { folder })
    expect(await settledAudit(store)).toMatchObject({ accepted: 3, submitted: 0, dead: 3, balanced: true })
  })

  it('is ended when its duration is used up, and the trace says so', async () => {
    const { folder, store, serve } = await start(2, { grace: 0.3 })
    const server = await serve()
    const witness = join(folder, 'witness')
    const jobs = [
      { executable: '/bin/sleep', arguments: ['60'], attributes: { duration: '1 s' } },
      // Doesn't listen to SIGTERM, and leaves a child behind; the third outlasts what that would write.
      { executable: '/bin/sh', arguments: ['-c', 'trap "" TERM; (sleep 3; echo survived >"$W") & sleep 60; sleep 60'], environment: { W: witness }, attributes: { duration: '1 s' } },
      { executable: '/bin/sleep', arguments: ['4'], attributes: { duration: '1 m' } },
    ]
    const { ids } = await sendJobs(server.address, jobs, { folder })
    const details = await Promise.all(ids.map((id) => ended(store, id)))
    for (const detail of details.slice(0, 2)) expect(detail).toContain('timed out')
    expect(details[1]).toContain('SIGKILL')
    expect(details[2]).toContain('exit status 0')
    expect(details[2]).not.toContain('timed out')
    const times = /started (\S+), ended (\S+)/.exec(details[0]!)
    const ran = Date.parse(times![2]!) - Date.parse(times![1]!)
    expect(ran).toBeGreaterThanOrEqual(990)
    expect(ran).toBeLessThan(10_000)
    await expect(readFile(witness)).rejects.toThrow('ENOENT')
  })

  it('waits for a slot: never more run than there are', async () => {
    const slots = 3
    const { folder, store, serve } = await start(slots)
    const server = await serve()
    const times = join(folder, 'times')
    const job = { executable: '/bin/bash', arguments: ['-c', 'b=$EPOCHREALTIME; sleep 0.15; echo "$b $EPOCHREALTIME" >>"$T"'], environment: { T: times, LC_ALL: 'C' } }
    const { ids } = await sendJobs(server.address, Array.from({ length: 40 }, () => job), { folder })
    await settledAudit(store)
    await until('all have ended', async () => (await readLines(times).catch(() => [])).length === ids.length)
    const spans = (await readLines(times)).map((line) => line.split(' ').map(Number) as [number, number])
    const edges = spans.flatMap(([from, to]) => [[from, 1], [to, -1]] as const).sort((a, b) => a[0] - b[0] || a[1] - b[1])
    let running = 0
    let most = 0
    for (const [, step] of edges) most = Math.max(most, (running += step))
    expect(most).toBeLessThanOrEqual(slots)
    // Slots that are never used in parallel would be no slots.
    expect(most).toBeGreaterThan(1)
  })
})

describe('jobs that run while usher ends', () => {
  it('by SIGKILL go on, are not run twice, and their exit status is in the trace', async () => {
    const { folder, store, serve } = await start(6)
    const log = join(folder, 'log')
    const job = (name: string, seconds: number, status: number) => ({
      executable: '/bin/sh',
      arguments: ['-c', `echo begun ${name} >>"$L"; sleep ${seconds}; echo done ${name} >>"$L"; exit ${status}`],
      environment: { L: log },
    })
    const jobs = [...Array.from({ length: 4 }, (_, i) => job(`long${i}`, 5, i)), ...Array.from({ length: 30 }, (_, i) => job(`short${i}`, 0.2, 0))]
    let server = await serve()
    const { ids } = await sendJobs(server.address, jobs, { folder })
    await until('the long ones run', async () => (await readLines(log).catch(() => [])).filter((line) => line.startsWith('begun long')).length === 4)
    // In the middle of the short ones, twice.
    for (let round = 0; round < 2; round += 1) {
      const before = (await readLines(log)).length
      await until('others run', async () => (await readLines(log)).length > before + 4)
      await server.end('SIGKILL')
      server = await serve()
    }
    expect(await settledAudit(store)).toMatchObject({ accepted: 34, submitted: 34, dead: 0, inDoubt: 0, balanced: true })
    const details = await Promise.all(ids.slice(0, 4).map((id) => ended(store, id)))
    for (const [i, detail] of details.entries()) expect(detail).toContain(`exit status ${i}`)
    await until('all have ended', async () => (await readLines(log)).filter((line) => line.startsWith('done')).length === 34)
    const expected = jobs.flatMap((_, i) => (i < 4 ? [`begun long${i}`, `done long${i}`] : [`begun short${i - 4}`, `done short${i - 4}`]))
    expect((await readLines(log)).sort()).toEqual(expected.sort())
    for (const id of ids.slice(-3)) expect(await ended(store, id)).toContain('exit status 0')
  })

  it('that ended while no usher ran are known to have ended', async () => {
    const { folder, store, serve } = await start(2)
    const log = join(folder, 'log')
    const server = await serve()
    const jobs = [3, 4].map((status) => ({ executable: '/bin/sh', arguments: ['-c', `sleep 1; echo done >>"$L"; exit ${status}`], environment: { L: log } }))
    const { ids } = await sendJobs(server.address, jobs, { folder })
    await settledAudit(store)
    await server.end('SIGKILL')
    await until('they are done', async () => (await readLines(log).catch(() => [])).length === 2)
    await serve()
    const details = await Promise.all(ids.map((id) => ended(store, id)))
    for (const [at, status] of [3, 4].entries()) expect(details[at]).toContain(`exit status ${status}`)
    expect(await readLines(log)).toEqual(['done', 'done'])
  })

  it('by SIGTERM go on: it drains, and what waits is run by the next', async () => {
    const { folder, store, serve } = await start(2)
    const log = join(folder, 'log')
    const job = { executable: '/bin/sh', arguments: ['-c', 'sleep 0.3; echo "$0" >>"$L"', 'done'], environment: { L: log } }
    const first = await serve()
    const { ids } = await sendJobs(first.address, Array.from({ length: 10 }, () => job), { folder })
    await until('some run', async () => (await statusOf(store)).audit.submitted > 0)
    expect(await first.end('SIGTERM'), first.log).toBe(0)
    const { leader, audit, instances } = await statusOf(store)
    expect(leader).toBeNull()
    expect(instances).toEqual([])
    expect(audit).toMatchObject({ accepted: 10, inDoubt: 0, dead: 0, balanced: true })
    expect(audit.waiting).toBeGreaterThan(0)
    await serve()
    expect(await settledAudit(store)).toMatchObject({ accepted: 10, submitted: 10, balanced: true })
    for (const id of ids) expect(await ended(store, id)).toContain('exit status 0')
    expect(await readLines(log)).toEqual(Array(10).fill('done'))
  })
})
