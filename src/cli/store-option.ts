// The commands that look at a store find it the way `serve` does, and never make one.
import { hostname } from 'node:os'
import type { Command } from 'commander'
import { UsherError } from '../base/errors.ts'
import { loadConfig } from '../config/load.ts'
import type { Config } from '../config/table.ts'
import { ownUser } from '../observe/instance.ts'
import { openStore } from '../store/identity.ts'
import type { OpenedStore } from '../store/identity.ts'

export interface StoreOptions {
  readonly config?: string
  readonly store?: string
  readonly json?: boolean
}

export const withStoreOptions = (command: Command): Command =>
  command
    .option('--store <dir>', 'the shared directory')
    .option('--config <file>', 'configuration file (TOML)')
    .option('--json', 'print JSON')

export const openStoreFor = async ({ json: _json, ...flags }: StoreOptions): Promise<OpenedStore & { directory: string; config: Config }> => {
  const { config } = loadConfig({ flags, env: process.env, cwd: process.cwd() })
  return { ...(await openStore(config.store, { create: false, uuid: config.storeUuid })), directory: config.store, config }
}

/** Who decides: `user@host`, as it stands in what commands write. */
export const operator = (): string => `${ownUser()}@${hostname()}`

/** Of `--wait SECONDS`. */
export const waitMsOf = (seconds: string): number => {
  const ms = Number(seconds) * 1000
  if (seconds.trim() === '' || !(ms >= 0)) throw new UsherError('usage', `--wait ${seconds}: a number of seconds is allowed`)
  return ms
}
