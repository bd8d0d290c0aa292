// Runs usher on this host until it is told to stop: checks the store, then one instance after another, since an
// instance that retires is followed by a new one in the same process.

import { sleep, systemClock } from './base/clock.ts'
import { messageOf, UsherError } from './base/errors.ts'
import { proveFree } from './base/free-port.ts'
import type { LoadedConfig } from './config/load.ts'
import { version } from './config/version.ts'
import { findLiving, lookAtInstances } from './hosts/present.ts'
import { Standing } from './hosts/standing.ts'
import type { HostView } from './http/host-view.ts'
import type { HttpPlane } from './http/http-plane.ts'
import { measuredStore } from './http/measured-store.ts'
import { listenError } from './ingest/server.ts'
import { Instance, mintInstanceName } from './instance.ts'
import type { Ending } from './instance.ts'
import { ownProcess } from './observe/instance.ts'
import { createLogger } from './observe/log.ts'
import type { Logger } from './observe/log.ts'
import { checkStore, recheckStore } from './store/checks.ts'
import { openStore, raiseFormat, storeFormat, verifyIdentity } from './store/identity.ts'
import type { Identity, OpenedStore } from './store/identity.ts'
import type { Store } from './store/store.ts'

export interface AppOptions {
  readonly loaded: LoadedConfig
  /** Called whenever an instance accepts jobs. */
  readonly onReady: (ready: { readonly instance: string; readonly address: string; readonly store: string; readonly http: string | null }) => void
  /** Stops in an orderly way. */
  readonly signal: AbortSignal
}

/** Resolves when it has stopped as asked. Rejects when it can't go on. */
export const runApp = async (options: AppOptions): Promise<void> => {
  const { loaded } = options
  const { config } = loaded
  const opened = await openStore(config.store, { create: true, host: config.host, uuid: config.storeUuid })
  const { created } = opened
  // Nobody asks for metrics where there is no HTTP: nothing of it is loaded then.
  const metrics = config.http.listen === undefined ? null : new (await import('./http/metrics.ts')).Metrics()
  const store = metrics === null ? opened.store : measuredStore(opened.store, (op, ms) => metrics.storeOperation(op, ms))
  const failed = (await checkStore(config.store, { reserveBytes: config.segments.reserveBytes, uuid: opened.identity.uuid })).filter(
    // Full is no reason not to start: jobs are refused with store_full until there is room.
    ({ ok, name }) => !ok && name !== 'space',
  )
  if (failed.length > 0) {
    const lines = failed.map(({ name, detail, remedy }) => `${name}: ${detail}${remedy === undefined ? '' : ` (${remedy})`}`)
    throw new UsherError('store_unavailable', `the store ${config.store} can't be used:\n  ${lines.join('\n  ')}`, { details: { failed } })
  }
  await refuseSecond(store, config.host)
  const identity = await raised(opened)

  const own = new Set<string>()
  const drained = new AbortController()
  let current: Instance | null = null
  let log = createLogger({ ...config.log, host: config.host, instance: '', version })
  // Where a share was meant and isn't mounted this is the only sign of it, unless the configuration names the store.
  if (created) log.warn(`${config.store} held no store: it is a new one now, ${identity.uuid} (store_uuid in the configuration names the one that is expected)`)
  const standing = new Standing({
    store,
    host: config.host,
    mode: config.admission,
    clock: systemClock,
    process: ownProcess(),
    instances: own,
    recheck: () => recheckStore(config.store),
    onRefusal: (reason) => current?.refuse(reason),
    onDrain: ({ by, at }) => {
      log.info(`asked to end by ${by} at ${at}`)
      drained.abort()
    },
    log: (level, message) => log[level](message),
  })
  await standing.start()
  const signal = AbortSignal.any([options.signal, drained.signal])
  let http: HttpPlane | null = null
  try {
    if (metrics !== null && config.http.listen !== undefined) {
      const view: HostView = {
        host: config.host,
        version,
        configDigest: config.digest,
        started: new Date(Date.now() - process.uptime() * 1000).toISOString(),
        instance: () => current,
        refusal: () => standing.refusal,
        stopping: () => signal.aborted,
      }
      const { HttpPlane } = await import('./http/http-plane.ts')
      http = await HttpPlane.start({ loaded, listen: config.http.listen, store, identity, metrics, view, log })
    }
    // Port 0 takes any free one, once: producers know the address by then.
    let listen = config.listen
    let complaint = ''
    for (let life = 1; !signal.aborted; life += 1) {
      const name = mintInstanceName(config.host)
      log = createLogger({ ...config.log, host: config.host, instance: name, version })
      if (life > 1 && !(await storeIsBack(store, identity.uuid, log, signal))) return
      // Before anything of the instance is in the store: a start that can't succeed leaves nothing there.
      const { host, port } = listen
      await proveFree(listen, (error) => listenError(error, host, port))
      const instance = new Instance(name, {
        config: { ...config, listen },
        store,
        identity,
        log,
        onTransformed: metrics === null ? undefined : (ms) => metrics.stage('transform', ms),
      })
      own.add(name)
      current = instance
      const onReady = (address: string): void => {
        listen = { ...listen, port: Number(address.slice(address.lastIndexOf(':') + 1)) }
        log.info({ address, store: config.store, config: config.digest }, `instance ${name} accepts jobs on ${address}`)
        options.onReady({ instance: name, address, store: config.store, http: http?.address ?? null })
      }
      try {
        if ((await live({ instance, standing, signal, log, onReady })) === 'stopped') return
      } catch (error) {
        // The first start must succeed, so that a mistake shows at once; later ones wait for the store.
        if (!(error instanceof UsherError && (error.code === 'retired' || (life > 1 && error.retryable)))) throw error
        // A store that takes no instance is tried each second, and said once.
        const { operation, errno } = error.details
        const what = `${error.code} ${String(operation)} ${String(errno)}`
        if (complaint !== what) log.warn(`${error.message}: going on as a new instance`)
        complaint = what
        if (error.code !== 'retired') await sleep(systemClock, retryMs, signal)
        continue
      }
      complaint = ''
      log.info('going on as a new instance')
    }
  } finally {
    standing.stop()
    await http?.close()
  }
}

