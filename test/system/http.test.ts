// HTTP as operators meet it: real servers, curl, and the examples of docs/http.md, over both servers under the routes.
import { execFile, spawnSync } from 'node:child_process'
import { promisify } from 'node:util'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { afterEach, describe, expect, it } from 'vitest'
import { loadUws } from '../../src/http/uws-server.ts'
import { ask } from '../support/http-client.ts'
import { schemaOf } from '../support/openapi.ts'
import type { Description } from '../support/openapi.ts'
import { sendJobs } from '../support/sending.ts'
import { makeFolder, ServerProcess, settledAudit, traceOf, until, usher } from '../support/usher-process.ts'
import { blocksOf } from '../unit/docs/pages.ts'

const run = promisify(execFile)

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup()
})

interface Curled {
  readonly status: number
  readonly type: string
  readonly body: string
}

const curl = async (url: string, ...more: string[]): Promise<Curled> => {
  const { stdout } = await run('curl', ['-s', '--max-time', '20', '-w', '\n%{http_code} %{content_type}', ...more, url], { maxBuffer: 1 << 26 })
  const end = stdout.lastIndexOf('\n')
  const [status = '', ...type] = stdout.slice(end + 1).split(' ')
  return { status: Number(status), type: type.join(' '), body: stdout.slice(0, end) }
}

const stage = async (server: string) => {
  const folder = await makeFolder()
  cleanups.push(folder.remove)
  const store = `${folder.path}/store`
  const serve = async (host: string) => {
    const config = `host = "${host}"\nlease = 0.5\naccept_lease = 1\n[http]\nlisten = "127.0.0.1:0"\nserver = "${server}"\n[log]\nlevel = "info"\nformat = "json"\n[cluster.main]\ndriver = "discard"\n`
    const process = await ServerProcess.start({ config, store, folder: folder.path })
    cleanups.push(() => process.end('SIGKILL'))
    return { process, at: `http://${process.http}` }
  }
  return { folder: folder.path, store, serve }
}

const servers = [
  { server: 'node', named: 'node:http', skip: false },
  { server: 'uwebsockets', named: 'uWebSockets.js', skip: loadUws(4096) instanceof Error },
]

