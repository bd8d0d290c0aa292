// The transform against an independent parser: the same documents, the same jobs, to the byte.
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { native } from '../../src/base/native.ts'
import { chooser, freely, linesBySaxes, type Node, parsedBySaxes, plainly, segment } from './segment-documents.ts'

const seed = process.env['SEED'] === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(process.env['SEED'])
// fast-check prints it, with the path of the smallest counterexample, when a property fails.
const options = (numRuns: number) => ({ seed, numRuns })
const written = fc.tuple(segment, fc.integer()).map(([root, choices]) => freely(root, chooser(choices)))

// The fast way needs so much of the document behind a job.
const tail = `<!--${' '.repeat(2000)}-->`
const lines = (xml: string): string => {
  const { failure, jsonl } = native.transform(Buffer.from(xml))
  expect(failure).toBeNull()
  return jsonl.toString()
}

describe('transform', () => {
  it("writes what saxes and docs/store.md make of documents in all the freedom of XML's syntax", () => {
    fc.assert(fc.property(written, xml => {
      expect(lines(xml)).toBe(linesBySaxes(xml, native.xxh64))
    }), options(600))
  })

  it('writes the same of documents as its own writer has them, fast or not', () => {
    fc.assert(fc.property(segment, root => {
      const xml = plainly(root)
      const expected = linesBySaxes(xml, native.xxh64)
      expect(lines(xml)).toBe(expected)
      expect(lines(xml + tail)).toBe(expected)
    }), options(300))
  })

  it('gives the same lines for a document written plainly and freely', () => {
    fc.assert(fc.property(segment, fc.integer(), (root, choices) => {
      expect(lines(freely(root, chooser(choices)))).toBe(lines(plainly(root) + tail))
    }), options(300))
  })

  it('refuses, with a line and a column, whatever saxes refuses', () => {
    const pieces = ['<', '>', '&', '"', "'", '/', '=', ' ', '\n', ']]>', '--', '?>', '<!', '<?', '</', '&#0;', '&x;', '\u0001', '\ufffe', 'xmlns:a="b"', ':', '-', 'a']
    let refused = 0
    fc.assert(fc.property(written, fc.array(fc.tuple(fc.nat(), fc.nat(3), fc.nat(), fc.integer({ min: 1, max: 12 })), { minLength: 1, maxLength: 3 }), (xml, changes) => {
      let changed = xml
      for (const [place, kind, what, length] of changes) {
        const at = place % changed.length
        const piece = pieces[what % pieces.length] as string
        if (kind === 0) changed = changed.slice(0, at) + changed.slice(at + length)
        else if (kind === 1) changed = changed.slice(0, at) + piece + changed.slice(at)
        else if (kind === 2) changed = changed.slice(0, at) + piece + changed.slice(at + 1)
        else changed = changed.slice(0, at) + changed.slice(at, at + length) + changed.slice(at)
      }
      // Half of a surrogate pair has no bytes in UTF-8.
      if (/\p{Surrogate}/u.test(changed)) return
      let bySaxes = true
      try {
        parsedBySaxes(changed)
      } catch {
        bySaxes = false
      }
      const result = native.transform(Buffer.from(changed))
      if (!bySaxes) {
        refused++
        expect(result.failure).not.toBeNull()
      }
      if (result.failure !== null) {
        expect(result.jsonl).toHaveLength(0)
        expect(result.failure.line).toBeGreaterThan(0)
        expect(result.failure.column).toBeGreaterThan(0)
        expect(result.failure.reason).not.toBe('')
      }
    }), options(1500))
    expect(refused).toBeGreaterThan(300)
  })

  it('refuses a document cut at any byte, with a reason', () => {
    fc.assert(fc.property(written, xml => {
      const bytes = Buffer.from(xml)
      const root = bytes.lastIndexOf('>', xml.trimEnd().endsWith('-->') || xml.trimEnd().endsWith('?>') ? bytes.lastIndexOf('</') + 1 : undefined)
      for (let length = 0; length < root; length += 1 + (length % 7)) {
        expect(native.transform(bytes.subarray(0, length)).failure?.reason ?? '').not.toBe('')
      }
    }), options(20))
  })

  it('answers bytes that are not UTF-8 with their place', () => {
    const [root] = fc.sample(segment, { seed, numRuns: 1 }) as [Node]
    const [first] = plainly({ ...root, content: [] }).split('</segment>') as [string]
    // The root's attributes may hold no raw line end, so the text begins on line 3.
    const xml = Buffer.concat([Buffer.from(`${first}  `), Buffer.from([0xff]), Buffer.from('</segment>')])
    expect(native.transform(xml).failure).toMatchObject({ code: 'xml_malformed', line: 3, column: 3 })
  })
})

describe('recoverSegment', () => {
  it('finds the whole commits of a segment torn at any byte', () => {
    const [root] = fc.sample(segment.filter(candidate => candidate.content.length > 2), { seed, numRuns: 1 }) as [Node]
    const closing = '</segment>\n'
    const head = plainly({ ...root, content: [] }).slice(0, -closing.length)
    let text = head
    const pad = (): void => {
      const over = Buffer.byteLength(text) % 4096
      if (over > 0) text += '\n'.padStart(4096 - over)
    }
    const commits: { end: number; jobs: number }[] = []
    for (const [index, job] of (root.content as readonly Node[]).entries()) {
      text += plainly({ ...root, content: [job] }).slice(head.length, -closing.length)
      const before = Buffer.from(text)
      const jobs = index + 1
      text += `<?usher-commit jobs="${jobs}" bytes="${before.length}" crc32c="${native.crc32c(before).toString(16).padStart(8, '0')}"?>\n`
      commits.push({ end: Buffer.byteLength(text) - 1, jobs })
      pad()
    }
    text += closing
    const closed = Buffer.byteLength(text) - 1
    pad()
    expect(commits.length).toBeGreaterThan(2)
    const bytes = Buffer.from(text)
    for (let length = 0; length <= bytes.length; length++) {
      const last = commits.findLast(commit => commit.end <= length) ?? { end: 0, jobs: 0 }
      expect(native.recoverSegment(bytes.subarray(0, length)))
        .toEqual({ bytes: last.end, jobs: last.jobs, sealed: length >= closed, corrupt: false })
    }
    const recovered = native.transform(Buffer.concat([bytes.subarray(0, commits[1]?.end), Buffer.from('\n</segment>\n')]))
    expect(recovered).toMatchObject({ failure: null, jobs: commits[1]?.jobs })
  })
})
