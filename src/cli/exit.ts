// How commands end: errors as messages with an exit status of the table of codes, broken pipes, Ctrl-C. Nothing outside
// of src/cli ends the process.
import { CommanderError } from 'commander'
import { codes, errnoOf, messageOf, UsherError } from '../base/errors.ts'
import { type Output, painter } from './output.ts'

/** `usher … | head` has seen enough: that is no failure. */
export const exitWhenOutputCloses = (): void => {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error) => {
      if (errnoOf(error) === 'EPIPE') process.exit(process.exitCode ?? 0)
      throw error
    })
  }
}

/** Ctrl-C ends a command with 130, unless the command has a handler of its own, which then decides. */
export const exitOnInterrupt = (): void => {
  const onInterrupt = (): void => {
    if (process.listenerCount('SIGINT') === 1) process.exit(codes.aborted.exit)
  }
  process.on('SIGINT', onInterrupt)
}

/** Whatever was thrown, as the one kind of error that is reported. */
export const asUsherError = (error: unknown): UsherError => {
  if (error instanceof UsherError) return error
  if (error instanceof CommanderError) return new UsherError('usage', error.message.replace(/^error: /, ''), { cause: error })
  const errno = errnoOf(error)
  if (errno === 'EACCES' || errno === 'EPERM') return new UsherError('permission', messageOf(error), { cause: error })
  if (errno === 'ENOENT') return new UsherError('not_found', messageOf(error), { cause: error })
  return new UsherError('internal', messageOf(error), { cause: error })
}

/** Prints an error for people, or for programs with `--json`. Returns the exit status. */
export const reportError = (thrown: unknown, json: boolean, stream: Output = process.stderr): number => {
  const error = asUsherError(thrown)
  const { code, message, details } = error
  if (json) {
    stream.write(`${JSON.stringify({ error: { code, message, details } })}\n`)
  } else {
    const paint = painter(stream)
    stream.write(`${paint('red', 'usher:')} ${message}\n`)
    if (typeof details['hint'] === 'string') stream.write(`${paint('dim', details['hint'])}\n`)
    // A mistake of ours: where it happened is what a report needs.
    if (code === 'internal') stream.write(`${paint('dim', (error.cause instanceof Error ? error.cause : error).stack ?? '')}\n`)
  }
  return codes[code].exit
}

const flushed = (stream: NodeJS.WriteStream): Promise<void> =>
  new Promise((resolve) => {
    if (stream.destroyed || stream.writableEnded) resolve()
    // The callback comes when everything before it has been handed to the system, or has failed.
    else stream.write('', () => resolve())
  })

/** Ends the process once what it printed has left it. */
export const exitAfterOutput = async (status: number): Promise<never> => {
  process.exitCode = status
  await Promise.all([flushed(process.stdout), flushed(process.stderr)])
  process.exit(status)
}
