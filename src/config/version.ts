// The version of this program, as package.json has it. It is stamped on whatever usher writes.
import { readFileSync } from 'node:fs'
import { invariant } from '../base/errors.ts'

const read = (): string => {
  // From src/config and from dist/config alike, the package's root is two folders up.
  const manifest: unknown = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))
  const version = (manifest as { version?: unknown }).version
  invariant(typeof version === 'string', 'package.json has a version')
  return version
}

export const version: string = read()
