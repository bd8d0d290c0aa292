// The configuration in force with the origin of each value, as it may be shown to whoever may read: what could hide a secret
// (arguments of programs, queries of URLs) is left out. Secrets proper are never values: keys name the files that hold them.

import type { TomlValue } from '../config/kinds.ts'
import type { LoadedConfig } from '../config/load.ts'
import { showOrigin } from '../config/sources.ts'

export const leftOut = '(left out)'

const withoutQuery = (text: string): string => {
  if (!/^[a-z][a-z0-9+.-]*:\/\//i.test(text)) return text
  const mark = text.search(/[?#]/)
  return mark < 0 ? text : `${text.slice(0, mark)}?${leftOut}`
}

const shown = (value: TomlValue): TomlValue => {
  if (typeof value === 'string') return withoutQuery(value)
  if (typeof value !== 'object') return value
  return value.length > 1 ? [value[0] ?? '', leftOut] : value
}

export interface EffectiveConfig {
  readonly digest: string
  readonly files: readonly string[]
  readonly keys: Readonly<Record<string, { readonly value: TomlValue; readonly origin: string }>>
}

export const effectiveConfig = (loaded: LoadedConfig): EffectiveConfig => ({
  digest: loaded.config.digest,
  files: loaded.files,
  keys: Object.fromEntries(
    [...loaded.shown].map(([key, value]) => [key, { value: shown(value), origin: showOrigin(loaded.origins.get(key) ?? { kind: 'default' }) }]),
  ),
})
