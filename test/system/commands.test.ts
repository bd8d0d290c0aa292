// The names that others script against: options, the shapes of what is printed, exit statuses. A failure here breaks somebody's
// script, so what is expected is written out in full and changed only with the release notes.
import { spawn } from 'node:child_process'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { sendJobs } from '../support/sending.ts'
import { makeFolder, root, ServerProcess, settledAudit, statusOf, until, usher } from '../support/usher-process.ts'

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup()
})

const newFolder = async (): Promise<string> => {
  const { path, remove } = await makeFolder()
  cleanups.push(remove)
  return path
}

const quick = 'lease = 0.5\n[log]\nlevel = "warn"\n'
const discarding = `${quick}[cluster.nowhere]\ndriver = "discard"\n`

const start = async (config = discarding, listen = '127.0.0.1:0') => {
  const folder = await newFolder()
  const store = join(folder, 'store')
  const server = await ServerProcess.start({ config, store, folder, listen })
  cleanups.push(() => server.end('SIGKILL'))
  return { folder, store, server }
}

const jobId = /^[0-9a-f]{16}-[0-9]+$/
const isoTime = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/
const digest = /^[0-9a-f]{8}$/

describe('usher send', () => {
  it('--json ends with the five counts, and --ids has the accepted ids one a line', async () => {
    const { folder, server } = await start()
    const input = '{"executable":"/bin/true"}\n\n{"executable":""}\nnot json\n{"spec":{"executable":"/bin/true","arguments":["x"]}}\n'
    const ids = join(folder, 'ids')
    const { status, stdout, stderr } = await usher(['send', '-', '--to', server.address, '--json', '--ids', ids], { input })
    expect(status).toBe(65)
    const lines = stdout.trimEnd().split('\n').map((line) => JSON.parse(line) as Record<string, unknown>)
    const summary = lines.pop()!
    expect(Object.keys(summary)).toEqual(['sent', 'accepted', 'refused', 'inDoubt', 'seconds'])
    expect(summary).toMatchObject({ sent: 4, accepted: 2, refused: 2, inDoubt: 0 })
    expect(summary['seconds']).toBeTypeOf('number')
    const byLine = (a: Record<string, unknown>, b: Record<string, unknown>): number => Number(a['line']) - Number(b['line'])
    expect(lines.sort(byLine)).toEqual([
      { line: 3, id: expect.stringMatching(jobId) as string, outcome: 'refused', code: 'field_invalid', field: 'executable', reason: expect.any(String) as string },
      { line: 4, id: expect.stringMatching(jobId) as string, outcome: 'refused', code: 'job_malformed', field: '', reason: expect.any(String) as string },
    ])
    const accepted = (await readFile(ids, 'utf8')).trimEnd().split('\n')
    expect(accepted).toHaveLength(2)
    for (const id of accepted) expect(id).toMatch(jobId)
    // Messages for people are on stderr, and nothing else is.
    expect(stderr).toContain('line 3')
    expect(stderr).toContain('line 4')
  })

  it('with one --client-id twice sends the same jobs, which are submitted once', async () => {
    const { folder, store, server } = await start()
    const jobs = Array.from({ length: 25 }, (_, i) => ({ executable: '/bin/echo', arguments: [`${i}`] }))
    const first = await sendJobs(server.address, jobs, { folder, args: ['--client-id', 'nightly'] })
    expect(first).toMatchObject({ status: 0, summary: { accepted: 25 } })
    const second = await sendJobs(server.address, jobs, { folder, args: ['--client-id', 'nightly'] })
    expect(second).toMatchObject({ status: 0, summary: { accepted: 25, refused: 0 } })
    expect(new Set(second.ids)).toEqual(new Set(first.ids))
    expect(await settledAudit(store)).toMatchObject({ accepted: 50, submitted: 25, duplicates: 25, dead: 0, balanced: true })
    const other = await sendJobs(server.address, jobs, { folder })
    expect(other.ids.filter((id) => first.ids.includes(id))).toEqual([])
    expect(await settledAudit(store)).toMatchObject({ accepted: 75, submitted: 50, duplicates: 25, balanced: true })
  })

  it('goes to port 7433 unless told another, and to the next address where one isn\'t there', async () => {
    // A loopback address of this test alone, so that nobody else's usher is in the way.
    const host = `127.${1 + Math.floor(Math.random() * 250)}.${Math.floor(Math.random() * 250)}.7`
    const { folder, server } = await start(discarding, `${host}:7433`)
    expect(server.address).toBe(`${host}:7433`)
    expect(await sendJobs(host, [{ executable: '/bin/true' }], { folder })).toMatchObject({ status: 0, summary: { accepted: 1 } })
    expect(await sendJobs(`${host}:1,${host}`, [{ executable: '/bin/true' }], { folder })).toMatchObject({ status: 0, summary: { accepted: 1 } })
    const shown = JSON.parse((await usher(['config', 'show', '--json'], { cwd: folder })).stdout) as { keys: Record<string, { value: unknown }> }
    expect(shown.keys['listen']?.value).toBe('127.0.0.1:7433')
    expect((await usher(['send', '--help'])).stdout).toContain('127.0.0.1:7433')
  })

  it('exits with 69 when nobody is there, and with 64 or 65 when it was asked for nonsense', async () => {
    const folder = await newFolder()
    const gone = await usher(['send', '-', '--to', '127.0.0.1:1', '--timeout', '0.5', '--json'], { input: '{"executable":"/bin/true"}\n' })
    expect(gone.status).toBe(69)
    expect(JSON.parse(gone.stdout)).toEqual({ sent: 0, accepted: 0, refused: 0, inDoubt: 0, seconds: expect.any(Number) })
    expect(JSON.parse(gone.stderr)).toMatchObject({ error: { code: 'disconnected' } })
    const cases: [string[], number, RegExp][] = [
      [['send'], 64, /file/],
      [['send', '-', '--frobnicate'], 64, /frobnicate/],
      [['send', '-', '--format', 'xml'], 64, /ndjson/],
      [['send', '-', '--timeout', 'soon'], 64, /timeout/],
      [['send', '-', '--to', 'host:port:7'], 64, /address/],
      [['send', join(folder, 'is-not-there.ndjson')], 65, /is-not-there/],
      [['send', folder], 65, /directory/],
    ]
    for (const [args, status, message] of cases) {
      const result = await usher(args)
      expect([args, result.status]).toEqual([args, status])
      expect(result.stdout).toBe('')
      expect(result.stderr).toMatch(message)
    }
  })

  it('exits with 75 when a job is in doubt, and sending again with the same --client-id settles it', async () => {
    const { folder, store, server } = await start()
    const jobs = ['first', 'second'].map((name) => `${JSON.stringify({ executable: '/bin/echo', arguments: [name] })}\n`)
    const args = [join(root, 'dist/cli/usher.cjs'), 'send', '-', '--to', server.address, '--json', '--client-id', 'c', '--timeout', '1.5']
    const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'pipe'] })
    cleanups.push(() => child.kill('SIGKILL'))
    let out = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text))
    const ended = new Promise<number | null>((resolve) => child.once('close', resolve))
    child.stdin.write(jobs[0])
    // Its ack has left the server long before it is submitted; that it is in the store says nothing of the ack.
    await until('the first is submitted', async () => (await statusOf(store)).audit.submitted === 1)
    server.child.kill('SIGSTOP')
    child.stdin.end(jobs[1])
    expect(await ended).toBe(75)
    expect(JSON.parse(out.trimEnd().split('\n').at(-1)!)).toMatchObject({ sent: 2, accepted: 1, refused: 0, inDoubt: 1 })
    server.child.kill('SIGCONT')
    const again = await sendJobs(server.address, jobs.join(''), { folder, args: ['--client-id', 'c'] })
    expect(again).toMatchObject({ status: 0, summary: { sent: 2, accepted: 2 } })
    const audit = await settledAudit(store)
    expect(audit).toMatchObject({ submitted: 2, dead: 0, balanced: true })
    expect(audit.duplicates).toBe(audit.accepted - 2)
  })

  it('stops at Ctrl-C with 130, and has said what was accepted', async () => {
    const { store, server } = await start()
    const child = spawn(process.execPath, [join(root, 'dist/cli/usher.cjs'), 'send', '-', '--to', server.address, '--json'], { stdio: ['pipe', 'pipe', 'pipe'] })
    cleanups.push(() => child.kill('SIGKILL'))
    let out = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text))
    const ended = new Promise<number | null>((resolve) => child.once('close', resolve))
    child.stdin.on('error', () => undefined)
    child.stdin.write('{"executable":"/bin/true"}\n')
    await until('it is submitted, so that its ack has long left the server', async () => (await statusOf(store)).audit.submitted === 1)
    child.kill('SIGINT')
    expect(await ended).toBe(130)
    expect(JSON.parse(out.trimEnd())).toMatchObject({ sent: 1, accepted: 1 })
  })
})