describe.each(servers)('usher serve with HTTP by $named', ({ server, named, skip }) => {
  it.skipIf(skip)('answers what it says, as the examples of the documentation ask for it', async () => {
    const { folder, store, serve } = await stage(server)
    const { process, at } = await serve('one')
    expect(process.log).toContain(`"server":"${named}"`)
    const { ids } = await sendJobs(process.address, [{ executable: '/bin/true', environment: { A: 'ü<&' } }], { folder })
    const [id = ''] = ids
    await settledAudit(store)

    const { body } = await curl(`${at}/openapi.json`)
    const description = JSON.parse(body) as Description
    const ajv = new Ajv2020({ strict: true, validateFormats: false })
    const examples = blocksOf('docs/http.md').flatMap(({ language, text }) => (language === 'sh' ? text.split('\n').filter((line) => line.startsWith('curl ')) : []))
    const asked = new Set<string>()
    for (const example of examples) {
      const url = /(http:\/\/127\.0\.0\.1:7401[^' ]*)/.exec(example)?.[1]?.replace('http://127.0.0.1:7401', at).replace('9f8c2e71a4b0d3e5-17', id) ?? ''
      const answer = await curl(url)
      expect(answer.status, `${example}: ${answer.body}`).toBe(200)
      const path = new URL(url).pathname.replace(id, '{id}')
      asked.add(path)
      const content = schemaOf(description, path, 200)
      expect(answer.type.startsWith(Object.keys(content)[0] ?? '?'), `${path} is ${answer.type}`).toBe(true)
      if (!answer.type.startsWith('application/json') || path === '/openapi.json') continue
      expect(ajv.validate(Object.values(content)[0]!.schema, JSON.parse(answer.body)), `${path}: ${ajv.errorsText()} in ${answer.body}`).toBe(true)
    }
    expect([...asked].sort()).toEqual([...Object.keys(description.paths).filter((path) => path !== '/leaderz')].sort())

    const shown = JSON.parse((await curl(`${at}/v1/jobs/${id}`)).body) as { steps: unknown; state: string; why: string; spec: unknown }
    expect(shown).toMatchObject({ state: 'submitted', why: expect.stringMatching(/^submitted to cluster main/) as string, spec: { executable: '/bin/true', environment: { A: 'ü<&' } } })
    expect(shown.steps).toEqual((await traceOf(store, id)).steps)
    const fleet = async () => JSON.parse((await curl(`${at}/v1/fleet`)).body) as { leader: { host: string }; jobs: { audit: unknown } }
    await until('the sums have been taken since', async () => JSON.stringify((await fleet()).jobs.audit).includes('"submitted":1'))
    expect(await fleet()).toMatchObject({ leader: { host: 'one' }, jobs: { audit: { accepted: 1, submitted: 1, balanced: true } } })
    const metrics = async () => (await curl(`${at}/metrics`)).body
    await until('the leader has told its sums', async () => (await metrics()).includes('usher_jobs{state="submitted"} 1\n'))
    expect(await metrics()).toMatch(/^usher_jobs_submitted_total\{cluster="main",outcome="submitted"\} 1$/m)
    expect(await metrics()).toMatch(/^usher_jobs_accepted_total 1$/m)
    expect(await metrics()).not.toContain(id)
    if (spawnSync('promtool', ['--version']).status === 0) expect(spawnSync('promtool', ['check', 'metrics'], { input: await metrics() }).status).toBe(0)

    const error = async (path: string, ...more: string[]) => {
      const { status, body: text } = await curl(at + path, ...more)
      return [status, (JSON.parse(text) as { error: { code: string } }).error.code]
    }
    expect(await error('/')).toEqual([404, 'not_found'])
    expect(await error('/v1/jobs/0000000000000000-1')).toEqual([404, 'not_found'])
    expect(await error('/v1/jobs/..%2f..%2fetc')).toEqual([400, 'input_invalid'])
    expect(await error('/v1/fleet', '-X', 'DELETE')).toEqual([405, 'method_not_allowed'])
    expect(await error('/livez', '-H', 'Host: evil.example')).toEqual([421, 'host_unknown'])
    expect(await error('/livez', '--data-binary', 'x'.repeat(70_000))).toEqual([413, 'request_too_large'])
    // More than it reads at a time are told to come again, and nobody waits for ever.
    const port = Number(at.slice(at.lastIndexOf(':') + 1))
    const many = await Promise.all(Array.from({ length: 200 }, () => ask(port, `/v1/jobs/${id}`)))
    expect([...new Set(many.map(({ status }) => status))].sort()).toEqual([200, 503])
    expect(many.filter(({ status }) => status === 200).length).toBeGreaterThanOrEqual(32)
    expect(many.find(({ status }) => status === 503)).toMatchObject({ headers: { 'retry-after': '1' }, body: expect.stringContaining('"unavailable"') as string })
    // Nothing of that has disturbed it.
    expect((await curl(`${at}/readyz`)).status).toBe(200)
    expect(await process.end('SIGTERM')).toBe(0)
  })

  it.skipIf(skip)('says which host leads, that followers are ready, and that one that stops is not', async () => {
    const { serve } = await stage(server)
    const one = await serve('one')
    await until('one leads', async () => (await curl(`${one.at}/leaderz`)).status === 200)
    const two = await serve('two')
    expect((await curl(`${two.at}/leaderz`)).status).toBe(503)
    expect((await curl(`${two.at}/readyz`)).status).toBe(200)
    await until('two sees both', async () => (await curl(`${two.at}/metrics`)).body.includes('usher_hosts{state="leader"} 1\nusher_hosts{state="follower"} 1\n'))
    const ended = one.process.end('SIGTERM')
    await until('two leads', async () => (await curl(`${two.at}/leaderz`)).status === 200)
    expect(await ended).toBe(0)
    await expect(curl(`${one.at}/livez`)).rejects.toMatchObject({ code: 7 })
    const terms = JSON.parse((await curl(`${two.at}/v1/terms`)).body) as { terms: { host: string }[] }
    await until('the ledger tells of both terms', async () => ((JSON.parse((await curl(`${two.at}/v1/terms`)).body) as typeof terms).terms.map(({ host }) => host).join() === 'two,one'))
  })
})

describe('usher serve', () => {
  it('refuses to answer HTTP beyond loopback, whatever else is allowed', async () => {
    const folder = await makeFolder()
    cleanups.push(folder.remove)
    const { status, stderr } = await usher(['serve', '--store', `${folder.path}/store`], { env: { USHER_HTTP_LISTEN: '0.0.0.0:7401', USHER_INSECURE: 'true' } })
    expect(status).toBe(78)
    expect(stderr).toMatch(/USHER_HTTP_LISTEN: http\.listen is "0\.0\.0\.0:7401"; .*listen on 127\.0\.0\.1 or \[::1\], and have a reverse proxy/)
  })

  it('does not start when its address for HTTP is taken, and leaves no instance behind', async () => {
    const { store, serve, folder } = await stage('auto')
    const { at } = await serve('one')
    const listen = at.slice('http://'.length)
    const config = `host = "two"\n[http]\nlisten = "${listen}"\n`
    await expect(ServerProcess.start({ config, store, folder })).rejects.toThrow(/status 69[^]*HTTP can't be served on 127\.0\.0\.1:\d+/)
    const { stdout } = await usher(['status', '--json', '--all', '--store', store])
    expect((JSON.parse(stdout) as { instances: { host: string }[] }).instances.map(({ host }) => host)).toEqual(['one'])
  })
})
