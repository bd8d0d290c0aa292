// How long after a host has published a job the leader, on another host, has admitted it: single jobs on an idle store,
// under the mount options that the lab was given. Journal and ledger say it, by the hosts' wall clocks, which are
// this machine's; how far they are apart is measured first.
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { root, until } from '../support/usher-process.ts'
import { addressOf, Lab, mountOptions, nfsVersion, quantile, store } from './lab.ts'

const jobs = Number(process.env['USHER_NFS_JOBS'] ?? 200)
/** Far more than was measured: where a name hides in a cache, it does so for seconds. */
const hiddenMs = 2000

let lab: Lab
beforeAll(async () => {
  lab = await Lab.up(2)
}, 120_000)
afterAll(async () => {
  await lab.down()
}, 60_000)

/** A line of a journal, or of a ledger. */
interface Line {
  readonly at: string
  readonly step?: string
  readonly segment?: string
  readonly k?: string
  readonly of?: string
}

/** When a step was made of each segment. What is cut off at the end is left out. */
const timesOf = (text: string, jsonFrom: number, segmentOf: (line: Line) => string | undefined): Map<string, number> => {
  const times = new Map<string, number>()
  for (const line of text.split('\n')) {
    if (!line.endsWith('}')) continue
    const value = JSON.parse(line.slice(jsonFrom)) as Line
    const segment = segmentOf(value)
    if (segment !== undefined) times.set(segment, Date.parse(value.at))
  }
  return times
}

describe(`a segment of another host, on NFS ${nfsVersion}`, () => {
  it(`is admitted soon after it was published`, { timeout: 300_000 }, async () => {
    await lab.startCluster(1)
    await lab.serve(1)
    await lab.accepting(1)
    await until('host 1 leads', async () => (await lab.status(1)).leader?.host === 'host1', 30_000)
    await lab.serve(2)
    await lab.accepting(2)
    const offsets = [await lab.clock(1), await lab.clock(2)] as const
    const sender = join(root, 'test/nfs/one-by-one.mjs')
    const sending = lab.exec(2, `node ${sender} ${join(root, 'dist/client/client.js')} ${addressOf(2)} ${jobs}`, 200)
    // The same hosts, at the same time: what of it is the machine's and the share's, whatever usher does.
    const calibrating = lab.exec(1, `node ${join(root, 'test/nfs/calibrate.mjs')} ${store}/hosts/host2-*/presence ${Math.ceil(jobs / 5)}`, 200)
    const [sent, calibrated] = await Promise.all([sending, calibrating])
    expect(sent.status, sent.stdout).toBe(0)
    const { timerLateMs, readMs } = JSON.parse(calibrated.stdout) as { timerLateMs: number[]; readMs: number[] }
    await until('all are submitted', () => lab.submissions().length >= jobs)
    // All steps at once, as docs/store.md describes them; `usher trace` must say the same of one.
    const journal = (await lab.exec(2, `cat ${store}/hosts/host2-*/journal.jsonl`)).stdout
    const ledger = (await lab.exec(1, `cat ${store}/ledger/*/*.log`)).stdout
    const published = timesOf(journal, 0, ({ step, segment }) => (step === 'transformed' ? segment : undefined))
    const admitted = timesOf(ledger, 31, ({ k, of }) => (k === 'admit' ? of : undefined))
    const receipts = timesOf(ledger, 31, ({ k, of }) => (k === 'receipt' ? of : undefined))
    expect([...published.keys()].sort()).toEqual([...admitted.keys()].sort())
    const { steps } = await lab.trace(1, lab.submissions()[0]!.id)
    const [segment] = [...published.keys()]
    const stepAt = (name: string): number => Date.parse(steps.find(({ step }) => step === name)!.at)
    expect([stepAt('transformed'), stepAt('admitted')]).toEqual([published.get(segment!), admitted.get(segment!)])

    // Positive: host 1 is ahead, and what it stamps looks late.
    const apart = offsets[0].ms - offsets[1].ms
    const ms = [...published].map(([of, at]) => admitted.get(of)! - at - apart)
    const whole = [...published].map(([of, at]) => receipts.get(of)! - at - apart)
    const kernel = (await lab.exec(1, 'uname -r')).stdout.trim()
    const tenths = (value: number): number => Math.round(value * 10) / 10
    const of = (values: readonly number[]) => ({ p50: tenths(quantile(values, 0.5)), p99: tenths(quantile(values, 0.99)), max: tenths(Math.max(...values)) })
    const result = { mount: mountOptions, kernel, jobs, clocksApartMs: apart, clocksWithinMs: offsets[0].within + offsets[1].within, publishedToAdmitted: of(ms), publishedToSubmitted: of(whole), timerLate: of(timerLateMs), readOfPresence: of(readMs) }
    await mkdir(join(root, '.out'), { recursive: true })
    await writeFile(join(root, '.out', `nfs-visibility-${nfsVersion}.json`), `${JSON.stringify(result, null, 2)}\n`)
    process.stderr.write(`nfs visibility: ${JSON.stringify(result)}\n`)
    // Not the goal, which is 100 ms and nothing that a test on a shared machine can ask for: only that no cache hid them.
    expect(result.publishedToAdmitted.p50).toBeLessThan(hiddenMs)
  })
})
