// Reads a configuration file and says on which line each key stands, which the TOML parser itself doesn't tell.
import { readFileSync } from 'node:fs'
import { parse, TomlError, type TomlTable } from 'smol-toml'
import { errnoOf, messageOf, UsherError } from '../base/errors.ts'

export interface TomlFile {
  readonly file: string
  readonly table: TomlTable
  /** 1-based, or undefined where the key isn't written on a line of its own. */
  readonly lineOf: (key: readonly string[]) => number | undefined
}

const partsOf = (dotted: string): string[] =>
  Array.from(
    dotted.matchAll(/\s*(?:"([^"]*)"|'([^']*)'|([A-Za-z0-9_-]+))\s*(?:\.|$)/g),
    (match) => match[1] ?? match[2] ?? match[3] ?? '',
  )

const joined = (parts: readonly string[]): string => JSON.stringify(parts)

/** Lines of keys and of table headers. Lines within multi-line texts are not looked at. */
const linesOf = (text: string): Map<string, number> => {
  const lines = new Map<string, number>()
  // The tables above a key begin, at the latest, on its line.
  const note = (parts: readonly string[], line: number): void => {
    for (let length = parts.length; length > 0; length -= 1) {
      const name = joined(parts.slice(0, length))
      if (!lines.has(name)) lines.set(name, line)
    }
  }
  let header: string[] = []
  let quotes = ''
  for (const [index, line] of text.split('\n').entries()) {
    if (quotes !== '') {
      if (line.includes(quotes)) quotes = ''
      continue
    }
    const head = /^\s*\[([^[\]]+)\]\s*(?:#.*)?$/.exec(line)
    const assignment = /^\s*((?:[A-Za-z0-9_.\s-]|"[^"]*"|'[^']*')+?)\s*=(.*)$/.exec(line)
    if (head) {
      header = partsOf(head[1] ?? '')
      note(header, index + 1)
    } else if (assignment) {
      note([...header, ...partsOf(assignment[1] ?? '')], index + 1)
      const value = assignment[2] ?? ''
      quotes = ['"""', "'''"].find((mark) => value.split(mark).length === 2) ?? ''
    }
  }
  return lines
}

/** Undefined where there is no such file and `optional` allows that. */
export const readTomlFile = (file: string, optional: boolean): TomlFile | undefined => {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    const errno = errnoOf(error)
    if (optional && (errno === 'ENOENT' || errno === 'ENOTDIR')) return undefined
    const reason = errno === 'ENOENT' ? 'there is no such file' : errno === 'EISDIR' ? 'it is a directory' : messageOf(error)
    throw new UsherError('config_invalid', `${file} can't be read: ${reason}`, { details: { file }, cause: error })
  }
  try {
    const table = parse(text)
    const lines = linesOf(text)
    return {
      file,
      table,
      lineOf: (key) => {
        for (let length = key.length; length > 0; length -= 1) {
          const line = lines.get(joined(key.slice(0, length)))
          if (line !== undefined) return line
        }
        return undefined
      },
    }
  } catch (error) {
    if (!(error instanceof TomlError)) throw error
    const reason =
      messageOf(error)
        .split('\n')[0]
        ?.replace(/^Invalid TOML document: /, '') ?? ''
    throw new UsherError(
      'config_invalid',
      `${file}:${error.line}:${error.column}: not valid TOML: ${reason}\n\n${error.codeblock.trimEnd()}`,
      {
        details: { file, line: error.line, column: error.column },
        cause: error,
      },
    )
  }
}
