// What is between the socket and the cluster: XML that any validator takes, JSON that says the same byte for byte, and what other
// tools and bad disks leave in the place of a segment.
import { execFile, spawnSync } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, describe, expect, it } from 'vitest'
import { Client } from '../../src/client/client.ts'
import type { JobSpecInput } from '../../src/protocol/job-spec.ts'
import { scriptedServer } from '../support/cluster-server.ts'
import { seeded, seedOf } from '../support/random.ts'
import { leaveSegments, segmentFiles, specText, storeUuid } from '../support/segments.ts'
import { sendJobs } from '../support/sending.ts'
import { root, settledAudit, statusOf, traceOf, until } from '../support/usher-process.ts'

const run = promisify(execFile)
const xmllint = spawnSync('xmllint', ['--version']).status === 0
const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup()
})

/** Every character that XML 1.0 can carry. */
function* characters(): Generator<string> {
  const ranges = [[0x9, 0xa], [0xd, 0xd], [0x20, 0xd7ff], [0xe000, 0xfffd], [0x10000, 0x10ffff]] as const
  for (const [first, last] of ranges) for (let at = first; at <= last; at += 1) yield String.fromCodePoint(at)
}

const awkward = [
  '', ' ', '  two  ', '\t', '\n', '\r', '\r\n', ' \n\r\n\t ', '&', '<', '>', ']]>', '"', "'", '&amp;', '&#13;', '<![CDATA[x]]>', '<?usher-commit jobs="1"?>', '</job>', '</segment>', '\\', '\\n', '\\u0000', '{"a":1}', ',"spec":{', ',"provenance":{',
  '\u007f', '\u0085', '\u00a0', '\u00ad', 'e\u0301', '\u200d', '\u202e', '\u2028\u2029', '\ufeff', '\ufffd', '\ufdd0', '\ue000', '\u{1fffe}', '\u{10ffff}', '日本語', 'العربية', '👩‍👩‍👧‍👦', 'ß', 'İ', '\u0300',
]

/** Specs in the one form that usher writes, so that texts can be compared. */
const specs = (random: () => number): JobSpecInput[] => {
  const pick = (): string => awkward[Math.floor(random() * awkward.length)]!
  const text = (): string => Array.from({ length: Math.floor(random() * 6) }, pick).join('')
  const full = (): string => `${text()}x${text()}`
  const some = <T>(make: () => T): T | undefined => (random() < 0.5 ? make() : undefined)
  const pairs = (key: () => string): Record<string, string> => {
    const keys = new Set(Array.from({ length: 1 + Math.floor(random() * 4) }, (_, i) => `${i}${key()}`))
    return Object.fromEntries([...keys].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))).map((name) => [`k${name}`, text()]))
  }
  const whole = (): number => 1 + Math.floor(random() * 2 ** 31)
  const made = Array.from({ length: 300 }, () => ({
    name: some(full),
    executable: full(),
    arguments: some(() => Array.from({ length: 1 + Math.floor(random() * 5) }, text)),
    directory: some(full),
    inherit_environment: some(() => false),
    environment: some(() => pairs(() => full().replaceAll('=', '-'))),
    stdin_path: some(full),
    stdout_path: some(full),
    stderr_path: some(full),
    resources: some(() => ({ __version: 1 as const, node_count: whole() % 1000 || 1, gpu_cores_per_process: some(() => 0), exclusive_node_use: some(() => true), memory: some(() => whole() * 4_000_000) })),
    attributes: some(() => ({ duration: `${whole() - 1 || 1} s`, queue_name: some(full), account: some(full), reservation_id: some(full), custom_attributes: some(() => pairs(full)) })),
    pre_launch: some(full),
    post_launch: some(full),
    launcher: some(full),
  })) as JobSpecInput[]
  const all = [...characters()]
  for (let at = 0; at < all.length; at += 20_000) made.push({ executable: '/bin/echo', arguments: [all.slice(at, at + 20_000).join('')] })
  return made
}

