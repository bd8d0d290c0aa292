// `usher drain`: has an instance of this or another host end in order, and waits until it has. The request is a file in the
// store, so it works from any host that has the store.
import type { Command } from 'commander'
import { codes, UsherError } from '../base/errors.ts'
import type { Looked } from '../hosts/present.ts'
import type { InstancePresence } from '../observe/instance.ts'
import type { Store } from '../store/store.ts'
import { humanDuration, printJson } from './output.ts'
import { openStoreFor, operator, waitMsOf, withStoreOptions } from './store-option.ts'
import type { StoreOptions } from './store-option.ts'

interface DrainOptions extends StoreOptions {
  readonly host?: string
  readonly wait: string
}

/** What became of one instance that was asked to end. */
interface Drained {
  readonly instance: string
  readonly state: 'ended' | 'gone' | 'draining' | 'running'
}

export const registerDrain = (program: Command): void => {
  withStoreOptions(program.command('drain'))
    .summary('end the usher of a host in order')
    .description(
      'Producers are told to go to other hosts, what was accepted is made ready for submission, what is on its way to the cluster is ' +
        'waited for, a leader resigns, and `usher serve` ends with 0. Ends with 75 where that takes longer than --wait; it goes on all the same.',
    )
    .option('--host <name>', 'of which host; default: this one')
    .option('--wait <seconds>', 'how long to wait for it', '60')
    .addHelpText('before', 'Examples:\n  usher drain\n  usher drain --host node7 --store /shared/usher --wait 120\n')
    .action((options: DrainOptions) => drain(options))
}

const drain = async ({ host: given, wait, ...options }: DrainOptions): Promise<void> => {
  const waitMs = waitMsOf(wait)
  const { store, config } = await openStoreFor(options)
  const host = given ?? config.host
  const { lookAtInstances } = await import('../hosts/present.ts')
  const { removeDrain, removeFinishedDrains, requestDrain } = await import('../hosts/drains.ts')
  const living = (await lookAtInstances(store)).filter(({ alive }) => alive)
  await removeFinishedDrains(store, new Set(living.map(({ instance }) => instance)))
  const targets = living.flatMap(({ presence }) => (presence?.host === host ? [presence] : []))
  if (targets.length === 0) {
    const others = [...new Set(living.map(({ presence }) => presence?.host ?? ''))]
    throw new UsherError('not_found', `no usher of host ${host} runs on this store`, {
      details: { host, ...(others.length > 0 ? { hint: `running: ${others.join(', ')}` } : {}) },
    })
  }
  const { id } = await requestDrain(
    store,
    targets.map(({ instance, pid, pidStart, pidNamespace, bootId }) => ({ instance, pid, pidStart, pidNamespace, bootId })),
    operator(),
  )
  const drained = await waitUntilEnded(store, targets, waitMs)
  const done = drained.every(({ state }) => state === 'ended' || state === 'gone')
  // Else it stays, for a process that is slow to see it; the next drain removes it.
  if (drained.every(({ state }) => state === 'ended')) await removeDrain(store, id)
  if (options.json === true) printJson({ host, request: id, done, instances: drained })
  else for (const one of drained) process.stdout.write(`${one.instance} ${said[one.state]}\n`)
  if (!done) process.exitCode = codes.timed_out.exit
}

const said = {
  ended: 'has ended',
  gone: 'is gone without having said so: the leader has what it left adopted',
  draining: 'is draining still',
  running: "hasn't seen the request yet: it will when it is able to",
} as const satisfies Record<Drained['state'], string>

const lookEveryMs = 200

const waitUntilEnded = async (store: Store, targets: readonly InstancePresence[], waitMs: number): Promise<Drained[]> => {
  const { lookAtInstances } = await import('../hosts/present.ts')
  const { sameProcess } = await import('../hosts/drains.ts')
  const begunMs = performance.now()
  const terminal = process.stderr.isTTY
  const instances = new Set(targets.map(({ instance }) => instance))
  try {
    for (;;) {
      let looked = await lookAtInstances(store, (instance) => instances.has(instance))
      // A process whose instance retired goes on under another name.
      if (looked.some((one) => stateOf(one) === 'gone')) {
        const followers = (await lookAtInstances(store)).filter(
          ({ presence, alive }) => alive && presence !== null && targets.some((target) => sameProcess(target, presence)),
        )
        for (const { instance } of followers) instances.add(instance)
        looked = [...looked.filter(({ instance }) => !followers.some((one) => one.instance === instance)), ...followers]
      }
      const drained = looked.map((one) => ({ instance: one.instance, state: stateOf(one) }))
      const left = drained.filter(({ state }) => state === 'draining' || state === 'running')
      const passedMs = performance.now() - begunMs
      if (left.length === 0 || passedMs >= waitMs) return drained
      if (terminal) process.stderr.write(`\r\u001b[K${left[0]!.instance}: ${left[0]!.state}, ${humanDuration(passedMs)}`)
      await new Promise((resolve) => setTimeout(resolve, Math.min(lookEveryMs, waitMs - passedMs)))
    }
  } finally {
    if (terminal) process.stderr.write('\r\u001b[K')
  }
}

const stateOf = ({ presence, alive }: Looked): Drained['state'] => {
  if (presence?.role === 'ended') return 'ended'
  if (!alive) return 'gone'
  return presence?.role === 'draining' ? 'draining' : 'running'
}
