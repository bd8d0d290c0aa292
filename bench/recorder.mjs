// Collects what the suites measure and writes it as the one JSON document that src/bench/results.ts describes.
import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { arch, cpus, release, totalmem } from 'node:os'
import { dirname } from 'node:path'
import { median, resultsFormat } from '../dist/bench/results.js'
import { root } from './server.mjs'

export const say = (text) => process.stdout.write(`${text}\n`)
export const figure = (value) => (Math.abs(value) >= 1000 ? Math.round(value).toLocaleString('en-US') : `${Number(value.toPrecision(3))}`)

const output = (program, args) => {
  try {
    return execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
  } catch {
    // What isn't installed, or no repository: said as nothing.
    return ''
  }
}

export class Recorder {
  #measures = new Map()
  #plots = []
  #books = []
  #suiteSeconds = {}
  #peers = {}

  /** One round of a measure. The first call says what it is. */
  add(name, value, about) {
    if (!Number.isFinite(value)) throw new Error(`${name} is ${value}`)
    const known = this.#measures.get(name)
    if (known === undefined) this.#measures.set(name, { name, ...about, rounds: [value] })
    else known.rounds.push(value)
  }

  median(name) {
    return median(this.#measures.get(name)?.rounds ?? [])
  }

  plot(plot) {
    if (plot.series.some(({ points }) => points.length > 0)) this.#plots.push(plot)
  }

  /** The books of one run must balance: else the run is worth nothing, and the whole benchmark fails. */
  book(run, { sent, accepted, found, twice }) {
    this.#books.push({ run, sent, accepted, found, twice })
    if (sent !== accepted || found !== accepted || twice !== 0) throw new Error(`the books of ${run} don't balance: ${JSON.stringify({ sent, accepted, found, twice })}`)
  }

  peer(name, version) {
    this.#peers[name] = version
  }

  /** Runs a suite and prints what it measured. */
  async suite(name, run) {
    say(`\n${name}`)
    const begun = performance.now()
    const known = new Set(this.#measures.keys())
    await run(this)
    this.#suiteSeconds[name] = Number(((performance.now() - begun) / 1000).toFixed(1))
    for (const { name: measure, unit, rounds } of this.#measures.values()) {
      if (known.has(measure)) continue
      const [least, most] = [Math.min(...rounds), Math.max(...rounds)]
      say(`  ${measure}: ${figure(median(rounds))} ${unit}${rounds.length > 1 ? ` (${figure(least)} to ${figure(most)}, ${rounds.length} rounds)` : ''}`)
    }
  }

  results() {
    const folder = process.env.USHER_BENCH_DIR ?? root
    return {
      format: resultsFormat,
      at: new Date().toISOString(),
      commit: output('git', ['-C', root, 'rev-parse', '--short', 'HEAD']) || 'unknown',
      changed: output('git', ['-C', root, 'status', '--porcelain']) !== '',
      machine: {
        cpu: cpus()[0]?.model ?? 'unknown',
        cores: cpus().length,
        memoryBytes: totalmem(),
        arch: arch(),
        kernel: release(),
        node: process.version,
        fileSystem: output('findmnt', ['-n', '-o', 'FSTYPE,OPTIONS', '--target', folder]).replace(/\s+/g, ' ') || 'unknown',
      },
      suiteSeconds: this.#suiteSeconds,
      peers: this.#peers,
      measures: [...this.#measures.values()],
      plots: this.#plots,
      books: this.#books,
    }
  }

  write(file) {
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(file, `${JSON.stringify(this.results(), null, 1)}\n`)
  }
}