describe('text', () => {
  it('of every character that XML can carry goes from the producer to the cluster byte for byte', { timeout: 90_000 }, async () => {
    const seed = seedOf()
    const { cluster, store, folder, serve } = await scriptedServer(cleanups, 'in_flight = 16')
    const server = await serve()
    const texts = specs(seeded(seed)).map((spec) => JSON.stringify(spec))
    const sent = await sendJobs(server.address, texts.join('\n'), { folder })
    expect(sent, `seed ${seed}`).toMatchObject({ status: 0, summary: { accepted: texts.length } })
    expect(await settledAudit(store), `seed ${seed}`).toMatchObject({ accepted: texts.length, submitted: texts.length, balanced: true })
    const lineOf = (id: string): string => texts[Number(id.slice(id.indexOf('-') + 1)) - 1]!
    let compared = 0
    for (const { path } of await segmentFiles(store, '.jsonl')) {
      for (const line of (await readFile(path, 'utf8')).split('\n').slice(0, -1)) {
        compared += 1
        if (specText(line) !== lineOf((JSON.parse(line) as { id: string }).id)) expect(specText(line), `seed ${seed}`).toBe(lineOf((JSON.parse(line) as { id: string }).id))
      }
    }
    expect(compared).toBe(texts.length)
    expect(cluster.posts).toHaveLength(texts.length)
    for (const { id, body } of cluster.posts) {
      const received = body.slice(body.indexOf(',"spec":') + 8, body.lastIndexOf(',"term":'))
      if (received !== lineOf(id)) expect(received, `seed ${seed}`).toBe(lineOf(id))
    }
    const again = await traceOf(store, sent.ids[0]!)
    expect(JSON.stringify(again.spec)).toBe(lineOf(again.id))
    if (xmllint) await expectValid(store)
    else process.stderr.write('xmllint is not installed: the segments were not validated against docs/segment.xsd\n')
    await server.end('SIGTERM')
  })

  it('that XML can\'t carry is refused by the name of its field, and costs nobody else anything', async () => {
    const { store, folder, serve } = await scriptedServer(cleanups)
    const server = await serve()
    const lines = ['\\u0000', '\\u0001', '\\u001f', '\\ufffe', '\\uffff', '\\ud800', '\\udc00x'].flatMap((bad) => [
      `{"executable":"/bin/echo","arguments":["fine","a${bad}b"]}`,
      `{"executable":"/bin/echo","environment":{"A":"${bad}"}}`,
      `{"executable":"/bin/echo","name":"${bad}"}`,
    ])
    const { status, summary, failures } = await sendJobs(server.address, [...lines, '{"executable":"/bin/echo"}'].join('\n'), { folder })
    expect(status).toBe(65)
    expect(summary).toMatchObject({ sent: lines.length + 1, accepted: 1, refused: lines.length })
    for (const failure of failures) {
      expect(['text_not_xml', 'text_not_utf8']).toContain(failure['code'])
      expect(String(failure['field'])).toContain(['arguments', 'environment', 'name'][(Number(failure['line']) - 1) % 3])
    }
    expect(await settledAudit(store)).toMatchObject({ accepted: 1, submitted: 1, balanced: true })
  })
})

const expectValid = async (store: string): Promise<void> => {
  const files = (await segmentFiles(store, '.xml')).map(({ path }) => path)
  expect(files.length).toBeGreaterThan(0)
  // Rejects with what xmllint says when one isn't valid.
  await run('xmllint', ['--noout', '--huge', '--schema', join(root, 'docs/segment.xsd'), ...files], { maxBuffer: 64 * 1024 * 1024 })
}

describe.skipIf(!xmllint)('xmllint', () => {
  it('takes every segment of a server under load, and none that the schema forbids', async () => {
    const { store, serve } = await scriptedServer(cleanups, 'batch = 1\nin_flight = 8', '[segments]\nbytes = "8 KiB"\nage = 0.01\nseal_interval = 0.002\n')
    const server = await serve()
    const clients = Array.from({ length: 4 }, () => new Client({ addresses: server.address }))
    await Promise.all(clients.map((client) => client.sendAll(Array.from({ length: 250 }, (_, i) => ({ executable: '/bin/true', arguments: [`${i}`], attributes: { duration: 1 } })))))
    await Promise.all(clients.map((client) => client.close()))
    expect(await settledAudit(store)).toMatchObject({ accepted: 1000, submitted: 1000, balanced: true })
    expect((await segmentFiles(store, '.xml')).length).toBeGreaterThan(5)
    await expectValid(store)
    const wrong = (await readFile((await segmentFiles(store, '.xml'))[0]!.path, 'utf8')).replace('<executable>', '<executible>').replace('</executable>', '</executible>')
    await leaveSegments(store, 'other-20200101T000000-000000', { '0000000001.xml': wrong })
    await expect(expectValid(store)).rejects.toThrow('executible')
  })
})