interface Life {
  readonly instance: Instance
  readonly standing: Standing
  readonly signal: AbortSignal
  readonly log: Logger
  readonly onReady: (address: string) => void
}

/** One life of an instance, from its beginning to its end. Rejects when it can't begin, or the store is the wrong one. */
const live = async ({ instance, standing, signal, log, onReady }: Life): Promise<Ending['why']> => {
  let early: Ending | null
  try {
    await instance.appear(standing.refusal)
    if (standing.refusal !== null) log.warn(`no jobs are accepted or submitted: ${standing.refusal}`)
    early = await instance.allowed(signal)
    if (early === null) onReady(await instance.open())
  } catch (error) {
    await instance.abandon('retired', messageOf(error))
    throw error
  }
  const ending = early ?? (await instance.ended(signal))
  if (ending.why === 'stopped' || ending.why === 'refused') {
    if (ending.why === 'stopped') log.info('stopping')
    else log.warn(`no more jobs are accepted or submitted: ${ending.reason}`)
    await instance.stop(ending)
    log.info({ accepted: instance.accepted }, `stopped; ${instance.accepted} jobs were accepted`)
    return ending.why
  }
  log.error(`the instance ends: ${ending.reason}`)
  await instance.abandon('retired', ending.reason)
  if (ending.why === 'wrongStore') throw new UsherError('store_wrong', ending.reason)
  return ending.why
}

/** Rejects where an instance of this host lives already. One that is provenly dead, has ended, or is silent isn't in the way. */
const refuseSecond = async (store: Store, host: string): Promise<void> => {
  const other = await findLiving(store, host)
  if (other === null) return
  const { instance, pid, user, started, version: otherVersion, listen } = other
  const where = listen === '' ? "doesn't accept jobs yet" : `accepts jobs on ${listen}`
  throw new UsherError(
    'already_running',
    `usher runs on ${host} already: instance ${instance}, pid ${pid} of user ${user}, since ${started}, version ${otherVersion}, ${where}`,
    { details: { instance, pid, user, started, version: otherVersion, listen, hint: `end it with 'usher drain --host ${host}', or give a second one on purpose a name of its own: host = "…"` } },
  )
}

/** Rejects where instances live on a store of an earlier format: they are of versions that know no other. */
const raised = async ({ store, identity }: OpenedStore): Promise<Identity> => {
  if (identity.format === storeFormat) return identity
  const living = (await lookAtInstances(store)).filter(({ alive }) => alive)
  if (living.length === 0) return raiseFormat(store, identity)
  const where = living.map(({ instance, presence }) => `${presence?.host ?? instance} (version ${presence?.version ?? 'unknown'})`).join(', ')
  throw new UsherError(
    'store_unavailable',
    `the store has format ${identity.format}, and usher of an earlier version, which knows no other, runs on ${where}: stop it on all hosts, then this version makes the store format ${storeFormat}`,
    { details: { format: identity.format, living: living.map(({ instance }) => instance) } },
  )
}

const retryMs = 1000

/** Waits until the directory is the store it was. False: told to stop meanwhile. Rejects where it is another store. */
const storeIsBack = async (store: Store, uuid: string, log: Logger, signal: AbortSignal): Promise<boolean> => {
  for (let attempt = 0; !signal.aborted; attempt += 1) {
    try {
      await verifyIdentity(store, uuid)
      return true
    } catch (error) {
      if (error instanceof UsherError && error.code === 'store_wrong') throw error
      if (attempt === 0) log.warn(`the store is away: ${messageOf(error)}; jobs are accepted again when it is back`)
      await sleep(systemClock, retryMs, signal)
    }
  }
  return false
}

