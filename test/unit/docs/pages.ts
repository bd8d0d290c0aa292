// The documents as tests look at them: their text, the blocks of code in them, their headings.
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = fileURLToPath(new URL('../../..', import.meta.url))
export const textOf = (file: string): string => readFileSync(join(root, file), 'utf8')

export const pages: readonly string[] = [
  'README.md',
  'CHANGELOG.md',
  ...readdirSync(join(root, 'docs'))
    .filter((name) => name.endsWith('.md'))
    .sort()
    .map((name) => `docs/${name}`),
]

export interface Block {
  /** What stands behind the three backticks; '' for nothing. */
  readonly language: string
  readonly text: string
  /** For messages: file and line. */
  readonly where: string
}

export const blocksOf = (file: string): Block[] => {
  const blocks: Block[] = []
  let open: { language: string; lines: string[]; where: string } | null = null
  for (const [index, line] of textOf(file).split('\n').entries()) {
    const fence = /^\s*```(\w*)\s*$/.exec(line)
    if (fence === null) open?.lines.push(line)
    else if (open === null) open = { language: fence[1] ?? '', lines: [], where: `${file}:${index + 1}` }
    else {
      blocks.push({ language: open.language, text: open.lines.join('\n'), where: open.where })
      open = null
    }
  }
  if (open !== null) throw new Error(`${open.where}: the block of code has no end`)
  return blocks
}

export const allBlocks: readonly Block[] = pages.flatMap(blocksOf)

export const proseOf = (file: string): string => {
  let inside = false
  return textOf(file)
    .split('\n')
    .filter((line) => {
      const fence = /^\s*```/.test(line)
      if (fence) inside = !inside
      return !fence && !inside
    })
    .join('\n')
}

/** What stands between backticks outside of blocks. */
export const codeSpansOf = (file: string): string[] => Array.from(proseOf(file).matchAll(/`([^`\n]+)`/g), (match) => match[1] ?? '')

/** As GitHub makes the anchors of headings. */
export const anchorsOf = (file: string): Set<string> =>
  new Set(
    Array.from(proseOf(file).matchAll(/^#+ +(.+)$/gm), (match) =>
      (match[1] ?? '')
        .toLowerCase()
        .replace(/[^\p{L}\p{N} _-]/gu, '')
        .trim()
        .replace(/ /g, '-'),
    ),
  )

/** The cells of each row of the tables under a heading, without head and rule. */
export const rowsUnder = (file: string, heading: string): string[][] => {
  const text = textOf(file)
  const start = text.indexOf(`\n${heading}\n`)
  if (start < 0) throw new Error(`${file} has no heading '${heading}'`)
  const level = heading.indexOf(' ')
  const rest = text.slice(start + heading.length + 2)
  const end = rest.search(new RegExp(`^#{1,${level}} `, 'm'))
  const lines = (end < 0 ? rest : rest.slice(0, end)).split('\n')
  const rows: string[][] = []
  for (const [index, line] of lines.entries()) {
    if (!line.startsWith('|') || /^\|[ |:-]+\|$/.test(line) || /^\|[ |:-]+\|$/.test(lines[index + 1] ?? '')) continue
    rows.push(line.slice(1, -1).split('|').map((cell) => cell.trim()))
  }
  return rows
}
