// usher's transform, XML to JSON lines, against parsers of others on the same segment: those of C and C++ parse and count only;
// those of JavaScript make the same lines of JSON (fast-xml-parser) or count (saxes).
import { execFileSync } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { XMLParser } from 'fast-xml-parser'
import { SaxesParser } from 'saxes'
import { native } from '../../dist/base/native.js'
import { sampleSegment } from '../contest.mjs'
import { say } from '../recorder.mjs'
import { root, run } from '../server.mjs'

/** The best of many runs, as in the C++ program: what the machine does beside them only ever makes one slower. */
const bestRate = (work, bytes, seconds) => {
  work()
  let best = Infinity
  for (const until = performance.now() + seconds * 1000; performance.now() < until; ) {
    const begun = performance.now()
    work()
    best = Math.min(best, performance.now() - begun)
  }
  return bytes / 2 ** 20 / (best / 1000)
}

const nativeParsers = async () => {
  try {
    await run('make', ['-s', '-C', join(root, 'bench', 'native'), 'parsers'])
    return join(root, 'build-test', 'bench', 'parsers')
  } catch (error) {
    say(`  the parsers of C and C++ can't be built (bench/peers-install installs them): ${error.stderr?.trim().split('\n')[0]}`)
    return null
  }
}

export const parsers = async (recorder, { rounds }) => {
  const xml = await sampleSegment()
  const text = xml.toString('utf8')
  const parser = new XMLParser({ ignoreAttributes: false, parseTagValue: false, parseAttributeValue: false })
  const ours = {
    usher: () => native.transform(xml),
    'fast-xml-parser + JSON.stringify': () => parser.parse(text).segment.job.map((job) => JSON.stringify(job)).join('\n'),
    saxes: () => {
      const sax = new SaxesParser()
      let counted = 0
      sax.on('opentag', () => (counted += 1))
      sax.on('text', (part) => (counted += part.length))
      sax.write(text).close()
      return counted
    },
  }
  const program = await nativeParsers()
  const folder = await mkdtemp(join(process.env.USHER_BENCH_DIR ?? root, '.bench-'))
  try {
    const file = join(folder, 'segment.xml')
    await writeFile(file, xml)
    for (let round = 0; round < rounds; round += 1) {
      const rates = {}
      for (const [name, work] of Object.entries(ours)) rates[name] = bestRate(work, xml.length, 0.5)
      if (program !== null) {
        const { counted, ...theirs } = JSON.parse(execFileSync(program, [file, '0.3'], { encoding: 'utf8' }))
        if (!(counted > 0)) throw new Error('the parsers of C and C++ have found nothing')
        Object.assign(rates, theirs)
      }
      for (const [name, rate] of Object.entries(rates)) {
        recorder.add(`parsers/${name}`, rate, { what: name === 'usher' ? 'XML to JSON lines, one core' : 'the same segment', unit: 'MiB/s', better: 'higher' })
        if (name !== 'usher') recorder.add(`parsers/usher ÷ ${name}`, rates.usher / rate, { what: `usher's transform against ${name}, in the same round`, unit: '×', better: 'higher' })
      }
    }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}
