// The commands that look at a store find it the way `serve` does, and never make one.
import type { Command } from 'commander'
import { loadConfig } from '../config/load.ts'
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

export const openStoreFor = async ({ json: _json, ...flags }: StoreOptions): Promise<OpenedStore & { directory: string }> => {
  const { config } = loadConfig({ flags, env: process.env, cwd: process.cwd() })
  return { ...(await openStore(config.store, { create: false })), directory: config.store }
}
