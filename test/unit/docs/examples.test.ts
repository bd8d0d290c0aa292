// Examples in documents do what they look like: configuration loads, JSON parses, commands exist with their options.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Command } from 'commander'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createProgram } from '../../../src/cli/program.ts'
import { loadConfig } from '../../../src/config/load.ts'
import { parseJobSpec } from '../../../src/protocol/parse-job-spec.ts'
import { allBlocks, codeSpansOf, pages, root, textOf } from './pages.ts'

const ofLanguage = (language: string) => allBlocks.filter((block) => block.language === language)

describe('TOML in documents', () => {
  let folder: string
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'usher-docs-'))
  })
  afterAll(() => {
    rmSync(folder, { recursive: true })
  })

  it('is there', () => {
    expect(ofLanguage('toml').length).toBeGreaterThan(2)
  })

  it.each([...ofLanguage('toml'), { text: textOf('examples/usher.toml'), where: 'examples/usher.toml' }])('is a configuration that loads: $where', ({ text }) => {
    const file = join(folder, 'usher.toml')
    writeFileSync(file, text)
    const { config, files } = loadConfig({ flags: { config: file }, env: {}, cwd: folder, systemFile: join(folder, 'none.toml') })
    expect(files).toEqual([file])
    expect(Object.keys(config.clusters).length).toBeGreaterThan(0)
  })
})

describe('JSON in documents', () => {
  it('is there', () => {
    expect(ofLanguage('json').length).toBeGreaterThan(2)
  })

  it.each(ofLanguage('json'))('parses, line for line: $where', ({ text }) => {
    for (const line of text.split('\n')) expect(typeof JSON.parse(line)).toBe('object')
  })

  it('that is a job is taken', () => {
    const jobs = ofLanguage('json')
      .map(({ text }) => JSON.parse(text.split('\n')[0] ?? '') as Record<string, unknown>)
      .filter((value) => 'executable' in value)
    expect(jobs.length).toBeGreaterThan(0)
    for (const job of jobs) expect(parseJobSpec(job).problem).toBeUndefined()
  })
})

/** The words of one command as a shell would make them; null where there is more shell in it than a test should know. */
const wordsOf = (line: string): string[] | null => {
  const words: string[] = []
  let word: string | null = null
  let quote = ''
  for (const character of line) {
    if (quote !== '') {
      if (character === quote) quote = ''
      else word = (word ?? '') + character
    } else if (character === "'" || character === '"') {
      quote = character
      word ??= ''
    } else if (/\s/.test(character)) {
      if (word !== null) words.push(word)
      word = null
    } else if (character === '#' && word === null) break
    else if (/[|&;<>$]/.test(character)) break
    else word = (word ?? '') + character
  }
  if (quote !== '') return null
  if (word !== null) words.push(word)
  return words
}

/** `usher …` in blocks, also behind npx, a pipe, or `ExecStart=` and a path. */
const commandLines: readonly { readonly line: string; readonly where: string }[] = allBlocks
  .filter(({ language }) => ['sh', 'ini', ''].includes(language))
  .flatMap(({ text, where }) =>
    text.split('\n').flatMap((line) => {
      const found = /^\s*(?:\$ |ExecStart=\S*\/|[^#]*\| )?(?:npx )?usher (?=[a-z-])(.*)$/.exec(line)
      return found === null ? [] : [{ line: found[1] ?? '', where }]
    }),
  )
  // Lines of output that begin with the name.
  .filter(({ line }) => !/^\s|^addon/.test(line))

/** In running text a command may be cut short: its name and its options are looked at, not what it needs. */
const mentions: readonly { readonly line: string; readonly where: string }[] = pages.flatMap((page) =>
  codeSpansOf(page)
    .filter((span) => /^usher [a-z]/.test(span))
    .map((span) => ({ line: span.slice('usher '.length), where: page })),
)

/** The command that words name, and what is left of them. */
const pathOf = (program: Command, words: readonly string[]): { command: Command; rest: readonly string[] } => {
  let command = program
  let rest = words
  for (;;) {
    const next = command.commands.find((one) => one.name() === rest[0])
    if (next === undefined) return { command, rest }
    command = next
    rest = rest.slice(1)
  }
}

const unknownIn = (line: string): string[] => {
  // `dead retry|discard` names two.
  const alternatives = /^(\w+(?: \w+)?)((?:\|\w+)+)(.*)$/.exec(line)
  const lines =
    alternatives === null
      ? [line]
      : [alternatives[1] ?? '', ...(alternatives[2] ?? '').slice(1).split('|').map((name) => (alternatives[1] ?? '').replace(/\w+$/, name))].map(
          (start) => start + (alternatives[3] ?? ''),
        )
  return lines.flatMap((one) => {
    const words = wordsOf(one) ?? []
    const { command, rest } = pathOf(createProgram(), words)
    if (command.parent === null) return [`no command '${words[0] ?? ''}'`]
    if (command.commands.length > 0 && rest[0] !== undefined && !rest[0].startsWith('-')) return [`no command '${words.join(' ')}'`]
    const options = new Set(command.options.flatMap(({ long, short }) => [long, short]))
    return rest.filter((word) => word.startsWith('--') && !options.has(word)).map((word) => `${command.name()} has no option ${word}`)
  })
}

describe('commands in documents', () => {
  it('are there', () => {
    expect(commandLines.length).toBeGreaterThan(12)
    expect(mentions.length).toBeGreaterThan(20)
  })

  it.each(commandLines)('parse: usher $line ($where)', async ({ line }) => {
    const words = wordsOf(line)
    expect(words, 'quotes are closed').not.toBeNull()
    expect(unknownIn(line)).toEqual([])
    const program = createProgram({ write: () => undefined }, { write: () => undefined })
    let ran = false
    const leaves = (command: Command): Command[] => [command, ...command.commands.flatMap(leaves)]
    for (const command of leaves(program)) {
      command.exitOverride()
      command.action(() => {
        ran = true
      })
    }
    await program.parseAsync(words ?? [], { from: 'user' })
    expect(ran).toBe(true)
  })

  it.each(mentions)('that are mentioned exist: usher $line ($where)', ({ line }) => {
    expect(unknownIn(line)).toEqual([])
  })
})

describe('TypeScript in documents', () => {
  it('imports what the package exports', async () => {
    const manifest = JSON.parse(textOf('package.json')) as { exports: Record<string, { default?: string } | string> }
    const imports = ofLanguage('ts').flatMap(({ text }) => Array.from(text.matchAll(/import \{ ([^}]+) \} from 'usher([^']*)'/g)))
    expect(imports.length).toBeGreaterThan(0)
    for (const [, names = '', path = ''] of imports) {
      const entry = manifest.exports[`.${path}`]
      const file = typeof entry === 'string' ? entry : entry?.default
      expect(file, `package.json exports .${path}`).toBeDefined()
      const source = (file ?? '').replace('./dist/', 'src/').replace(/\.js$/, '.ts')
      const exported = (await import(join(root, source))) as Record<string, unknown>
      for (const name of names.split(', ')) expect(exported).toHaveProperty(name)
    }
  })
})