describe('usher status and trace', () => {
  it('print the shapes that are promised, on stdout alone', async () => {
    const { folder, store, server } = await start()
    const job = { name: 'n', executable: '/bin/echo', arguments: ['hello'], environment: { A: '1' }, resources: { node_count: 2 }, attributes: { duration: '2 h', queue_name: 'q' } }
    const { ids } = await sendJobs(server.address, [job], { folder })
    await settledAudit(store)

    const status = await usher(['status', '--store', store, '--json'])
    expect(status).toMatchObject({ status: 0, stderr: '' })
    const { store: uuid, leader, instances, audit } = JSON.parse(status.stdout) as Record<string, Record<string, unknown>>
    expect(uuid).toMatch(/^[0-9a-f-]{36}$/)
    expect(leader).toEqual({ instance: server.instance, host: expect.any(String) as string, term: expect.any(Number) as number, leaseMs: expect.any(Number) as number, until: expect.stringMatching(isoTime) as string })
    expect(instances).toHaveLength(1)
    expect((instances as unknown as Record<string, unknown>[])[0]).toMatchObject({
      instance: server.instance,
      host: leader!['host'],
      pid: server.child.pid,
      version: expect.stringMatching(/^\d+\.\d+\.\d+/) as string,
      configDigest: expect.stringMatching(digest) as string,
      role: 'leader',
      eligible: true,
      reason: expect.any(String) as string,
      heartbeatAgeMs: expect.any(Number) as number,
    })
    expect(audit).toMatchObject({ accepted: 1, submitted: 1, waiting: 0, inDoubt: 0, dead: 0, duplicates: 0, setAside: 0, balanced: true })
    const people = await usher(['status', '--store', store])
    expect(people.status).toBe(0)
    expect(people.stdout).toContain(server.instance)
    expect(people.stdout).toContain('the audit balances')

    const traced = await usher(['trace', ids[0]!, '--store', store, '--json'])
    expect(traced).toMatchObject({ status: 0, stderr: '' })
    const trace = JSON.parse(traced.stdout) as { id: string; state: string; cluster: unknown; steps: Record<string, unknown>[]; spec: unknown }
    expect(Object.keys(trace)).toEqual(['id', 'state', 'cluster', 'steps', 'spec'])
    expect(trace).toMatchObject({ id: ids[0]!, state: 'submitted', cluster: { name: 'nowhere' } })
    expect(trace.spec).toEqual({ ...job, resources: { __version: 1, node_count: 2 }, attributes: { duration: '7200 s', queue_name: 'q' } })
    expect(trace.steps.map(({ step }) => step)).toEqual(['accepted', 'written', 'transformed', 'admitted', 'intent', 'submitted'])
    for (const step of trace.steps) {
      expect(step).toMatchObject({
        at: expect.stringMatching(isoTime) as string, host: leader!['host'], instance: server.instance, pid: expect.any(Number) as number,
        version: expect.any(String) as string, configDigest: expect.stringMatching(digest) as string, segment: `${server.instance}/1`,
      })
    }
    for (const { step, term } of trace.steps) expect([step, term]).toEqual([step, ['admitted', 'intent', 'submitted'].includes(String(step)) ? leader!['term'] : undefined])
    // The main process accepts, the submitter submits.
    expect(trace.steps[0]!['pid']).toBe(server.child.pid)
    expect(trace.steps.at(-1)!['pid']).toBe(await server.submitterPid())
  })

  it('say where nothing is: no such job, no such store, no id', async () => {
    const { folder, store } = await start()
    const cases: [string[], number, string][] = [
      [['trace', '9f8c2e71a4b0d3e5-17', '--store', store], 65, 'not_found'],
      [['trace', 'seventeen', '--store', store], 64, 'usage'],
      [['trace', '--store', store], 64, 'usage'],
      [['status', '--store', join(folder, 'nowhere')], 78, 'store_wrong'],
      [['trace', '9f8c2e71a4b0d3e5-17', '--store', folder], 78, 'store_wrong'],
      [['dead', 'retry', '--store', store], 64, 'usage'],
      [['resolve', '9f8c2e71a4b0d3e5-17', '--as', 'maybe', '--store', store], 64, 'usage'],
      [['resolve', '9f8c2e71a4b0d3e5-17', '--store', store], 64, 'usage'],
      [['dead', 'retry', '9f8c2e71a4b0d3e5-17', '--store', store], 65, 'not_found'],
      [['dead', 'discard', '9f8c2e71a4b0d3e5-17', '--store', store], 65, 'not_found'],
      [['resolve', '9f8c2e71a4b0d3e5-17', '--as', 'absent', '--store', store], 65, 'not_found'],
    ]
    for (const [args, status, code] of cases) {
      const result = await usher([...args, '--json'])
      expect([args, result.status, result.stdout]).toEqual([args, status, ''])
      expect(JSON.parse(result.stderr)).toMatchObject({ error: { code, message: expect.any(String) as string } })
    }
    expect((await usher(['frobnicate'])).status).toBe(64)
    expect((await usher([])).status).toBe(64)
    expect(await usher(['--version'])).toMatchObject({ status: 0, stdout: expect.stringMatching(/^\d+\.\d+\.\d+/) as string, stderr: '' })
  })

  it('of decisions that no leader can carry out exits with 75', async () => {
    const { store, server } = await start()
    await server.end('SIGTERM')
    const { status, stderr } = await usher(['dead', 'retry', '--all', '--wait', '0.2', '--store', store])
    expect(status).toBe(75)
    expect(stderr).toContain('no leader')
  })
})

