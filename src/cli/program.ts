// The `usher` command as a value: which commands there are, and what becomes of how they end. Commands load what they
// need when they run, so that `usher --version` needs neither the addon nor a configuration.
import { Command, CommanderError } from 'commander'
import { codes } from '../base/errors.ts'
import { version } from '../config/version.ts'
import { registerAdmit, registerExpel } from './admission.ts'
import { registerBench } from './bench.ts'
import { registerConfig } from './config-show.ts'
import { registerDead, registerResolve } from './decisions.ts'
import { registerDoctor } from './doctor.ts'
import { registerDrain } from './drain.ts'
import { reportError } from './exit.ts'
import type { Output } from './output.ts'
import { registerSend } from './send.ts'
import { registerServe } from './serve.ts'
import { registerStatus } from './status.ts'
import { registerTrace } from './trace.ts'
import { registerWhy } from './why.ts'

/** In the order in which help shows them. */
const commands: readonly ((program: Command) => void)[] = [
  registerServe,
  registerSend,
  registerStatus,
  registerWhy,
  registerTrace,
  registerDead,
  registerResolve,
  registerDrain,
  registerAdmit,
  registerExpel,
  registerDoctor,
  registerConfig,
  registerBench,
]

const examples = `Examples:
  usher serve --store /shared/usher        accept and submit jobs
  usher send jobs.ndjson                   send jobs and wait until each is on stable storage
  usher status --store /shared/usher       who leads, and where jobs are
  usher why 9f8c2e71a4b0d3e5-17            why one job is where it is, in a sentence
  usher trace 9f8c2e71a4b0d3e5-17          what happened to one job, and who did it
`

export const createProgram = (stdout: Output = process.stdout, stderr: Output = process.stderr): Command => {
  const program = new Command('usher')
    .description('Accepts jobs over TCP, keeps them on a shared directory, and submits each exactly once.')
    .version(version, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print help')
    .helpCommand('help [command]', 'print help for a command')
    .showSuggestionAfterError()
    .addHelpText('before', examples)
    .exitOverride()
    // Mistakes are thrown, and printed in one place.
    .configureOutput({
      writeOut: (text) => void stdout.write(text),
      writeErr: (text) => void stderr.write(text),
      outputError: () => {},
    })
  for (const register of commands) register(program)
  return program
}

const wantsJson = (args: readonly string[]): boolean => {
  const end = args.indexOf('--')
  return (end < 0 ? args : args.slice(0, end)).includes('--json')
}

/** Runs one command. Returns its exit status, with every failure reported. */
export const run = async (
  args: readonly string[],
  stdout: Output = process.stdout,
  stderr: Output = process.stderr,
): Promise<number> => {
  try {
    await createProgram(stdout, stderr).parseAsync(args, { from: 'user' })
    return Number(process.exitCode ?? 0)
  } catch (error) {
    if (error instanceof CommanderError) {
      if (error.exitCode === 0) return 0
      // No command was named: help has been printed already.
      if (error.code === 'commander.help') return codes.usage.exit
    }
    return reportError(error, wantsJson(args), stderr)
  }
}
