// The results of a run as one page of HTML that needs nothing else: no script, no font, no other file. What it shows is what
// the JSON holds; nothing is computed here but medians and the spread of rounds.
import { type Bar, barPlot, escapeText, linePlot } from './chart.ts'
import { type BenchResults, type Measure, median } from './results.ts'

const style = `
:root { color-scheme: light dark; --ink: #1b1f24; --dim: #5b6570; --line: #d8dee4; --paper: #fff; --bar: #3565b5; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ec; --dim: #9aa4af; --line: #333b44; --paper: #15181c; --bar: #6f9fe8; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; } h3 { font-size: 1rem; margin: 1.5rem 0 .3rem; }
.dim, td.what, figcaption { color: var(--dim); font-size: .87rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td.number, th.number { text-align: right; white-space: nowrap; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(26rem, 1fr)); gap: 1rem 2rem; }
figure { margin: 0; } svg { width: 100%; height: auto; } svg text { font: 13px system-ui, sans-serif; fill: var(--dim); }
.grid { stroke: var(--line); stroke-width: 1; } polyline { fill: none; stroke-width: 1.8; stroke: currentColor; } circle { fill: currentColor; }
.bar { fill: var(--bar); } .spread { stroke: var(--ink); stroke-width: 1.5; } .mark { stroke: #c2410c; stroke-width: 1.5; stroke-dasharray: 4 3; }
.legend { margin: .2rem 0 0; font-size: .87rem; } .legend span { margin-right: 1rem; white-space: nowrap; } .legend span::before { content: '━ '; }
.c0 { color: #3f74c9; } .c1 { color: #d1720f; } .c2 { color: #2f8f57; } .c3 { color: #c04a8a; }
.c4 { color: #8062c4; } .c5 { color: #9a8312; } .c6 { color: #178a96; } .c7 { color: #b8453c; }
`

const barOf = ({ name, rounds }: Measure, shown = name): Bar => ({
  name: shown, value: median(rounds), least: Math.min(...rounds), most: Math.max(...rounds),
})

/** What stands before the first `/` of names, in the order of the results. */
const groupsOf = (measures: readonly Measure[]): Map<string, Measure[]> => {
  const groups = new Map<string, Measure[]>()
  for (const measure of measures) {
    const group = measure.name.split('/')[0] ?? ''
    groups.set(group, [...(groups.get(group) ?? []), measure])
  }
  return groups
}

const restOf = (name: string): string => name.slice(name.indexOf('/') + 1)
const figureOf = (value: number): string =>
  Math.abs(value) >= 1000 ? Math.round(value).toLocaleString('en-US') : `${Number(value.toPrecision(3))}`

/** For each group a plot of its own: what is hundreds of times faster than one thing may be twice as fast as another. */
const ratios = (measures: readonly Measure[]): string => {
  const groups = groupsOf(measures.filter(({ unit }) => unit === '×'))
  if (groups.size === 0) return ''
  const plots = Array.from(groups, ([group, members]) =>
    `<figure><h3>${escapeText(group)}</h3>${barPlot(`${group}: ratios`, members.map((measure) => barOf(measure, restOf(measure.name))), '×', 1)}</figure>`)
  return `<h2>Ratios</h2><p class="dim">Made within a round, so that what the machine did beside it hit both. The mark is 1; the thin line is the spread of rounds.</p><div class="plots">${plots.join('')}</div>`
}

const tables = (measures: readonly Measure[]): string =>
  Array.from(groupsOf(measures), ([group, members]) => {
    const rows = members.map(({ name, what, unit, rounds }) =>
      `<tr><td>${escapeText(restOf(name))}</td><td class="number">${figureOf(median(rounds))} ${escapeText(unit)}</td>` +
      `<td class="number">${rounds.length === 1 ? '' : `${figureOf(Math.min(...rounds))} to ${figureOf(Math.max(...rounds))}`}</td>` +
      `<td class="number">${rounds.length}</td><td class="what">${escapeText(what)}</td></tr>`)
    return `<h3>${escapeText(group)}</h3><table><thead><tr><th></th><th class="number">median</th><th class="number">spread</th><th class="number">rounds</th><th>what</th></tr></thead><tbody>${rows.join('')}</tbody></table>`
  }).join('')

const speeds = (measures: readonly Measure[]): string =>
  Array.from(groupsOf(measures), ([group, members]) => {
    const same = members.filter(({ unit }) => unit === 'jobs/s')
    if (same.length < 2 || group === 'scaling') return ''
    return `<figure><h3>${escapeText(group)}</h3>${barPlot(group, same.map((measure) => barOf(measure, restOf(measure.name))), 'jobs/s')}</figure>`
  }).join('')

export const renderReport = (results: BenchResults): string => {
  const { machine, measures, plots, books, peers } = results
  const facts = [
    `commit ${results.commit}${results.changed ? ' with changes' : ''}`, results.at, machine.cpu, `${machine.cores} cores`,
    `${Math.round(machine.memoryBytes / 2 ** 30)} GiB`, machine.arch, `Linux ${machine.kernel}`, `Node ${machine.node}`, machine.fileSystem,
    ...Object.entries(peers).map(([name, version]) => `${name} ${version}`),
  ]
  const drawn = plots.map((plot) => `<figure><h3>${escapeText(plot.title)}</h3>${linePlot(plot)}</figure>`).join('')
  const jobs = books.reduce((sum, { accepted }) => sum + accepted, 0)
  const wrong = books.filter(({ sent, accepted, found, twice }) => sent !== accepted || found !== accepted || twice !== 0)
  const balance = wrong.length === 0
    ? `In ${books.length} runs ${jobs.toLocaleString('en-US')} jobs were sent; each was acknowledged and found once.`
    : `The books don't balance: ${wrong.map(({ run }) => run).join(', ')}.`
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>usher: benchmarks of ${escapeText(results.commit)}</title>
<style>${style}</style></head><body>
<h1>usher: benchmarks</h1>
<p class="dim">${facts.map(escapeText).join(' · ')}</p>
<p>${escapeText(balance)}</p>
${ratios(measures)}
<h2>Speed</h2><div class="plots">${speeds(measures)}</div>
<h2>Plots</h2><div class="plots">${drawn}</div>
<h2>All measures</h2>${tables(measures)}
</body></html>
`
}