describe('the configuration', () => {
  it('is shown with the origin of each value', async () => {
    const folder = await newFolder()
    const file = join(folder, 'usher.toml')
    await writeFile(file, 'lease = 2\n\n[limits]\nconnections = 5\n[cluster.main]\ndriver = "discard"\n')
    const args = ['config', 'show', '--config', file, '--store', '/shared/s']
    const { status, stdout, stderr } = await usher([...args, '--json'], { env: { USHER_ACCEPT_LEASE: '3', USHER_LISTEN: '[::1]:7000' } })
    expect([status, stderr]).toEqual([0, ''])
    const { keys, files, digest: shown } = JSON.parse(stdout) as { keys: Record<string, { value: unknown; origin: string }>; files: string[]; digest: string }
    expect(shown).toMatch(digest)
    expect(files).toEqual([file])
    expect(keys).toMatchObject({
      store: { value: '/shared/s', origin: '--store' },
      lease: { value: '2 s', origin: `${file}:1` },
      'limits.connections': { value: 5, origin: `${file}:4` },
      accept_lease: { value: '3 s', origin: 'USHER_ACCEPT_LEASE' },
      listen: { value: '[::1]:7000', origin: 'USHER_LISTEN' },
      retention: { value: '7 days', origin: 'default' },
      'cluster.main.driver': { value: 'discard', origin: `${file}:6` },
    })
    // What is printed for people is a configuration with the same meaning.
    const toml = (await usher(args)).stdout
    await writeFile(join(folder, 'again.toml'), toml)
    const again = JSON.parse((await usher(['config', 'show', '--config', join(folder, 'again.toml'), '--json'])).stdout) as { keys: Record<string, { value: unknown }> }
    expect(again.keys['lease']?.value).toBe('2 s')
    expect(again.keys['limits.connections']?.value).toBe(5)
  })

  it('that is wrong ends every command with 78, naming file and key, all mistakes at once', async () => {
    const folder = await newFolder()
    const file = join(folder, 'wrong.toml')
    await writeFile(file, 'leese = 2\nlease = "soon"\n[cluster.x]\ndriver = "slrum"\n[cluster.y]\ndriver = "http"\n')
    for (const command of [['serve'], ['status'], ['doctor'], ['config', 'show']]) {
      const { status, stdout, stderr } = await usher([...command, '--config', file], { cwd: folder })
      expect([command, status, stdout]).toEqual([command, 78, ''])
      expect(stderr).toMatch(/wrong\.toml:1: leese .*lease/)
      expect(stderr).toMatch(/wrong\.toml:2: lease .*"soon"/)
      expect(stderr).toMatch(/wrong\.toml:4: cluster\.x\.driver .*"slurm"/)
      expect(stderr).toMatch(/wrong\.toml:6: cluster\.y\.url is required/)
    }
    await writeFile(file, 'lease = \n')
    expect(await usher(['serve', '--config', file])).toMatchObject({ status: 78, stderr: expect.stringContaining('wrong.toml') as string })
    expect(await usher(['serve', '--config', join(folder, 'none.toml')])).toMatchObject({ status: 78, stderr: expect.stringContaining('none.toml') as string })
    expect(await usher(['config', 'show'], { env: { USHER_LEASE: 'soon' } })).toMatchObject({ status: 78, stderr: expect.stringContaining('USHER_LEASE') as string })
  })

  it('opens no listener to the world unless it says that this is meant', async () => {
    const folder = await newFolder()
    const store = join(folder, 'store')
    const refused = await usher(['serve', '--store', store, '--listen', '0.0.0.0:0'])
    expect(refused).toMatchObject({ status: 78, stdout: '' })
    expect(refused.stderr).toContain('insecure')
    const server = await ServerProcess.start({ config: `insecure = true\n${discarding}`, store, folder, listen: '0.0.0.0:0' })
    cleanups.push(() => server.end('SIGKILL'))
    const port = server.address.slice(server.address.lastIndexOf(':') + 1)
    expect(await sendJobs(`127.0.0.1:${port}`, [{ executable: '/bin/true' }], { folder })).toMatchObject({ status: 0 })
  })
})

