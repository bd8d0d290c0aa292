import { spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { Driver, Ended, JobSpec } from '../../../src/submit/driver.ts'
import { createLocalDriver } from '../../../src/submit/drivers/local.ts'
import { orderText } from '../../../src/submit/drivers/local-order.ts'
import { bootMs, LocalRuns } from '../../../src/submit/drivers/local-runs.ts'
import type { LocalOptions } from '../../../src/submit/drivers/registry.ts'
import { contextIn, job, never, newId, origin, runnerIn, temporaryFolder, until } from './jobs.ts'

const folder = temporaryFolder()
let runner = ''
beforeAll(() => {
  runner = runnerIn(folder.path)
}, 60_000)
afterAll(() => folder.remove())

const drivers: Driver[] = []
afterEach(async () => {
  for (const driver of drivers.splice(0)) await driver.close()
})

let stores = 0
const newStore = (): string => {
  const store = join(folder.path, `store-${++stores}`)
  mkdirSync(store)
  return store
}

const start = (
  store = newStore(),
  options: Omit<LocalOptions, 'driver'> = {},
  unended: readonly string[] = [],
  program = runner,
  host = origin.host,
) => {
  const ended: Ended[] = []
  let freed = 0
  const driver = createLocalDriver({ driver: 'local', slots: 8, ...options }, { ...contextIn(store), host }, { runner: program })
  drivers.push(driver)
  driver.watch?.(
    (list) => ended.push(...list),
    () => (freed += 1),
    unended,
  )
  const endOf = (id: string): Promise<Ended> => until(`${id} has ended`, () => ended.find((end) => end.id === id))
  return { driver, store, ended, endOf, freed: () => freed }
}

const runOne = async (spec: JobSpec, options: Omit<LocalOptions, 'driver'> = {}): Promise<Ended> => {
  const { driver, endOf } = start(newStore(), options)
  const one = job(spec)
  expect((await driver.submit([one], origin, never))[0]).toMatchObject({
    kind: 'submitted',
    jobId: expect.stringMatching(/^\d+@testhost$/),
  })
  return endOf(one.id)
}

const place = (store: string, id: string, suffix: string): string =>
  join(store, 'local/main', id.split('-')[0] ?? '', `${id.split('-')[1]}.${suffix}`)

describe('a job', () => {
  test('runs with its arguments, directory, environment and files', async () => {
    const directory = join(folder.path, 'work')
    mkdirSync(directory)
    writeFileSync(join(directory, 'in'), 'from stdin\n')
    process.env['USHER_SECRET_THING'] = 'leaked'
    process.env['DRIVER_TEST_INHERITED'] = 'inherited'
    const script =
      'cat; pwd; printf "%s|" "$@"; echo; echo "$MINE $DRIVER_TEST_INHERITED $USHER_SECRET_THING"; echo problem >&2; exit 3'
    const end = await runOne({
      executable: 'bash',
      arguments: ['-c', script, 'zero', '', 'two words', "quo'te\nline", 'ü'],
      directory,
      environment: { MINE: 'line\nfeed' },
      stdin_path: 'in',
      stdout_path: 'out',
      stderr_path: 'err',
    })
    expect(end).toMatchObject({ exitCode: 3, signal: null, reason: 'exited' })
    expect(Date.parse(end.endedAt)).toBeGreaterThanOrEqual(Date.parse(end.startedAt ?? ''))
    expect(readFileSync(join(directory, 'out'), 'utf8')).toBe(
      `from stdin\n${directory}\n|two words|quo'te\nline|ü|\nline\nfeed inherited \n`,
    )
    expect(readFileSync(join(directory, 'err'), 'utf8')).toBe('problem\n')
  })

  test('inherits nothing when it says so', async () => {
    const out = join(folder.path, 'environment')
    await runOne({
      executable: '/usr/bin/env',
      inherit_environment: false,
      environment: { A: '1', 'odd.name': '2' },
      stdout_path: out,
    })
    expect(readFileSync(out, 'utf8').trim().split('\n').sort()).toEqual(['A=1', 'odd.name=2'])
  })

  test('has stdout and stderr in one file where both name it', async () => {
    const out = join(folder.path, 'both')
    await runOne({ executable: '/bin/sh', arguments: ['-c', 'echo a; echo b >&2; echo c'], stdout_path: out, stderr_path: out })
    expect(readFileSync(out, 'utf8')).toBe('a\nb\nc\n')
  })

  test.each<[string, JobSpec, number, RegExp]>([
    [
      'its executable is missing',
      { executable: 'no-such-program' },
      127,
      /executable 'no-such-program' can't be run: No such file/,
    ],
    ['its executable may not be run', { executable: '/etc/passwd' }, 126, /Permission denied/],
    ['its directory is missing', { executable: 'true', directory: '/no/such' }, 127, /directory '\/no\/such' can't be entered/],
    ['its input is missing', { executable: 'true', stdin_path: '/no/such' }, 127, /stdin_path '\/no\/such' can't be opened/],
  ])('ran and failed when %s', async (_, spec, exitCode, reason) => {
    expect(await runOne(spec)).toMatchObject({ exitCode, reason: expect.stringMatching(reason) })
  })

  test('that a signal kills ends with its name', async () => {
    expect(await runOne({ executable: '/bin/sh', arguments: ['-c', 'kill -SEGV $$'] })).toMatchObject({
      exitCode: null,
      signal: 'SIGSEGV',
      reason: 'killed',
    })
  })

  test('is told to end when its duration is over, and killed after the grace, with its children', async () => {
    const file = join(folder.path, 'stubborn')
    const began = performance.now()
    const end = await runOne(
      {
        executable: '/bin/bash',
        arguments: ['-c', `trap 'echo told >> ${file}' TERM; sleep 1000 & echo $! > ${file}; while :; do wait; done`],
        attributes: { duration: '1 s' },
      },
      { grace: 1 },
    )
    expect(end).toMatchObject({ signal: 'SIGKILL', reason: 'timed out' })
    expect(performance.now() - began).toBeGreaterThan(1900)
    const [pid, told] = readFileSync(file, 'utf8').split('\n')
    expect(told).toBe('told')
    await until('its child is gone', () => !existsSync(`/proc/${pid}`) || / Z /.test(readFileSync(`/proc/${pid}/stat`, 'latin1')))
  })

  test('is wrapped by its pre_launch and post_launch scripts, which are sourced', async () => {
    const out = join(folder.path, 'wrapped')
    writeFileSync(join(folder.path, 'pre.sh'), `export FROM_PRE="it's set"`)
    writeFileSync(join(folder.path, 'post.sh'), `echo "post $usher_status" >> ${out}`)
    const end = await runOne({
      executable: '/bin/sh',
      arguments: ['-c', 'echo "$FROM_PRE $1"; exit 4', 'sh', 'a  b'],
      directory: folder.path,
      stdout_path: out,
      pre_launch: 'pre.sh',
      post_launch: join(folder.path, 'post.sh'),
    })
    expect(end).toMatchObject({ exitCode: 4, reason: 'exited' })
    expect(readFileSync(out, 'utf8')).toBe("it's set a  b\npost 4\n")
  })

  test.each<[JobSpec, RegExp]>([
    [{ executable: 'x', launcher: 'srun' }, /launcher 'srun'/],
    [{ executable: 'x', resources: { __version: 1, node_count: 2 } }, /node_count is 2/],
    [{ executable: 'x', resources: { __version: 1, process_count: 3 } }, /3 processes/],
    [{ executable: 'x', resources: { __version: 1, processes_per_node: 2 } }, /2 processes/],
    [{ executable: 'x', attributes: { duration: 'soon' } }, /no duration/],
    [{ executable: 'x\0y' }, /NUL/],
  ])('that this machine has no way to run is refused for good: %j', async (spec, reason) => {
    const { driver } = start()
    expect((await driver.submit([job(spec)], origin, never))[0]).toEqual({
      kind: 'refused',
      reason: expect.stringMatching(reason),
    })
  })
})

describe('slots', () => {
  test('bound what runs, and are told of when they become free', async () => {
    const { driver, endOf, freed } = start(newStore(), { slots: 2 })
    const gate = join(folder.path, 'gate')
    const waiting = [1, 2].map(() =>
      job({ executable: '/bin/sh', arguments: ['-c', `while [ ! -e ${gate} ]; do sleep 0.02; done`] }),
    )
    expect((await driver.submit(waiting, origin, never)).map((outcome) => outcome.kind)).toEqual(['submitted', 'submitted'])
    expect(driver.capacity?.()).toBe(0)
    expect((await driver.submit([job({ executable: 'true' })], origin, never))[0]?.kind).toBe('later')
    const before = freed()
    writeFileSync(gate, '')
    for (const one of waiting) await endOf(one.id)
    await until('the slots are free', () => driver.capacity?.() === 2)
    expect(freed()).toBeGreaterThan(before)
  })
})

describe('exactly once', () => {
  test('a second submission of the same job is told that it has run, and runs nothing', async () => {
    const { driver, endOf } = start()
    const out = join(folder.path, 'twice')
    const one = job({ executable: '/bin/sh', arguments: ['-c', `echo ran >> ${out}`] })
    const [first] = await driver.submit([one], origin, never)
    await endOf(one.id)
    const [second] = await driver.submit([one], origin, never)
    expect(second).toMatchObject({ ...first, detail: expect.any(String) })
    expect(readFileSync(out, 'utf8')).toBe('ran\n')
  })

  test('of many runners for one job a single one claims it', async () => {
    const records = join(newStore(), 'records')
    mkdirSync(records)
    const out = join(records, 'ran')
    const order = orderText(
      { executable: '/bin/sh', arguments: ['-c', `echo x >> ${out}`] },
      {
        records,
        name: '5',
        stamps: ['id x'],
        deadlineMs: bootMs() + 20_000,
        graceMs: 1000,
        directory: '/',
        environment: {},
      },
    ) as Buffer
    const words = await Promise.all(
      Array.from(
        { length: 12 },
        () =>
          new Promise<string>((resolve) => {
            const child = spawn(runner, [], { stdio: ['pipe', 'pipe', 'ignore'] })
            let said = ''
            child.stdout.on('data', (chunk: Buffer) => (said += chunk.toString()))
            child.on('close', () => resolve(said.split(/\s/)[0] ?? ''))
            child.stdin.end(order)
          }),
      ),
    )
    expect(words.sort()).toEqual(['claimed', ...Array.from({ length: 11 }, () => 'exists')])
    await until('it has ended', () => existsSync(join(records, '5.end')))
    expect(readFileSync(out, 'utf8')).toBe('x\n')
    expect(readdirSync(records).sort()).toEqual(['5.end', '5.run', 'ran'])
  })

  test('a runner claims nothing after its deadline, and nothing from an order cut anywhere', () => {
    const records = join(newStore(), 'records')
    mkdirSync(records)
    const frame = { records, name: '6', stamps: [], graceMs: 1000, directory: '/', environment: {} }
    const late = orderText({ executable: 'true' }, { ...frame, deadlineMs: bootMs() - 1 }) as Buffer
    const end = spawnSync(runner, { input: late })
    // Either it saw that it is late, or the kernel's timer was there first.
    expect(end.signal === 'SIGKILL' || end.stdout.toString() === 'late\n').toBe(true)
    const whole = orderText({ executable: 'true' }, { ...frame, deadlineMs: bootMs() + 60_000 }) as Buffer
    for (let length = 0; length < whole.length; length += 7) {
      expect(spawnSync(runner, { input: whole.subarray(0, length) }).stdout.toString()).toMatch(/^failed the order/)
    }
    expect(readdirSync(records).filter((name) => !name.startsWith('.'))).toEqual([])
  })

  test('a runner whose driver dies before its order is whole runs nothing', async () => {
    const { driver, store } = start(newStore(), {}, [], '/bin/false')
    const one = job({ executable: 'true' })
    expect((await driver.submit([one], origin, never))[0]).toMatchObject({ kind: 'doubt' })
    expect(await driver.find?.([one.id], never)).toEqual([{ kind: 'absent' }])
    expect(existsSync(place(store, one.id, 'run'))).toBe(false)
  })

  test('a missing runner is later and fails the preflight', async () => {
    const { driver } = start(newStore(), {}, [], '/no/such/runner')
    expect((await driver.submit([job({ executable: 'true' })], origin, never))[0]?.kind).toBe('later')
    expect((await driver.preflight(never)).ok).toBe(false)
    expect((await start().driver.preflight(never)).ok).toBe(true)
  })

  test('a store that cannot be written is later', async () => {
    const store = newStore()
    writeFileSync(join(store, 'local'), 'in the way')
    const { driver } = start(store)
    expect((await driver.submit([job({ executable: 'true' })], origin, never))[0]?.kind).toBe('later')
  })
})

describe('after a restart of usher', () => {
  test('a run that goes on holds its slot, is found, and its end is told', async () => {
    const gate = join(folder.path, 'gate-restart')
    const first = start()
    const one = job({ executable: '/bin/sh', arguments: ['-c', `while [ ! -e ${gate} ]; do sleep 0.02; done; exit 9`] })
    const [outcome] = await first.driver.submit([one], origin, never)
    await first.driver.close()
    // Its receipt may or may not have been written: nobody tells this driver of it.
    const second = start(first.store)
    await until('the slot is counted', () => second.driver.capacity?.() === 7)
    expect(await second.driver.find?.([one.id, newId()], never)).toEqual([
      { kind: 'found', jobId: outcome?.kind === 'submitted' ? outcome.jobId : '' },
      { kind: 'absent' },
    ])
    writeFileSync(gate, '')
    expect(await second.endOf(one.id)).toMatchObject({ exitCode: 9 })
    await until('the slot is free', () => second.driver.capacity?.() === 8)
    expect(second.ended).toHaveLength(1)
  })

  test('a run that ended meanwhile is told, and one whose runner was killed is lost', async () => {
    const first = start()
    const done = job({ executable: '/bin/sh', arguments: ['-c', 'exit 5'] })
    const killed = job({ executable: 'sleep', arguments: ['1000'] })
    await first.driver.submit([done], origin, never)
    await first.endOf(done.id)
    const [outcome] = await first.driver.submit([killed], origin, never)
    await first.driver.close()
    const pid = Number((outcome?.kind === 'submitted' ? outcome.jobId : '')?.split('@')[0])
    const jobPid = Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8'))
    process.kill(pid, 'SIGKILL')
    process.kill(jobPid, 'SIGKILL')
    const unknown = newId()
    const second = start(first.store, {}, [done.id, killed.id, unknown])
    expect(await second.endOf(done.id)).toMatchObject({ exitCode: 5 })
    expect(await second.endOf(killed.id)).toMatchObject({ exitCode: null, reason: 'lost' })
    expect(await second.endOf(unknown)).toMatchObject({ jobId: null, reason: 'lost' })
    expect(second.driver.capacity?.()).toBe(8)
  })

  test('a run of another host is found and takes no slot here, and nobody calls it lost', async () => {
    const first = start()
    const one = job({ executable: 'true' })
    await first.driver.submit([one], origin, never)
    await first.endOf(one.id)
    // As if its end were still to come.
    const end = place(first.store, one.id, 'end')
    const text = readFileSync(end)
    const run = place(first.store, one.id, 'run')
    spawnSync('rm', [end])
    const second = start(first.store, {}, [one.id], runner, 'elsewhere')
    expect(await second.driver.find?.([one.id], never)).toMatchObject([{ kind: 'found' }])
    expect(second.driver.capacity?.()).toBe(8)
    expect(second.ended).toEqual([])
    writeFileSync(end, text)
    expect(existsSync(run)).toBe(true)
    expect(await second.endOf(one.id)).toMatchObject({ exitCode: 0 })
  })

  test('a pid that belongs to another process now is not taken for the runner', async () => {
    const store = newStore()
    const id = newId()
    mkdirSync(dirname(place(store, id, 'run')), { recursive: true })
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
    writeFileSync(place(store, id, 'run'), `pid ${process.pid}\nstart_ticks 1\nboot_id ${boot}\nhost testhost\n`)
    const { endOf } = start(store, {}, [id])
    expect(await endOf(id)).toMatchObject({ reason: 'lost' })
  })
})

test('the records of runs that ended long ago are removed, others kept', async () => {
  const { driver, endOf, store } = start()
  const [old, young, open] = [1, 2, 3].map(() => job({ executable: 'true' }))
  for (const one of [old, young, open]) {
    if (one === undefined) continue
    await driver.submit([one], origin, never)
    await endOf(one.id)
  }
  const past = Date.now() / 1000 - 7200
  for (const one of [old, open]) if (one !== undefined) utimesSync(place(store, one.id, 'end'), past, past)
  const runs = new LocalRuns(join(store, 'local/main'), origin.host)
  expect(await runs.sweep(3_600_000, new Set([open?.id ?? '']))).toBe(1)
  const left = readdirSync(dirname(place(store, young?.id ?? '', 'run'))).sort()
  expect(left).toEqual(
    [young, open].flatMap((one) => ['end', 'run'].map((suffix) => basename(place(store, one?.id ?? '', suffix)))).sort(),
  )
})

test('a store behind a symbolic link is the same store', async () => {
  const store = newStore()
  const link = `${store}-link`
  symlinkSync(store, link)
  const first = start(store)
  const one = job({ executable: 'true' })
  await first.driver.submit([one], origin, never)
  expect((await start(link).driver.submit([one], origin, never))[0]).toMatchObject({
    kind: 'submitted',
    detail: expect.any(String),
  })
})
