// `usher dead` and `usher resolve`: what operators decide about jobs. A decision is a file in the store; the leader
// carries it out, whichever host that is, and the ledger keeps who decided.
import { randomBytes } from 'node:crypto'
import type { Command } from 'commander'
import { UsherError } from '../base/errors.ts'
import type { OpenedStore } from '../store/identity.ts'
import { requestsDirectory } from '../store/layout.ts'
import type { DecisionKind, Request } from '../submit/requests.ts'
import { painter, printable, printJson, renderTable } from './output.ts'
import { openStoreFor, operator, waitMsOf, withStoreOptions } from './store-option.ts'
import type { StoreOptions } from './store-option.ts'
import { requireJobId } from './trace.ts'

interface ChooseOptions extends StoreOptions {
  readonly all?: boolean
  readonly reason?: string
  readonly wait: string
}

export const registerDead = (program: Command): void => {
  const dead = program.command('dead').summary('dead letters: jobs that were refused for good').description('Lists dead letters, and decides about them.')
  withStoreOptions(dead.command('list'))
    .summary('list them, with their reasons')
    .addHelpText('before', 'Examples:\n  usher dead list --store /shared/usher\n')
    .action((options: StoreOptions) => list(options, 'dead'))
  for (const as of ['retry', 'discard'] as const) {
    const command = dead.command(as).argument('[job...]', 'ids of jobs')
    withStoreOptions(command)
      .summary(as === 'retry' ? 'submit them again' : 'give them up')
      .option('--all', 'every dead letter')
      .option('--reason <text>', 'only those whose reason contains this')
      .option('--wait <seconds>', 'for the leader to carry it out', '10')
      .addHelpText('before', `Examples:\n  usher dead ${as} 9f8c2e71a4b0d3e5-17\n  usher dead ${as} --all --reason "invalid partition"\n`)
      .action((jobs: string[], options: ChooseOptions) => decide(as, jobs, options))
  }
}

export const registerResolve = (program: Command): void => {
  withStoreOptions(program.command('resolve').argument('[job...]', 'ids of jobs in doubt'))
    .summary('decide about jobs in doubt')
    .description(
      'Lists the jobs in doubt: the cluster may or may not have them, and it can not be asked. With --as, decides: ' +
        '`submitted` if you found the job at the cluster, `absent` if you made sure that it is not there (it is submitted again).',
    )
    .option('--as <what>', 'submitted or absent')
    .option('--job-id <id>', "the cluster's name for the job (one job, --as submitted)")
    .option('--all', 'every job in doubt')
    .option('--wait <seconds>', 'for the leader to carry it out', '10')
    .addHelpText('before', 'Examples:\n  usher resolve\n  usher resolve 9f8c2e71a4b0d3e5-17 --as submitted --job-id 4711\n  usher resolve 9f8c2e71a4b0d3e5-17 --as absent\n')
    .action(async (jobs: string[], options: ChooseOptions & { readonly as?: string; readonly jobId?: string }) => {
      const { as, jobId, ...rest } = options
      if (as === undefined) {
        if (jobs.length > 0) throw new UsherError('usage', 'say what you decide: --as submitted or --as absent')
        await list(rest, 'doubt')
        return
      }
      if (as !== 'submitted' && as !== 'absent') throw new UsherError('usage', `--as ${as}: allowed are submitted and absent`)
      if (jobId !== undefined && (jobs.length !== 1 || as !== 'submitted')) throw new UsherError('usage', '--job-id goes with one job and --as submitted')
      await decide(as, jobs, rest, jobId)
    })
}

const list = async (options: StoreOptions, which: 'dead' | 'doubt'): Promise<void> => {
  const { store } = await openStoreFor(options)
  const { listNoted } = await import('../submit/trace.ts')
  const found = await listNoted(store, which)
  if (options.json === true) {
    printJson(found)
    return
  }
  if (found.length === 0) process.stdout.write(which === 'dead' ? 'no dead letters\n' : 'no jobs in doubt\n')
  else {
    const rows = found.map(({ id, at, reason }) => [id, at, printable(reason)])
    process.stdout.write(renderTable([{ title: 'job' }, { title: 'since' }, { title: 'reason' }], rows, painter(process.stdout)))
  }
}

const decide = async (as: DecisionKind, jobs: readonly string[], options: ChooseOptions, jobId?: string): Promise<void> => {
  const { all, reason, wait, ...rest } = options
  const everything = all === true || (jobs.length === 0 && reason !== undefined)
  if (jobs.length === 0 && !everything) throw new UsherError('usage', 'name the jobs, or say --all')
  const waitMs = waitMsOf(wait)
  const named = jobs.map(requireJobId)
  const { store } = await openStoreFor(rest)
  if (!everything) await requireKnown(store, named)
  const request: Request = {
    id: `${new Date().toISOString().replace(/[-:.]/g, '')}-${randomBytes(4).toString('hex')}`,
    as,
    jobs: everything ? 'all' : named,
    by: operator(),
    at: new Date().toISOString(),
    ...(reason === undefined ? {} : { reason }),
    ...(jobId === undefined ? {} : { jobId }),
  }
  const { sendRequest } = await import('../submit/requests.ts')
  await sendRequest(store, request)
  const done = await awaitResult(store, request.id, waitMs)
  if (options.json === true) printJson({ request: request.id, result: done?.result ?? null, unfit: done?.unfit ?? [] })
  else if (done !== null) process.stdout.write(`${done.result}\n`)
  if (done?.unfit !== undefined) {
    const wanted = as === 'retry' || as === 'discard' ? 'a dead letter that can be treated so' : 'in doubt'
    throw new UsherError('input_invalid', `not ${wanted}: ${done.unfit.join(', ')}`, { details: { jobs: done.unfit } })
  }
  if (done === null) {
    throw new UsherError('timed_out', `no leader has carried out request ${request.id} yet: it stays in the store and is carried out as soon as one leads`)
  }
}

/** A mistyped id needs no leader to be told so. Whether a job that is there can be decided on is for the leader to say. */
const requireKnown = async (store: OpenedStore['store'], jobs: readonly string[]): Promise<void> => {
  const { unknownAmong } = await import('../submit/trace.ts')
  const unknown = await unknownAmong(store, jobs)
  if (unknown.length === 0) return
  throw new UsherError('not_found', `no such job in this store, or finished longer than the retention ago: ${unknown.join(', ')}`, { details: { jobs: unknown } })
}

/** What came of it, by the ledger; null: nothing within that time. */
const awaitResult = async (store: OpenedStore['store'], id: string, waitMs: number): Promise<{ result: string; unfit?: readonly string[] } | null> => {
  const until = Date.now() + waitMs
  const { readHistory } = await import('../submit/history.ts')
  for (;;) {
    // The leader writes the ledger first and then removes the file: so the file is looked at, which is cheap, and the ledger once.
    const pending = (await store.list(requestsDirectory)).includes(`${id}.json`)
    if (!pending || Date.now() >= until) {
      const found = (await readHistory(store)).books.requests.get(id)
      if (found !== undefined || Date.now() >= until) return found ?? null
    }
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
}
