// The configuration as text: what is in force as TOML with origins, and the tables of docs/configuration.md.
import type { TomlValue } from './kinds.ts'
import type { LoadedConfig } from './load.ts'
import { showOrigin } from './sources.ts'
import { driverKeys, isComputed, type Key, sections, topKeys } from './table.ts'

/** JSON's texts are TOML's, but for U+007F, which TOML wants escaped. */
const quoted = (text: string): string => JSON.stringify(text).replaceAll('\u007f', '\\u007f')

const isList = (value: TomlValue): value is readonly string[] => Array.isArray(value)

export const tomlText = (value: TomlValue): string => {
  if (isList(value)) return `[${value.map(quoted).join(', ')}]`
  return typeof value === 'string' ? quoted(value) : String(value)
}

/** A valid file that configures the same, each line with its origin behind it. */
export const renderConfig = ({ config, origins, shown, files }: LoadedConfig): string => {
  const lines: { text: string; origin?: string }[] = []
  let header = ''
  for (const [full, value] of shown) {
    const dot = full.lastIndexOf('.')
    const section = dot < 0 ? '' : full.slice(0, dot)
    if (section !== header) lines.push({ text: '' }, { text: `[${section}]` })
    header = section
    const origin = origins.get(full)
    lines.push({
      text: `${full.slice(dot + 1)} = ${tomlText(value)}`,
      ...(origin === undefined ? {} : { origin: showOrigin(origin) }),
    })
  }
  const width = Math.min(48, Math.max(...lines.map(({ text }) => text.length)))
  return [
    `# digest ${config.digest}; files read: ${files.length === 0 ? 'none' : files.join(', ')}`,
    ...lines.map(({ text, origin }) => (origin === undefined ? text : `${text.padEnd(width)}  # ${origin}`)),
    '',
  ].join('\n')
}

const cell = (text: string): string => text.replaceAll('|', '\\|')

const defaultCell = (key: Key): string => {
  if (isComputed(key.default)) return key.default.text
  if (key.required) return 'required'
  return key.default === undefined ? '' : `\`${tomlText(key.default as TomlValue)}\``
}

const keyTable = (group: Readonly<Record<string, Key>>): string =>
  [
    '| key | default | allowed | meaning |',
    '| --- | --- | --- | --- |',
    ...Object.entries(group).map(
      ([name, key]) =>
        `| \`${name}\` | ${cell(defaultCell(key))} | ${cell(key.kind.brief ?? key.kind.allowed)} | ${cell(key.description)} |`,
    ),
  ].join('\n')

/** The tables of docs/configuration.md by the name that marks their place there. */
export const documentedTables = (): ReadonlyMap<string, string> =>
  new Map<string, string>([
    ['top', keyTable(topKeys)],
    ...Object.entries(sections).map(([name, group]): [string, string] => [name, keyTable(group)]),
    ...Object.entries(driverKeys).map(([name, group]): [string, string] => [`driver ${name}`, keyTable(group)]),
  ])
