// What documents name is there: files, headings, tests, packages, messages, scripts.
import { existsSync, readdirSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { describe, expect, it } from 'vitest'
import { allBlocks, anchorsOf, codeSpansOf, pages, proseOf, root, rowsUnder, textOf } from './pages.ts'

const manifest = JSON.parse(textOf('package.json')) as {
  version: string
  scripts: Record<string, string>
  dependencies: Record<string, string>
  devDependencies: Record<string, string>
  optionalDependencies?: Record<string, string>
}

const filesUnder = (folder: string): string[] =>
  readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(root.length))

describe('links', () => {
  it.each(pages)('of %s lead to files and headings that are there', (page) => {
    const broken: string[] = []
    let links = 0
    for (const [, target = ''] of proseOf(page).matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^https?:/.test(target)) continue
      links += 1
      const [path = '', anchor] = target.split('#')
      const file = path === '' ? page : normalize(join(dirname(page), path))
      if (!existsSync(join(root, file))) broken.push(target)
      else if (anchor !== undefined && !anchorsOf(file).has(anchor)) broken.push(target)
    }
    expect(broken).toEqual([])
    if (page === 'README.md') expect(links).toBeGreaterThan(8)
  })
})

describe('files', () => {
  it.each(pages)('that %s names are there', (page) => {
    const named = codeSpansOf(page).filter((span) => /^(src|native|test|docs|examples|bench)\/[\w./*-]+$/.test(span))
    const missing = named.filter((span) => {
      const path = span.replace(/\/$/, '')
      if (!path.includes('*')) return !existsSync(join(root, path))
      const pattern = new RegExp(`^${path.replace(/\./g, '\\.').replace(/\*/g, '[^/]*')}$`)
      return !filesUnder(dirname(path)).some((file) => pattern.test(file))
    })
    expect(missing).toEqual([])
    if (page === 'docs/architecture.md') expect(named.length).toBeGreaterThan(40)
  })

  it('are named without a path of the machine they were written on', () => {
    const guilty = pages.filter((page) => /\/(work|tmp\/usher|root)\b/.test(textOf(page)))
    expect(guilty).toEqual([])
  })
})

describe('the argument in docs/architecture.md', () => {
  const claims = Array.from(textOf('docs/architecture.md').matchAll(/\*([^*\n]+)\* in `((?:test|native)\/[^`]+)`/g), ([, title, file]) => ({
    title: title ?? '',
    file: file ?? '',
  }))

  it('names tests', () => {
    expect(claims.length).toBeGreaterThan(6)
  })

  it.each(claims)('names a test that is there: $title', ({ title, file }) => {
    expect(textOf(file)).toContain(title)
  })
})

describe('packages', () => {
  const named = rowsUnder('docs/architecture.md', '## Dependencies').map(([name, why]) => ({ name: name?.replace(/`/g, '') ?? '', why: why ?? '' }))

  it('are each justified once, and no others', () => {
    const expected = Object.keys({ ...manifest.dependencies, ...manifest.optionalDependencies, ...manifest.devDependencies }).sort()
    expect(named.map(({ name }) => name).sort()).toEqual(expected)
    expect(named.filter(({ why }) => why.length < 10)).toEqual([])
  })
})

describe('scripts of package.json', () => {
  it('that documents name are there', () => {
    const texts = [...pages.flatMap(codeSpansOf), ...allBlocks.map(({ text }) => text)].join('\n')
    const named = new Set(Array.from(texts.matchAll(/\bnpm (?:run (?:--silent )?)?([a-z]+(?::[a-z]+)?)\b/g), (match) => match[1] ?? ''))
    expect(named).toContain('demo')
    expect([...named].filter((name) => name !== 'ci' && !(name in manifest.scripts))).toEqual([])
  })
})

describe('the version', () => {
  it('has an entry in CHANGELOG.md and is the one that README.md speaks of', () => {
    expect(textOf('CHANGELOG.md')).toContain(`\n## ${manifest.version}\n`)
    expect(textOf('README.md')).toContain(`Version ${manifest.version}:`)
  })
})

describe('docs/operations.md', () => {
  const sources = filesUnder('src')
    .filter((file) => file.endsWith('.ts'))
    .map(textOf)
    .join('\n')
    // A message in single quotes has its apostrophes escaped.
    .replace(/\\'/g, "'")
  /** What of a message doesn't differ from time to time. */
  const fixedParts = (message: string): string[] =>
    message
      .split('…')
      .map((part) => part.trim())
      .filter((part) => part.length > 2)

  it.each(['## What the log says', '## usher status'])('has messages that are in the sources (%s)', (heading) => {
    const messages = rowsUnder('docs/operations.md', heading)
      .flatMap(([message]) => Array.from((message ?? '').matchAll(/`([^`]+)`/g), (match) => match[1] ?? ''))
      .filter((message) => message.includes(' '))
    expect(messages.length).toBeGreaterThan(4)
    const unknown = messages.flatMap((message) => fixedParts(message).filter((part) => !sources.includes(part)))
    expect(unknown).toEqual([])
  })

  it('has every exit status that a command can end with, and no other', async () => {
    const { codes } = await import('../../../src/base/errors.ts')
    const documented = rowsUnder('docs/operations.md', '## Exit statuses').map(([status]) => Number(status))
    // 1 is no failure of a command: `bench compare` has found a loss.
    expect(documented).toEqual([...new Set([0, 1, ...Object.values(codes).map(({ exit }) => exit)])].sort((a, b) => a - b))
  })

  it('has every role that an instance can have', () => {
    const type = /export type Role = ([^\n]+)/.exec(textOf('src/observe/instance.ts'))?.[1] ?? ''
    const roles = [...Array.from(type.matchAll(/'(\w+)'/g), (match) => match[1] ?? ''), 'gone'].sort()
    const table = rowsUnder('docs/operations.md', '## usher status').map(([role]) => (role ?? '').replace(/`/g, ''))
    expect(table.filter((cell) => /^\w+$/.test(cell)).sort()).toEqual(roles)
  })
})

describe('docs/store.md', () => {
  it('has every kind of record that a ledger can hold, and no other', () => {
    const source = textOf('src/submit/records.ts')
    const kinds = Array.from(source.matchAll(/readonly k: '(\w+)'/g), (match) => match[1] ?? '').sort()
    expect(kinds.length).toBeGreaterThan(10)
    const documented = rowsUnder('docs/store.md', '## Ledger')
      .slice(0, kinds.length)
      .filter((row) => row.length === 3 && (row[0] ?? '').startsWith('`'))
      .flatMap(([kind]) => Array.from((kind ?? '').matchAll(/`(\w+)`/g), (match) => match[1] ?? ''))
    expect(documented.sort()).toEqual(kinds)
  })

  it('has every key of the presence file', () => {
    const source = textOf('src/observe/instance.ts')
    const declared = ['ProcessIdentity', 'InstancePresence'].flatMap((name) => {
      const body = new RegExp(`export interface ${name}[^{]*\\{([^]*?)\\n\\}`).exec(source)?.[1] ?? ''
      return Array.from(body.matchAll(/readonly (\w+):/g), (match) => match[1] ?? '')
    })
    expect(declared.length).toBeGreaterThan(15)
    const documented = rowsUnder('docs/store.md', '## Presence').flatMap(([keys]) => Array.from((keys ?? '').matchAll(/`(\w+)`/g), (match) => match[1] ?? ''))
    expect(documented.sort()).toEqual(declared.sort())
  })
})
