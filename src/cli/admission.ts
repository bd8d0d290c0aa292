// `usher admit` and `usher expel`: which hosts may accept and lead. They write to the store's admission list, from any host;
// the hosts see it within a second.
import type { Command } from 'commander'
import { UsherError } from '../base/errors.ts'
import { hostNamePattern } from '../config/table.ts'
import type { Admission, Decision } from '../hosts/admission.ts'
import { type Output, painter, printable, printJson, renderTable } from './output.ts'
import { openStoreFor, operator, withStoreOptions } from './store-option.ts'
import type { StoreOptions } from './store-option.ts'

interface AdmitOptions extends StoreOptions {
  readonly list?: boolean
  readonly only?: boolean
  readonly clear?: boolean
}

export const registerAdmit = (program: Command): void => {
  withStoreOptions(program.command('admit').argument('[host...]', 'names of hosts, as in `host` of their configuration'))
    .summary('let hosts accept and lead')
    .description(
      'Puts hosts on the store\'s admission list. As soon as it names anybody, it binds every host of the store: one that it does not name ' +
        'neither accepts nor leads, and `usher status` shows it waiting for admission.',
    )
    .option('--list', 'show what was decided, and who waits')
    .option('--only', 'begin the list though hosts that run now are not named: they stop')
    .option('--clear', 'end the list: hosts whose configuration says admission = "open" need no admission any more')
    .addHelpText('before', 'Examples:\n  usher admit node7 node8 --store /shared/usher\n  usher admit --list\n')
    .action(async (hosts: string[], options: AdmitOptions) => {
      const { list, only, clear, ...rest } = options
      if ([list === true, clear === true, hosts.length > 0].filter(Boolean).length !== 1) {
        throw new UsherError('usage', 'name the hosts to admit, or say --list or --clear')
      }
      if (list === true) await show(rest)
      else await record(rest, clear === true ? 'clear' : 'admit', hosts, only === true)
    })
}

export const registerExpel = (program: Command): void => {
  withStoreOptions(program.command('expel').argument('<host...>', 'names of hosts'))
    .summary('keep hosts from accepting and leading')
    .description('The hosts tell their producers to go elsewhere, finish what they have accepted, resign, and wait until they are admitted.')
    .addHelpText('before', 'Examples:\n  usher expel node9 --store /shared/usher\n')
    .action((hosts: string[], options: StoreOptions) => record(options, 'expel', hosts, false))
}

const requireHosts = (hosts: readonly string[]): void => {
  const wrong = hosts.find((host) => !hostNamePattern.test(host))
  if (wrong !== undefined) throw new UsherError('usage', `'${printable(wrong)}' can't be the name of a host`)
}

const record = async (options: StoreOptions, decision: Decision['decision'], hosts: readonly string[], only: boolean): Promise<void> => {
  requireHosts(hosts)
  const { store } = await openStoreFor(options)
  const { AdmissionList, decide } = await import('../hosts/admission.ts')
  const before = await new AdmissionList(store).look()
  const named = [...new Set(hosts)]
  // Saying the same again adds nothing, so that scripts may.
  const fresh = named.filter((host) => before.hosts.get(host)?.decision !== decision)
  if (decision === 'admit' && !before.inForce && !only) await proveNobodyStops(store, named)
  const nothing = decision === 'clear' ? !before.inForce && before.hosts.size === 0 : fresh.length === 0
  const number = nothing ? null : await decide(store, { decision, hosts: fresh, by: operator(), at: new Date().toISOString() })
  const output: Output = process.stdout
  if (options.json === true) printJson({ decision, hosts: named, number }, output)
  else if (decision === 'clear') output.write(nothing ? 'there is no list\n' : 'the list has ended: hosts whose configuration is open need no admission\n')
  else for (const host of named) output.write(`${host} ${fresh.includes(host) ? 'is' : 'was'} ${decision === 'admit' ? 'admitted' : 'expelled'}${fresh.includes(host) ? '' : ' already'}\n`)
}

/** The first admission shuts out whoever isn't named: not by surprise. */
const proveNobodyStops = async (store: Parameters<typeof livingHosts>[0], named: readonly string[]): Promise<void> => {
  const running = await livingHosts(store)
  const stopping = [...running].filter(([host, working]) => working && !named.includes(host)).map(([host]) => host)
  if (stopping.length === 0) return
  throw new UsherError('input_invalid', `this begins the admission list, and ${stopping.join(', ')} would stop: not named`, {
    details: { hosts: stopping, hint: `usher admit ${[...new Set([...stopping, ...named])].join(' ')}, or say --only` },
  })
}

/** Hosts with a living instance, and whether it accepts or may lead. */
const livingHosts = async (store: Awaited<ReturnType<typeof openStoreFor>>['store']): Promise<Map<string, boolean>> => {
  const { lookAtInstances } = await import('../hosts/present.ts')
  const hosts = new Map<string, boolean>()
  for (const { presence, alive } of await lookAtInstances(store)) {
    if (alive && presence !== null) hosts.set(presence.host, (hosts.get(presence.host) ?? false) || presence.accepting || presence.eligible)
  }
  return hosts
}

const show = async (options: StoreOptions): Promise<void> => {
  const { store } = await openStoreFor(options)
  const { AdmissionList } = await import('../hosts/admission.ts')
  const admission = await new AdmissionList(store).look()
  const waiting = [...(await livingHosts(store))].filter(([host, working]) => !working && !admission.hosts.has(host)).map(([host]) => host)
  if (options.json === true) {
    const hosts = [...admission.hosts].map(([host, { decision, by, at }]) => ({ host, admitted: decision === 'admit', by, at }))
    printJson({ inForce: admission.inForce, hosts, waiting })
  } else process.stdout.write(render(admission, waiting))
}

const render = ({ inForce, hosts }: Admission, waiting: readonly string[]): string => {
  const paint = painter(process.stdout)
  const rows = [...hosts].map(([host, { decision, by, at }]) => [
    printable(host),
    decision === 'admit' ? paint('green', 'admitted') : paint('red', 'expelled'),
    printable(by),
    printable(at),
  ])
  const head = inForce
    ? ''
    : 'no host is admitted by name: those whose configuration says admission = "open" need no admission\n'
  const asking = waiting.map((host) => [printable(host), paint('yellow', 'waiting'), '', ''])
  const all = [...rows, ...asking]
  const table = all.length === 0 ? '' : renderTable(['host', 'state', 'by', 'at'].map((title) => ({ title })), all, paint)
  return head + table
}