describe('usher serve', () => {
  it('on an address that is taken says so, and leaves the one that has it alone', async () => {
    const { folder, store, server } = await start()
    const second = await usher(['serve', '--store', store, '--listen', server.address], { env: { USHER_LOG_LEVEL: 'error' } })
    expect(second.status).toBe(69)
    expect(second.stdout).toBe('')
    expect(second.stderr).toContain(server.address)
    expect(await sendJobs(server.address, [{ executable: '/bin/true' }], { folder })).toMatchObject({ status: 0 })
    const audit = await settledAudit(store)
    expect(audit).toMatchObject({ accepted: 1, submitted: 1, balanced: true })
    expect((await statusOf(store)).leader?.instance).toBe(server.instance)
  })

  it('ends with 0 on SIGTERM, and what it leaves says that it ended', async () => {
    const { store, server } = await start()
    await until('it leads', async () => (await statusOf(store)).leader !== null)
    expect(await server.end('SIGTERM'), server.log).toBe(0)
    const { status, stdout } = await usher(['status', '--all', '--json', '--store', store])
    expect(status).toBe(0)
    expect(JSON.parse(stdout)).toMatchObject({ leader: null, instances: [{ instance: server.instance, role: 'ended' }] })
  })
})

describe('usher doctor', () => {
  interface Checks {
    ok: boolean
    checks: { subject: string; name: string; ok: boolean; detail: string; remedy?: string }[]
  }

  it('finds nothing on a good store, and leaves nothing behind', async () => {
    const { store, server, folder } = await start()
    await server.end('SIGTERM')
    const before = (await usher(['status', '--json', '--all', '--store', store])).stdout
    const file = join(folder, 'doctor.toml')
    await writeFile(file, discarding)
    const { status, stdout } = await usher(['doctor', '--json', '--store', store, '--config', file])
    const found = JSON.parse(stdout) as Checks
    expect(found.checks.filter(({ ok }) => !ok)).toEqual([])
    expect([status, found.ok]).toEqual([0, true])
    expect(new Set(found.checks.map(({ subject }) => subject))).toEqual(new Set(['usher', 'store', 'cluster nowhere']))
    const without = (text: string): unknown => ({ ...(JSON.parse(text) as object), instances: 0 })
    expect(without((await usher(['status', '--json', '--all', '--store', store])).stdout)).toEqual(without(before))
  })

  it('exits with 78 where the store is none, and with 69 where only a cluster is away', async () => {
    const folder = await newFolder()
    await mkdir(join(folder, 'empty'))
    const bad = await usher(['doctor', '--json', '--store', join(folder, 'empty')])
    expect(bad.status).toBe(78)
    const found = JSON.parse(bad.stdout) as Checks
    expect(found.ok).toBe(false)
    for (const { remedy } of found.checks.filter(({ ok }) => !ok)) expect(remedy).toBeTypeOf('string')

    const early = JSON.parse((await usher(['doctor', '--json', '--store', join(folder, 'not-yet')])).stdout) as Checks
    const ofStore = early.checks.filter(({ subject }) => subject === 'store')
    expect(ofStore.map(({ name, ok }) => [name, ok])).toEqual([['directory', false]])
    expect(ofStore[0]?.detail).toContain('there is no store')
    expect(ofStore[0]?.remedy).toContain('usher serve')

    const { store } = await start()
    const taken = createServer()
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve))
    const { port } = taken.address() as AddressInfo
    await new Promise((resolve) => taken.close(resolve))
    const file = join(folder, 'away.toml')
    await writeFile(file, `[cluster.away]\ndriver = "http"\nurl = "http://127.0.0.1:${port}/jobs"\n`)
    const away = await usher(['doctor', '--store', store, '--config', file])
    expect(away.status).toBe(69)
    expect(away.stdout).toContain('ECONNREFUSED')
    expect(away.stdout).toMatch(/remedy +cluster away, http preflight: .*ECONNREFUSED/)
  })
})
