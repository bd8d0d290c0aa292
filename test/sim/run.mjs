// Runs the simulator: `npm run test:sim` (20,000 seeds on all cores), `SEED=n npm run test:sim` (one, with all that happened in
// it), `npm run test:sim -- --seeds 5000000 --from 1 --state FILE` (a campaign, which goes on where its file says it was).
import { execFileSync, fork, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const root = fileURLToPath(new URL('../..', import.meta.url))
const built = join(root, 'build-test/sim')
const main = join(built, 'test/sim/main.js')
const nodeOptions = ['--max-semi-space-size=64']

/** TypeScript → JavaScript, with what sources look for beside them. */
const build = () => {
  execFileSync(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', join(root, 'test/sim/tsconfig.json')], { stdio: 'inherit' })
  mkdirSync(built, { recursive: true })
  for (const name of ['build', 'prebuilds', 'package.json']) {
    rmSync(join(built, name), { force: true, recursive: false })
    if (existsSync(join(root, name))) symlinkSync(join('../..', name), join(built, name))
  }
}

const commit = () => {
  const { stdout } = spawnSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: root, encoding: 'utf8' })
  return stdout?.trim() || 'unknown'
}

const add = (sum, counts) => {
  for (const [what, count] of Object.entries(counts)) sum[what] = (sum[what] ?? 0) + count
  return sum
}

const thousands = (value) => Math.round(value).toLocaleString('en')

/** Seeds from `from` on, `count` of them, shared out among the cores. Resolves with the sum of what all have seen. */
const range = (from, count, jobs, stopAtFirst, onProgress) =>
  new Promise((resolve, reject) => {
    const states = Array.from({ length: jobs }, () => ({ seeds: 0, simulatedMs: 0, steps: 0, counts: {}, broken: [] }))
    let running = jobs
    const sum = () =>
      states.reduce(
        (all, one) => ({
          seeds: all.seeds + one.seeds,
          simulatedMs: all.simulatedMs + one.simulatedMs,
          steps: all.steps + one.steps,
          counts: add(all.counts, one.counts),
          broken: [...all.broken, ...one.broken],
        }),
        { seeds: 0, simulatedMs: 0, steps: 0, counts: {}, broken: [] },
      )
    for (let at = 0; at < jobs; at += 1) {
      const child = fork(main, ['range', String(from + at), String(from + count), String(jobs), stopAtFirst ? 'first' : 'all'], { execArgv: nodeOptions })
      let done = false
      child.on('message', (message) => {
        states[at] = message
        onProgress(sum())
        if (message.type !== 'done') return
        done = true
        child.disconnect()
      })
      child.on('exit', (status, signal) => {
        if (!done) reject(new Error(`the process of seeds ${from + at}, ${from + at + jobs} … ended with ${signal ?? status} after seed ${states[at].seed ?? 'none'}`))
        running -= 1
        if (running === 0) resolve(sum())
      })
    }
  })

const print = (text) => process.stdout.write(`${text}\n`)

const summarize = ({ seeds, simulatedMs, steps, counts, broken }, seconds) => {
  const entries = Object.entries(counts).sort(([a], [b]) => (a < b ? -1 : 1))
  const show = (title, chosen) => {
    print(`\n${title}`)
    for (const [what, count] of chosen) print(`  ${thousands(count).padStart(12)}  ${what.replace(/^fault: /, '')}`)
  }
  show('struck', entries.filter(([what]) => what.startsWith('fault: ')))
  show('met', entries.filter(([what]) => !what.startsWith('fault: ')))
  print(`\n${thousands(seeds)} seeds in ${seconds.toFixed(1)} s (${thousands(seeds / seconds)} a second), ${thousands(simulatedMs / 3_600_000)} hours simulated, ${thousands(steps)} steps`)
  for (const { seed, invariant, detail } of broken.slice(0, 20)) print(`BROKEN: ${invariant}: ${detail}\n  SEED=${seed} npm run test:sim`)
  print(broken.length === 0 ? 'no invariant was broken' : `${broken.length} seeds broke an invariant`)
}

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '20000' },
    from: { type: 'string', default: '1' },
    jobs: { type: 'string', default: String(availableParallelism()) },
    /** Where a campaign writes how far it is. */
    state: { type: 'string' },
    /** Stop at the first that breaks an invariant. */
    first: { type: 'boolean', default: false },
    'no-build': { type: 'boolean', default: false },
  },
})

if (!values['no-build']) build()
const seed = process.env['SEED']
if (seed !== undefined) {
  process.exitCode = spawnSync(process.execPath, [...nodeOptions, main, 'one', seed], { stdio: 'inherit' }).status ?? 1
} else {
  const state = { commit: commit(), next: Number(values.from), end: Number(values.from) + Number(values.seeds), seconds: 0, seeds: 0, simulatedMs: 0, steps: 0, counts: {}, broken: [] }
  if (values.state !== undefined && existsSync(values.state)) {
    const saved = JSON.parse(readFileSync(values.state, 'utf8'))
    if (saved.commit !== state.commit) throw new Error(`${values.state} is a campaign of commit ${saved.commit}, and this is ${state.commit}`)
    Object.assign(state, saved)
    process.stderr.write(`going on at seed ${state.next}\n`)
  }
  const chunk = values.state === undefined ? state.end - state.next : 20_000
  const tty = process.stderr.isTTY === true || values.state !== undefined
  while (state.next < state.end) {
    const begunMs = performance.now()
    let toldMs = begunMs
    const count = Math.min(chunk, state.end - state.next)
    const result = await range(state.next, count, Number(values.jobs), values.first, (sofar) => {
      if (!tty || performance.now() - toldMs < 10_000) return
      toldMs = performance.now()
      const seeds = state.seeds + sofar.seeds
      process.stderr.write(`${thousands(seeds)} seeds, ${thousands((sofar.seeds * 1000) / (toldMs - begunMs))} a second, ${state.broken.length + sofar.broken.length} broken\n`)
    })
    state.next += count
    state.seconds += (performance.now() - begunMs) / 1000
    state.seeds += result.seeds
    state.simulatedMs += result.simulatedMs
    state.steps += result.steps
    add(state.counts, result.counts)
    state.broken.push(...result.broken)
    if (values.state !== undefined) {
      writeFileSync(`${values.state}.new`, JSON.stringify(state))
      renameSync(`${values.state}.new`, values.state)
    }
    if (values.first && result.broken.length > 0) break
  }
  summarize(state, state.seconds)
  process.exitCode = state.broken.length === 0 ? 0 : 1
}
