// The rules of the house that a machine can check: which way imports point, how files are named and begin, and that
// documents say what the code does.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { basename, dirname, extname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { type CodeInfo, codes } from '../../src/base/errors.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))

const filesIn = (folder: string, endings: readonly string[]): string[] =>
  existsSync(join(root, folder))
    ? readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile() && endings.includes(extname(entry.name)))
        .map((entry) => relative(root, join(entry.parentPath, entry.name)))
        .filter((file) => !/(^|\/)(node_modules|build|dist)\//.test(file))
        .sort()
    : []

const textOf = (file: string): string => readFileSync(join(root, file), 'utf8')

const sources = filesIn('src', ['.ts'])
const nativeSources = filesIn('native', ['.h', '.cpp'])
const tests = filesIn('test', ['.ts'])

/** Comments and texts are not names. Keeps the lines. */
const withoutCommentsAndTexts = (text: string): string =>
  text.replace(/\/\*[^]*?\*\/|\/\/[^\n]*|'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"/g, (found) => found.replace(/[^\n]/g, ' '))

interface Import {
  readonly from: string
  readonly to: string
}

const importsOf = (file: string): string[] => [
  ...Array.from(textOf(file).matchAll(/^(?:import|export)\s[^'"]*?from\s+['"]([^'"]+)['"]/gm), (match) => match[1] ?? ''),
  ...Array.from(
    textOf(file).matchAll(/\bimport\(\s*['"]([^'"]+)['"]\s*\)|^import\s+['"]([^'"]+)['"]/gm),
    (match) => match[1] ?? match[2] ?? '',
  ),
]

/** Within src: from file to file. */
const imports: Import[] = sources.flatMap((from) =>
  importsOf(from)
    .filter((target) => target.startsWith('.'))
    .map((target) => ({ from, to: join(dirname(from), target) })),
)

/** Folders of src, lowest first; those of one row may not import each other but where `sideways` says so. */
const layers: readonly (readonly string[])[] = [
  ['base'],
  ['protocol', 'config', 'observe', 'bench'],
  ['store', 'hosts', 'election', 'transform', 'submit'],
  ['ingest', 'http'],
  ['instance', 'app'],
  ['cli'],
]
/** Where a process of its own begins. */
const processes: ReadonlySet<string> = new Set(['src/submit/submitter.ts'])
/** The store is under the other stages, the submitter runs an election, the app starts instances. */
const sideways: ReadonlySet<string> = new Set([
  'election → store',
  'hosts → store',
  'transform → store',
  'submit → store',
  'submit → election',
  'submit → hosts',
  'app → instance',
])

/** src/app.ts is the subject `app`. */
const subjectOf = (file: string): string => file.split('/')[1]?.replace(/\.ts$/, '') ?? ''
const levelOf = (file: string): number => layers.findIndex((layer) => layer.includes(subjectOf(file)))

const mayImport = ({ from, to }: Import): boolean => {
  const [subject, other] = [subjectOf(from), subjectOf(to)]
  if (subject === other) return true
  if (subject === 'client') return other === 'base' || other === 'protocol'
  // Commands that send jobs are producers.
  if (other === 'client') return subject === 'cli'
  const [level, otherLevel] = [levelOf(from), levelOf(to)]
  return otherLevel >= 0 && (otherLevel < level || (otherLevel === level && sideways.has(`${subject} → ${other}`)))
}

describe('the structure of the sources', () => {
  it('has sources to look at', () => {
    expect(sources.length).toBeGreaterThan(20)
    expect(imports.length).toBeGreaterThan(20)
  })

  it('knows each folder of src', () => {
    const known = new Set([...layers.flat(), 'client'])
    expect(sources.filter((file) => !known.has(subjectOf(file)))).toEqual([])
  })

  it('imports in one direction: base ← protocol, config, observe, bench ← store, hosts, election, transform, submit ← ingest, http ← instance, app ← cli', () => {
    expect(imports.filter((each) => !mayImport(each)).map(({ from, to }) => `${from} imports ${to}`)).toEqual([])
  })

  it('imports files that exist', () => {
    expect(imports.filter(({ to }) => !existsSync(join(root, to))).map(({ from, to }) => `${from} imports ${to}`)).toEqual([])
  })

  it('keeps the addon away from clients, the protocol and the configuration, which must work where it is not built', () => {
    const forbidden = new Set(['client', 'protocol', 'config'])
    const reached = (start: string, seen = new Set<string>()): Set<string> => {
      if (!seen.has(start)) {
        seen.add(start)
        for (const { from, to } of imports) if (from === start) reached(to, seen)
      }
      return seen
    }
    const starts = sources.filter((file) => forbidden.has(subjectOf(file)))
    expect(starts.filter((file) => reached(file).has('src/base/native.ts'))).toEqual([])
  })

  it('loads native code in src/base/native.ts alone', () => {
    const loaders = sources.filter((file) =>
      /\bnode-gyp-build\b|\bprocess\.dlopen\b|['"][^'"]*\.node['"]/.test(textOf(file).replace(/\/\/[^\n]*/g, '')),
    )
    expect(loaders).toEqual(['src/base/native.ts'])
  })

  it('has no default exports', () => {
    expect(sources.filter((file) => /^export default\b/m.test(textOf(file)))).toEqual([])
  })

  it('ends the process in src/cli alone, and where a process begins', () => {
    const ends = sources.filter((file) => /\bprocess\.exit\(/.test(withoutCommentsAndTexts(textOf(file))))
    expect(ends.filter((file) => subjectOf(file) !== 'cli' && !processes.has(file))).toEqual([])
  })
})

describe('files', () => {
  it('have names in kebab-case', () => {
    const all = [...sources, ...nativeSources, ...tests]
    expect(
      all.filter((file) => !/^[a-z0-9]+(-[a-z0-9]+)*(\.test|\.fuzz|\.bench|_test|_fuzz)?\.(ts|h|cpp)$/.test(basename(file))),
    ).toEqual([])
  })

  it('are subjects: no utils, helpers, common or lib', () => {
    const parts = [...sources, ...nativeSources, ...tests].filter((file) =>
      file.split(/[/.]/).some((part) => /^(utils?|helpers?|common|lib|misc)$/.test(part)),
    )
    expect(parts).toEqual([])
  })

  it('open with a comment that says what they own', () => {
    const bare = [...sources, ...nativeSources.filter((each) => each.endsWith('.h'))].filter(
      (file) => !/^(#![^\n]*\n)?(#pragma once\s+)?\/[/*]/.test(textOf(file)),
    )
    expect(bare).toEqual([])
  })

  it('are short enough to be one idea', () => {
    const longest = (files: readonly string[], linesMax: number): { file: string; lines: number }[] =>
      files.map((file) => ({ file, lines: textOf(file).split('\n').length })).filter(({ lines }) => lines > linesMax)
    expect(longest(sources, 420)).toEqual([])
    expect(longest(nativeSources, 800)).toEqual([])
  })

  it('name nothing "lock"', () => {
    const words = (identifier: string): string[] => identifier.split(/_|(?<=[a-z0-9])(?=[A-Z])/).map((word) => word.toLowerCase())
    const guilty = sources.flatMap((file) =>
      withoutCommentsAndTexts(textOf(file))
        .split('\n')
        .flatMap((line, index) => {
          const names = line.match(/[A-Za-z_]\w*/g) ?? []
          return names.some((name) => words(name).some((word) => /^(un)?lock(s|ed|ing)?$/.test(word)))
            ? [`${file}:${index + 1}`]
            : []
        }),
    )
    expect(guilty).toEqual([])
    expect(sources.filter((file) => /(^|[/-])lock/.test(file))).toEqual([])
  })
})

describe('docs/protocol.md', () => {
  it('has the codes of src/base/errors.ts, with their numbers and whether to try again', () => {
    const section = /^## Codes$([^]*?)(?=^## |$(?![^]))/m.exec(textOf('docs/protocol.md'))?.[1] ?? ''
    const documented = Array.from(
      section.matchAll(/^\| (\d+) \| (\w+) \| ([A-Z, ]+) \| (yes|no) \|/gm),
      ([, number, name, , retry]) => [name, { wire: Number(number), retryable: retry === 'yes' }],
    )
    const actual = Object.entries<CodeInfo>(codes).flatMap(([name, { wire, retryable }]) =>
      wire === undefined ? [] : [[name, { wire, retryable }]],
    )
    expect(actual.length).toBeGreaterThan(20)
    expect(Object.fromEntries(documented)).toEqual(Object.fromEntries(actual))
    expect(documented).toHaveLength(actual.length)
  })
})
