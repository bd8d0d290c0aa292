// `usher why JOB`: one sentence on why a job is where it is, and what comes next.
import type { Command } from 'commander'
import { UsherError } from '../base/errors.ts'
import { printable, printJson } from './output.ts'
import { openStoreFor, withStoreOptions } from './store-option.ts'
import type { StoreOptions } from './store-option.ts'
import { requireJobId } from './trace.ts'

export const registerWhy = (program: Command): void => {
  withStoreOptions(program.command('why').argument('<job>', 'id of the job'))
    .summary('why one job is where it is')
    .description('Says in a sentence why a job is where it is and what comes next. `usher trace` shows how it came there.')
    .addHelpText('before', 'Examples:\n  usher why 9f8c2e71a4b0d3e5-17 --store /shared/usher\n  usher why 9f8c2e71a4b0d3e5-17 --json | jq -r .state\n')
    .action(async (job: string, options: StoreOptions) => {
      const id = requireJobId(job)
      const { store, config } = await openStoreFor(options)
      const { why } = await import('../submit/why.ts')
      const found = await why(store, id, config.submit)
      if (found === null) throw new UsherError('not_found', `job ${id} was never accepted by this store: whoever sent it has no acknowledgement from here`)
      if (options.json === true) printJson(found)
      else process.stdout.write(`${printable(found.sentence)}\n`)
    })
}
