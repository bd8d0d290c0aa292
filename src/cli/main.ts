// The `usher` command as a process (usher.cts starts it). Everything it can do is in program.ts.
import { exitAfterOutput, exitOnInterrupt, exitWhenOutputCloses } from './exit.ts'
import { run } from './program.ts'

exitWhenOutputCloses()
exitOnInterrupt()
await exitAfterOutput(await run(process.argv.slice(2)))
