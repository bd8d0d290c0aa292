// The guard of CI against code that gets slower: each kernel's speed as a ratio to CRC-32C of the same round, in this very
// process, against ratios kept in bench/guard.json. A clock that changes and a neighbour that takes time hit both sides of a
// ratio. A loss must be found three times in a row: what is only noise passes one of them. (Instruction counts guard the
// native kernels more sharply; this one sees what they can't: JavaScript, memory, the crossing between.)
//
//   node bench/guard.mjs                    ends with 1 on a loss
//   node bench/guard.mjs --update           writes the ratios of this machine as the new baseline
//   node bench/guard.mjs --slower 'NAME'    does that kernel's work twice, to see the guard fail
import { readFileSync, writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { isRatioLoss } from '../dist/bench/compare.js'
import { median } from '../dist/bench/results.js'
import { memoryLedger, processorKernels } from './kernels.mjs'
import { root } from './server.mjs'

const rounds = 11
/** A ratio of other processors may differ so much from the baseline's; half the speed is told everywhere. */
const keptMin = 0.7
const file = join(root, 'bench', 'guard.json')
const say = (text) => process.stdout.write(`${text}\n`)

/** A segment that is the same in every run: jobs of a template, with ids of their own. */
const fixedSegment = () => {
  const job = (sequence) =>
    `<job id="9f8c2e71a4b0d3e5-${sequence}" at="2026-11-23T04:00:00.124Z" cluster="main"><name>simulate-detector</name><executable>/opt/lab/bin/simulate</executable>` +
    '<arguments><argument>--events</argument><argument>25000</argument><argument>--geometry</argument><argument>run3/barrel.xml</argument><argument>a &amp; b</argument></arguments>' +
    '<directory>/home/jane/runs/0815</directory><environment><variable name="OMP_NUM_THREADS">8</variable></environment>' +
    '<resources><node_count>1</node_count><process_count>8</process_count><memory>17179869184</memory></resources>' +
    '<attributes><duration>7200</duration><queue_name>long</queue_name><account>hep</account></attributes></job>\n'
  const head = '<?xml version="1.0" encoding="UTF-8"?>\n<segment xmlns="urn:usher:segment:1" store="s" host="h" instance="h-1" pid="4711" version="0.1.0" config="c" number="17" opened="2026-11-23T04:00:00.123Z">\n'
  return Buffer.from(`${head}${Array.from({ length: 1000 }, (_, i) => job(i + 1)).join('')}</segment>\n`)
}

/** The best of many runs: what comes in between only ever makes one slower. */
const bestPerSecond = async (run, ms) => {
  let best = Infinity
  for (const until = performance.now() + ms; performance.now() < until; ) {
    const begun = performance.now()
    await run()
    best = Math.min(best, performance.now() - begun)
  }
  return 1000 / best
}

const { values } = parseArgs({ options: { update: { type: 'boolean', default: false }, slower: { type: 'string' } } })
const sample = fixedSegment()
const ledger = await memoryLedger()
const [calibration, ...kernels] = [...processorKernels(sample), ledger.kernel].map(({ name, run }) => ({
  name,
  // Appending hops between threads: it takes longer until one run meets no neighbour.
  ms: name === ledger.kernel.name ? 160 : 40,
  run: name === values.slower ? async () => [await run(), await run()] : run,
}))
if (values.slower !== undefined && !kernels.some(({ name }) => name === values.slower)) throw new Error(`no kernel ${values.slower}: there are ${kernels.map(({ name }) => name).join(', ')}`)

const measure = async () => {
  const ratios = Object.fromEntries(kernels.map(({ name }) => [name, []]))
  for (const { run } of kernels) await bestPerSecond(run, 100)
  for (let round = 0; round < rounds; round += 1) {
    for (const { name, run, ms } of kernels) {
      // Right before and right after, so that both see the same clock.
      const before = await bestPerSecond(calibration.run, 10)
      const rate = await bestPerSecond(run, ms)
      const after = await bestPerSecond(calibration.run, 10)
      ratios[name].push(Number((rate / Math.max(before, after)).toPrecision(4)))
    }
  }
  return ratios
}

if (values.update) {
  const ratios = await measure()
  writeFileSync(file, `${JSON.stringify({ cpu: cpus()[0]?.model ?? 'unknown', node: process.version, ratios }, null, 1).replace(/\n {3}(?=[\d.])|\n {2}(?=\])/g, ' ')}\n`)
  say(`written to ${file}`)
} else {
  const baseline = JSON.parse(readFileSync(file, 'utf8'))
  const unknown = kernels.filter(({ name }) => !(name in baseline.ratios)).map(({ name }) => name)
  if (unknown.length > 0) throw new Error(`bench/guard.json knows nothing of ${unknown.join(', ')}: run node bench/guard.mjs --update`)
  let lost = kernels.map(({ name }) => name)
  for (let attempt = 1; attempt <= 3 && lost.length > 0; attempt += 1) {
    const ratios = await measure()
    for (const name of lost) {
      const [was, is] = [median(baseline.ratios[name]), median(ratios[name])]
      say(`${name}: ${is.toPrecision(3)} of CRC-32C, ${(is / was).toFixed(2)} of the baseline (${Math.min(...ratios[name])} to ${Math.max(...ratios[name])})`)
    }
    lost = lost.filter((name) => isRatioLoss(baseline.ratios[name], ratios[name], keptMin))
    if (lost.length > 0) say(`attempt ${attempt}: lost: ${lost.join(', ')}`)
  }
  if (lost.length > 0) process.exitCode = 1
}
await ledger.close()
