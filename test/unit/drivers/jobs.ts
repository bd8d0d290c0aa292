// Jobs and what else the drivers' tests hand to a driver.
import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { DriverContext, JobSpec, Origin, Submission } from '../../../src/submit/driver.ts'

export const root = fileURLToPath(new URL('../../..', import.meta.url))

export const origin: Origin = { term: 7, host: 'testhost', instance: 'testhost-20261123T040000-abcdef', version: '0.0.0' }

const producer = Math.floor(Math.random() * 2 ** 48)
  .toString(16)
  .padStart(16, '0')
let sequence = 0

/** An id that no other run of the tests uses: Slurm's jobs outlive a test. */
export const newId = (): string => `${producer}-${++sequence}`

export const job = (spec: JobSpec, id = newId()): Submission => ({
  id,
  spec,
  traceparent: undefined,
  specJson: JSON.stringify(spec),
})

export const never = new AbortController().signal

export const contextIn = (storeDirectory: string): DriverContext => ({
  cluster: 'main',
  storeDirectory,
  host: origin.host,
  log: () => {},
})

export const temporaryFolder = (): { path: string; remove: () => void } => {
  const path = mkdtempSync(join(tmpdir(), 'usher-driver-'))
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) }
}

/** The runner that USHER_RUN names (one under sanitizers, say), that node-gyp built, or that is compiled here as it would. */
export const runnerIn = (folder: string): string => {
  const built = process.env['USHER_RUN'] ?? join(root, 'build/Release/usher-run')
  if (existsSync(built)) return built
  const file = join(folder, 'usher-run')
  execFileSync('g++', [
    '-std=c++20',
    '-O1',
    '-Wall',
    '-Wextra',
    '-Wconversion',
    '-Werror',
    '-fno-exceptions',
    '-fno-rtti',
    join(root, 'native/runner/main.cpp'),
    '-o',
    file,
  ])
  return file
}

/** Awaits a condition; fails after a while with what it was. */
export const until = async <T>(
  what: string,
  condition: () => T | undefined | false | Promise<T | undefined | false>,
  withinMs = 20_000,
): Promise<T> => {
  const giveUp = performance.now() + withinMs
  for (;;) {
    const value = await condition()
    if (value !== undefined && value !== false) return value
    if (performance.now() > giveUp) throw new Error(`did not come true: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}
