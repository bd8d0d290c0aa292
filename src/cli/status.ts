// `usher status`: who is on the store, who leads, and where the jobs are. Needs no running server.
import type { Command } from 'commander'
import type { StoreStatus } from '../submit/survey.ts'
import { humanCount, humanDuration, painter, printable, printJson, renderTable } from './output.ts'
import { openStoreFor, withStoreOptions } from './store-option.ts'
import type { StoreOptions } from './store-option.ts'

interface StatusOptions extends StoreOptions {
  readonly all?: boolean
}

export const registerStatus = (program: Command): void => {
  withStoreOptions(program.command('status'))
    .summary('who leads, and where the jobs are')
    .description('Shows every instance on the store, who leads, and the audit: accepted = submitted + waiting + in doubt + dead + …')
    .option('--all', 'show instances that have ended, too')
    .addHelpText('before', 'Examples:\n  usher status --store /shared/usher\n  usher status --json | jq .audit\n')
    .action(async (options: StatusOptions) => {
      const { all, ...rest } = options
      const { store, identity } = await openStoreFor(rest)
      const { survey } = await import('../submit/survey.ts')
      const status = await survey(store, identity.uuid, { ended: all ?? false })
      if (options.json === true) printJson(status)
      else process.stdout.write(render(status))
    })
}

const render = (status: StoreStatus): string => {
  const paint = painter(process.stdout)
  const { leader, instances, audit, warnings, setAside } = status
  const parts: string[] = [`store ${status.store}\n\n`]
  parts.push(
    leader === null
      ? `${paint('yellow', 'nobody leads')}: ${instances.some(({ accepting }) => accepting) ? 'jobs are accepted, and wait' : 'no job is accepted or submitted'}\n\n`
      : `${paint('bold', leader.host)} leads in term ${leader.term} (${leader.instance})\n\n`,
  )
  if (instances.length > 0) {
    const rows = instances.map((one) => [
      printable(one.host),
      one.instance,
      String(one.pid),
      one.role === 'leader' ? paint('green', one.role) : one.role === 'gone' ? paint('red', one.role) : one.role,
      one.accepting ? one.listen : '-',
      one.version,
      one.configDigest,
      one.heartbeatAgeMs === null ? '-' : humanDuration(one.heartbeatAgeMs),
      printable(one.reason),
    ])
    const titles = ['host', 'instance', 'pid', 'role', 'accepts on', 'version', 'config', 'heard', 'reason']
    parts.push(renderTable(titles.map((title) => ({ title })), rows, paint), '\n')
  }
  const lines: [string, number][] = [
    ['accepted', audit.accepted],
    ['submitted', audit.submitted],
    ['waiting', audit.waiting],
    ['in doubt', audit.inDoubt],
    ['dead', audit.dead],
    ['discarded', audit.discarded],
    ['duplicates', audit.duplicates],
    ['set aside', audit.setAside],
  ]
  parts.push(
    renderTable(
      [{ title: 'jobs' }, { title: '', align: 'right' }],
      lines.map(([name, count]) => [name, humanCount(count)]),
      paint,
    ),
  )
  parts.push(audit.balanced ? `${paint('green', 'the audit balances')}\n` : `${paint('red', "the audit doesn't balance")}\n`)
  for (const { segment, jobs, reason } of setAside) parts.push(`${paint('yellow', 'set aside')} ${segment} (${jobs} jobs): ${printable(reason)}\n`)
  for (const warning of warnings) parts.push(`${paint('yellow', 'warning')} ${printable(warning)}\n`)
  return parts.join('')
}
