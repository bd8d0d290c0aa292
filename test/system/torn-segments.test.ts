// Segments that were open when their server was killed: what was acknowledged in them is in their whole commits, wherever the file
// ends, and whoever takes over finds it there.
import { cp, readFile, truncate } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { Client } from '../../src/client/client.ts'
import { scriptedServer } from '../support/cluster-server.ts'
import { adoptedLines, leaveSegments, segmentFiles } from '../support/segments.ts'
import { makeFolder, ServerProcess, settledAudit, statusOf, traceOf, until } from '../support/usher-process.ts'

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup()
})

/** Each group begins with a block; white space fills up the one before. */
const blockBytes = 4096

/** A server that was killed with a segment open: its store, and the path and bytes of that segment. */
const killedWithOpenSegment = async () => {
  const made = await scriptedServer(cleanups, '', '[segments]\nage = 60\nseal_interval = 60\n')
  const server = await made.serve()
  const client = new Client({ addresses: server.address })
  // The first segment may be sealed at once: an idle host does that.
  const groups = [['sealed'], ['a1', 'a2'], ['b1'], ['c1 with text that is cut']]
  const ids: string[] = []
  for (const group of groups) {
    const accepted = await Promise.all(group.map((name) => client.send({ executable: '/bin/echo', arguments: [name] })))
    ids.push(...accepted.map(({ id }) => id))
  }
  await server.end('SIGKILL')
  client.destroy()
  const open = (await segmentFiles(made.store, '.xml.part')).at(-1)
  if (open === undefined) throw new Error('no segment was open')
  const bytes = await readFile(open.path)
  const marks = [...bytes.toString('latin1').matchAll(/<\?usher-commit jobs="([0-9]+)"[^>]*\?>\n/g)].map((mark) => ({ end: mark.index + mark[0].length, jobs: Number(mark[1]) }))
  return { ...made, instance: server.instance, ids, open, bytes, marks }
}

describe('a segment that was open when its server was killed', () => {
  it('and is cut at any byte of its last commit keeps the commits before it', { timeout: 90_000 }, async () => {
    const { store, serve, bytes, marks, cluster, ids } = await killedWithOpenSegment()
    expect(marks.length).toBeGreaterThanOrEqual(2)
    const [before, last] = marks.slice(-2) as [{ end: number; jobs: number }, { end: number; jobs: number }]
    // One instance for each length, all on one store: the jobs are the same, so that all but the first are duplicates.
    const begin = Math.ceil(before.end / blockBytes) * blockBytes
    const lengths = [before.end, (before.end + begin) >> 1, ...Array.from({ length: last.end - begin + 2 }, (_, i) => begin - 1 + i)]
    expect(lengths.length).toBeGreaterThan(100)
    const name = (length: number): string => `torn-20260101T000000-${length.toString(16).padStart(6, '0')}`
    for (const length of lengths) await leaveSegments(store, name(length), { '0000000001.xml.part': bytes.subarray(0, length) })
    await serve()
    const whole = (length: number): number => (length >= last.end - 1 ? last.jobs : before.jobs)
    let audit = await settledAudit(store)
    await until('everything is adopted', async () => {
      audit = await settledAudit(store)
      return audit.accepted === audit.submitted + audit.duplicates && audit.duplicates >= lengths.reduce((sum, length) => sum + whole(length), 0)
    })
    for (const length of lengths) {
      const lines = await adoptedLines(store, name(length), 1)
      // The line feed after the mark is not needed to know the mark.
      expect([length, lines?.length]).toEqual([length, whole(length)])
    }
    expect(audit).toMatchObject({ submitted: ids.length, dead: 0, setAside: 0, balanced: true })
    expect(ids.map((id) => cluster.times(id))).toEqual(ids.map(() => 1))
  })

  it('loses nothing of whole commits on a copy of the store, wherever the file ends', { timeout: 90_000 }, async () => {
    const { store, ids, open, bytes, marks, cluster } = await killedWithOpenSegment()
    const sealedJobs = ids.length - marks.at(-1)!.jobs
    for (const length of [bytes.length, marks.at(-1)!.end - 20, marks.at(-2)!.end + 30, Math.ceil(marks.at(-2)!.end / blockBytes) * blockBytes + 300, marks.at(-2)!.end, marks[0]!.end - 10, 40, 0]) {
      const folder = await makeFolder()
      cleanups.push(folder.remove)
      const copy = join(folder.path, 'store')
      await cp(store, copy, { recursive: true })
      await truncate(join(copy, open.path.slice(store.length)), length)
      const config = `lease = 0.5\naccept_lease = 0.5\n[log]\nlevel = "warn"\n[cluster.web]\ndriver = "http"\nurl = "${cluster.url}"\n`
      const server = await ServerProcess.start({ config, store: copy, folder: folder.path })
      cleanups.push(() => server.end('SIGKILL'))
      const whole = sealedJobs + (marks.findLast(({ end }) => end <= length)?.jobs ?? 0)
      const audit = await settledAudit(copy)
      expect([length, audit]).toEqual([length, { ...audit, accepted: whole, submitted: whole, setAside: 0, balanced: true }])
      await server.end('SIGKILL')
    }
  })

  it('and is damaged before its last commit is set aside with all its jobs, and not mistaken for a torn one', async () => {
    const { store, serve, bytes, marks, ids, cluster } = await killedWithOpenSegment()
    const damaged = Buffer.from(bytes.toString('utf8').replaceAll(ids[0]!.slice(0, 16), '00000000000000ee').replace('<argument>a1<', '<argument>A1<'))
    await leaveSegments(store, 'bad-20260101T000000-0000ee', { '0000000001.xml.part': damaged })
    await serve()
    await until('it is set aside', async () => (await statusOf(store)).setAside.length === 1)
    const [aside] = (await statusOf(store)).setAside
    const jobs = marks.at(-1)!.jobs
    expect(aside).toMatchObject({ segment: 'bad-20260101T000000-0000ee/1', jobs, reason: expect.stringContaining('segment_corrupt') as string })
    await until('the rest is adopted', () => ids.every((id) => cluster.times(id) === 1))
    expect(await settledAudit(store)).toMatchObject({ accepted: ids.length + jobs, submitted: ids.length, setAside: jobs, balanced: true })
    expect([...cluster.taken.keys()].sort()).toEqual([...ids].sort())
    // What its own copy holds is found all the same.
    expect((await traceOf(store, ids[1]!)).state).toBe('submitted')
  })
})