const otherTools = (uuid: string, id: string): string => `\ufeff<?xml version='1.0' encoding="utf-8" standalone="yes"?>
<!-- written by another tool -->
<u:segment
    xmlns:u="urn:usher:segment:1" opened='2026-11-23T04:00:00.123Z' number='1' config="3fa9c1d2" version="9.9"
    pid="1" instance="tool-20260101T000000-0000aa" host="tool" store="${uuid}">
  <u:job cluster='web' at="2026-11-23T04:00:00.124Z"   id='${id}'>
    <?other instruction?>
    <u:executable>/bin/<![CDATA[ech]]>o</u:executable>
    <u:arguments>
      <u:argument><![CDATA[<a & b>]]></u:argument>
      <u:argument/>
      <u:argument>&#x1F642;&amp;&lt;&gt;&quot;&apos;&#10;</u:argument>
    </u:arguments>
    <u:environment><u:variable name="A&#9;B">1<!-- not 2 --></u:variable></u:environment>
  </u:job>
</u:segment>
<!-- the end -->`

describe('a segment in the directory of an instance that is gone', () => {
  it('is adopted and submitted, whatever tool wrote it', async () => {
    const { cluster, store, folder, serve } = await scriptedServer(cleanups)
    let server = await serve()
    await server.end('SIGTERM')
    const id = '00000000000000aa-7'
    await leaveSegments(store, 'tool-20260101T000000-0000aa', { '0000000001.xml': otherTools(await storeUuid(store), id) })
    server = await serve()
    await until('it is submitted', () => cluster.times(id) === 1)
    const { spec } = JSON.parse(cluster.posts[0]!.body) as { spec: unknown }
    expect(spec).toEqual({ executable: '/bin/echo', arguments: ['<a & b>', '', '🙂&<>"\'\n'], environment: { 'A\tB': '1' } })
    const { ids } = await sendJobs(server.address, [{ executable: '/bin/true' }], { folder })
    expect(await settledAudit(store)).toMatchObject({ accepted: 2, submitted: 2, setAside: 0, balanced: true })
    expect(cluster.times(ids[0]!)).toBe(1)
    const { state, steps } = await traceOf(store, id)
    expect(state).toBe('submitted')
    expect(steps[0]).toMatchObject({ step: 'accepted', host: 'tool', version: '9.9' })
    expect(steps.find(({ step }) => step === 'transformed')).toMatchObject({ instance: server.instance, segment: 'tool-20260101T000000-0000aa/1' })
  })

  it('that is damaged is set aside with line and column and its jobs, and the rest goes on', async () => {
    const { cluster, store, folder, serve } = await scriptedServer(cleanups)
    let server = await serve()
    const first = await sendJobs(server.address, Array.from({ length: 5 }, (_, i) => ({ executable: '/bin/echo', arguments: [`job ${i}`] })), { folder })
    await settledAudit(store)
    await server.end('SIGTERM')
    const good = await readFile((await segmentFiles(store, '.xml'))[0]!.path, 'utf8')
    const uuid = await storeUuid(store)
    // Other ids, so that they are other jobs; then the damage.
    const damaged = good.replaceAll(first.ids[0]!.slice(0, 16), '00000000000000bb').replace('<argument>job 2</argument>', '<argument>job 2</argumemt>')
    const line = damaged.slice(0, damaged.indexOf('</argumemt>')).split('\n').length
    const foreign = otherTools(uuid, '00000000000000cc-1')
    await leaveSegments(store, 'bad-20260101T000000-0000bb', { '0000000001.xml': damaged, '0000000002.xml': foreign.replace('</u:segment>', '') })
    await leaveSegments(store, 'bad-20260101T000000-0000cc', {
      '0000000001.xml': foreign.replace('<u:segment', '<!DOCTYPE x [<!ENTITY a "b">]>\n<u:segment'),
      '0000000002.xml': otherTools(uuid, '00000000000000dd-1'),
    })
    server = await serve()
    await until('the good one behind a bad one is submitted', () => cluster.times('00000000000000dd-1') === 1)
    await sendJobs(server.address, [{ executable: '/bin/true' }], { folder })
    await until('all are set aside', async () => (await statusOf(store)).setAside.length === 3)
    const audit = await settledAudit(store)
    const { setAside } = await statusOf(store)
    const of = (segment: string) => setAside.find((one) => one.segment === segment)
    expect(of('bad-20260101T000000-0000bb/1')).toMatchObject({ jobs: 5, reason: expect.stringMatching(new RegExp(`line ${line}, column \\d+`)) as string })
    expect(of('bad-20260101T000000-0000bb/2')?.reason).toMatch(/xml_malformed: .*line \d+, column \d+/)
    expect(of('bad-20260101T000000-0000cc/1')?.reason).toMatch(/xml_forbidden: .*line 3, column \d+/)
    expect(audit).toMatchObject({ submitted: 7, setAside: 5, dead: 0, balanced: true })
    expect(audit.accepted).toBe(12)
    const trace = await traceOf(store, '00000000000000bb-3')
    expect(trace.state).toBe('set aside')
    expect(trace.steps.at(-1)?.detail).toContain(`line ${line}`)
  })
})
