// `usher serve`: accepts and submits jobs until it is told to stop. SIGTERM and Ctrl-C stop it in an orderly way; a
// second one at once.
import type { Command } from 'commander'
import { codes } from '../base/errors.ts'
import { loadConfig } from '../config/load.ts'
import type { Flags } from '../config/sources.ts'
import { version } from '../config/version.ts'
import { painter, printJson } from './output.ts'

interface ServeOptions extends Flags {
  readonly json?: boolean
}

export const registerServe = (program: Command): void => {
  program
    .command('serve')
    .summary('accept and submit jobs')
    .description('Accepts jobs over TCP, keeps them in the store, and stands for election as the one that submits them.')
    .option('--config <file>', 'configuration file (TOML)')
    .option('--store <dir>', 'the shared directory')
    .option('--listen <host:port>', 'where producers connect')
    .option('--json', 'print a line of JSON when it accepts jobs')
    .addHelpText('before', 'Examples:\n  usher serve\n  usher serve --store /shared/usher --listen 127.0.0.1:7433\n  usher serve --config usher.toml\n')
    .action(async ({ json, ...flags }: ServeOptions) => {
      const loaded = loadConfig({ flags, env: process.env, cwd: process.cwd() })
      const { runApp } = await import('../app.ts')
      const stop = new AbortController()
      const onSignal = (): void => {
        if (stop.signal.aborted) process.exit(codes.aborted.exit)
        stop.abort()
      }
      process.on('SIGINT', onSignal)
      process.on('SIGTERM', onSignal)
      await runApp({
        loaded,
        signal: stop.signal,
        onReady: (ready) => {
          if (json === true) printJson(ready)
          else process.stdout.write(readyText(ready))
        },
      })
    })
}

const readyText = ({ address, store, instance, http }: { address: string; store: string; instance: string; http: string | null }): string => {
  const paint = painter(process.stdout)
  const web = http === null ? '' : `  HTTP      http://${http}\n`
  return `usher ${version} accepts jobs on ${paint('bold', address)}\n  store     ${store}\n  instance  ${instance}\n${web}`
}
