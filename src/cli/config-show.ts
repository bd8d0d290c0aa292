// `usher config show`: what is in force and where each value comes from.
import type { Command } from 'commander'
import { loadConfig } from '../config/load.ts'
import { renderConfig } from '../config/render.ts'
import { showOrigin } from '../config/sources.ts'
import { printJson } from './output.ts'

interface ConfigShowOptions {
  readonly config?: string
  readonly store?: string
  readonly listen?: string
  readonly json?: boolean
}

export const registerConfig = (program: Command): void => {
  const config = program.command('config').summary('show the configuration').description('Shows the configuration.')
  config
    .command('show')
    .summary('print what is in force, with the origin of each value')
    .description('Prints what is in force as a TOML file, with the origin of each value.')
    .option('--config <file>', 'configuration file')
    .option('--store <dir>', 'as for `usher serve`')
    .option('--listen <host:port>', 'as for `usher serve`')
    .option('--json', 'print JSON')
    .addHelpText('before', 'Examples:\n  usher config show\n  usher config show --config usher.toml --json\n')
    .action(({ json, ...flags }: ConfigShowOptions) => {
      const loaded = loadConfig({ flags, env: process.env, cwd: process.cwd() })
      if (json !== true) {
        process.stdout.write(renderConfig(loaded))
        return
      }
      const keys = [...loaded.shown].map(([key, value]) => [
        key,
        { value, origin: showOrigin(loaded.origins.get(key) ?? { kind: 'default' }) },
      ])
      printJson({ digest: loaded.config.digest, files: loaded.files, keys: Object.fromEntries(keys) })
    })
}
