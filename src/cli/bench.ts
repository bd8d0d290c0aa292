// `usher bench`: what users can measure of their own. `replay` sends a recorded workload at a pace of its own; `compare` and
// `report` read what `npm run bench` wrote.
import { writeFileSync } from 'node:fs'
import type { Command } from 'commander'
import { compareRuns, type Comparison, type ComparedRuns } from '../bench/compare.ts'
import { renderReport } from '../bench/report.ts'
import { readResults } from '../bench/results.ts'
import { errnoOf, messageOf, UsherError } from '../base/errors.ts'
import { registerReplay } from './bench-replay.ts'
import { type Output, painter, printJson, renderTable } from './output.ts'

const compareExamples = `Examples:
  usher bench compare before.json after.json
  usher bench compare before.json after.json --json

A measure is a gain or a loss where its rounds differ by more than chance explains (Mann-Whitney U, exact, p at
most 0.01) and its median by at least 2 %. Five rounds of each run are the fewest that can tell.

Exit status: 0 nothing is lost; 1 something is.`

const reportExamples = `Examples:
  usher bench report .out/bench.json --out report.html`

const figure = (value: number): string =>
  Math.abs(value) >= 1000 ? Math.round(value).toLocaleString('en-US') : `${Number(value.toPrecision(3))}`

const columns = ['measure', 'before', 'after', 'change', 'p', 'verdict'].map((title, i) => ({ title, align: i > 0 && i < 5 ? 'right' : 'left' } as const))
const rowOf = ({ name, unit, before, after, change, p, verdict }: Comparison): string[] => [
  name, `${figure(before)} ${unit}`, `${figure(after)} ${unit}`, `${change >= 0 ? '+' : '−'}${Math.abs(change * 100).toFixed(1)} %`, p.toFixed(4), verdict,
]

const printComparison = ({ comparisons, onlyBefore, onlyAfter, differences }: ComparedRuns, out: Output): void => {
  const paint = painter(out)
  for (const difference of differences) out.write(`${paint('yellow', 'not the same machine:')} ${difference}\n`)
  const changed = comparisons.filter(({ verdict }) => verdict === 'gain' || verdict === 'loss')
  if (changed.length > 0) out.write(renderTable(columns, changed.map(rowOf), paint))
  const count = (verdict: string): number => comparisons.filter((each) => each.verdict === verdict).length
  out.write(`${comparisons.length} ${comparisons.length === 1 ? 'measure' : 'measures'}: ${count('gain')} gained, ${count('loss')} lost, ${count('same')} the same, ${count('too few rounds')} with too few rounds to tell\n`)
  if (onlyBefore.length > 0) out.write(`only before: ${onlyBefore.join(', ')}\n`)
  if (onlyAfter.length > 0) out.write(`only after: ${onlyAfter.join(', ')}\n`)
}

/** Exit status 1 where something is lost. */
export const compare = (before: string, after: string, json: boolean, out: Output = process.stdout): number => {
  const compared = compareRuns(readResults(before), readResults(after))
  if (compared.comparisons.length === 0) throw new UsherError('input_invalid', `${before} and ${after} have no measure in common`)
  if (json) printJson(compared, out)
  else printComparison(compared, out)
  return compared.comparisons.some(({ verdict }) => verdict === 'loss') ? 1 : 0
}

const report = (file: string, to: string): void => {
  const page = renderReport(readResults(file))
  try {
    writeFileSync(to, page)
  } catch (error) {
    const code = errnoOf(error) === 'EACCES' ? 'permission' : 'unavailable'
    throw new UsherError(code, `${to} can't be written: ${messageOf(error)}`, { cause: error })
  }
}

export const registerBench = (program: Command): void => {
  const bench = program.command('bench').description('measure: replay a workload, compare and show results of benchmarks')
  registerReplay(bench)
  bench
    .command('compare')
    .description('what changed between two results of `npm run bench` beyond noise')
    .argument('<before>', 'JSON that a run wrote')
    .argument('<after>', 'JSON of a later run')
    .option('--json', 'every comparison, as JSON')
    .addHelpText('before', compareExamples)
    .action((before: string, after: string, options: { json?: boolean }) => {
      process.exitCode = compare(before, after, options.json === true)
    })
  bench
    .command('report')
    .description('results of `npm run bench` as one page of HTML')
    .argument('<file>', 'JSON that a run wrote')
    .requiredOption('--out <file>', 'the page')
    .addHelpText('before', reportExamples)
    .action((file: string, options: { out: string }) => report(file, options.out))
}
