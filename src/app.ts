// Runs usher on this host until it is told to stop: checks the store, then one instance after another, since an
// instance that retires is followed by a new one in the same process.

import { UsherError } from './base/errors.ts'
import type { Config } from './config/table.ts'
import { version } from './config/version.ts'
import { Instance, mintInstanceName } from './instance.ts'
import { createLogger } from './observe/log.ts'
import { checkStore } from './store/checks.ts'
import { openStore } from './store/identity.ts'

export interface AppOptions {
  readonly config: Config
  /** Called whenever an instance accepts jobs. */
  readonly onReady: (ready: { readonly instance: string; readonly address: string; readonly store: string }) => void
  /** Stops in an orderly way. */
  readonly signal: AbortSignal
}

/** Resolves when it has stopped as asked. Rejects when it can't go on. */
export const runApp = async (options: AppOptions): Promise<void> => {
  const { config, onReady, signal } = options
  const { store, identity } = await openStore(config.store, { create: true, host: config.host })
  const failed = (await checkStore(config.store, { reserveBytes: config.segments.reserveBytes, uuid: identity.uuid })).filter(
    // Full is no reason not to start: jobs are refused with store_full until there is room.
    ({ ok, name }) => !ok && name !== 'space',
  )
  if (failed.length > 0) {
    const lines = failed.map(({ name, detail, remedy }) => `${name}: ${detail}${remedy === undefined ? '' : ` (${remedy})`}`)
    throw new UsherError('store_unavailable', `the store ${config.store} can't be used:\n  ${lines.join('\n  ')}`, { details: { failed } })
  }
  // Port 0 takes any free one, once: producers know the address by then.
  let listen = config.listen
  while (!signal.aborted) {
    const name = mintInstanceName(config.host)
    const log = createLogger({ ...config.log, host: config.host, instance: name, version })
    let end: (how: { why: 'retired' | 'wrongStore' | 'stopped'; reason: string }) => void = () => undefined
    const ended = new Promise<{ why: 'retired' | 'wrongStore' | 'stopped'; reason: string }>((resolve) => (end = resolve))
    const stop = (): void => end({ why: 'stopped', reason: 'asked to' })
    signal.addEventListener('abort', stop, { once: true })
    const instance = new Instance(name, { config: { ...config, listen }, store, identity, log, onEnd: (why, reason) => end({ why, reason }) })
    let address: string
    try {
      address = await instance.start()
    } catch (error) {
      if (!(error instanceof UsherError && error.code === 'retired')) throw error
      log.warn(`${error.message}: going on as a new instance`)
      await instance.abandon('retired', error.message)
      signal.removeEventListener('abort', stop)
      continue
    }
    listen = { ...listen, port: Number(address.slice(address.lastIndexOf(':') + 1)) }
    log.info({ address, store: config.store, config: config.digest }, `instance ${name} accepts jobs on ${address}`)
    onReady({ instance: name, address, store: config.store })
    const { why, reason } = await ended
    signal.removeEventListener('abort', stop)
    if (why === 'stopped') {
      log.info('stopping')
      await instance.stop()
      log.info({ accepted: instance.accepted }, `stopped; ${instance.accepted} jobs were accepted`)
      return
    }
    log.error(`the instance ends: ${reason}`)
    await instance.abandon('retired', reason)
    if (why === 'wrongStore') throw new UsherError('store_wrong', reason)
    log.info('going on as a new instance')
  }
}
