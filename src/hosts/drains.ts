// Requests to instances to end in order: drains/<id>.json, written by `usher drain` on any host, which waits for what
// comes of it and then removes the file. A request names instances, which are never named twice, so it can't hit what a
// host starts later; and their processes, since one that retires meanwhile goes on under another name.

import { randomBytes } from 'node:crypto'
import type { ProcessIdentity } from '../observe/instance.ts'
import { drainName, drainsDirectory, parseRequestFile } from '../store/layout.ts'
import { isMissing } from '../store/store-error.ts'
import type { Store } from '../store/store.ts'

export interface DrainTarget extends ProcessIdentity {
  readonly instance: string
}

export interface DrainRequest {
  readonly id: string
  readonly instances: readonly DrainTarget[]
  /** user@host */
  readonly by: string
  /** ISO 8601 */
  readonly at: string
}

export const sameProcess = (a: ProcessIdentity, b: ProcessIdentity): boolean =>
  a.bootId !== '' && a.bootId === b.bootId && a.pidNamespace === b.pidNamespace && a.pid === b.pid && a.pidStart !== '' && a.pidStart === b.pidStart

/** Resolves with the request when it is on stable storage. */
export const requestDrain = async (store: Store, instances: readonly DrainTarget[], by: string): Promise<DrainRequest> => {
  const at = new Date().toISOString()
  const request: DrainRequest = { id: `${at.replace(/[-:.]/g, '')}-${randomBytes(4).toString('hex')}`, instances, by, at }
  await store.makeDirectory(drainsDirectory)
  await store.publish(drainName(request.id), Buffer.from(`${JSON.stringify(request)}\n`))
  return request
}

/** Requests as one process sees them. They never change, so each is read once. */
export class DrainRequests {
  readonly #store: Store
  readonly #own: ProcessIdentity
  readonly #read = new Set<string>()

  constructor(store: Store, own: ProcessIdentity) {
    this.#store = store
    this.#own = own
  }

  /** A request to this process that was not seen before; null: none. */
  async look(instances: ReadonlySet<string>): Promise<DrainRequest | null> {
    for (const file of await this.#store.list(drainsDirectory)) {
      const id = parseRequestFile(file)
      if (id === null || this.#read.has(id)) continue
      const request = await readDrain(this.#store, id)
      this.#read.add(id)
      if (request?.instances.some((target) => instances.has(target.instance) || sameProcess(target, this.#own))) return request
    }
    return null
  }
}

/** Null: it is there no more, or is no request that this version knows. */
export const readDrain = async (store: Store, id: string): Promise<DrainRequest | null> => {
  try {
    const value = JSON.parse((await store.read(drainName(id))).toString('utf8')) as Partial<DrainRequest> | null
    const fits = Array.isArray(value?.instances) && value.instances.every((target: Partial<DrainTarget> | null) => typeof target?.instance === 'string')
    return fits ? { ...(value as DrainRequest), by: value?.by ?? '?', at: value?.at ?? '?' } : null
  } catch (error) {
    if (isMissing(error) || error instanceof SyntaxError) return null
    throw error
  }
}

/** Removes a request whose instances have ended. */
export const removeDrain = (store: Store, id: string): Promise<void> => store.remove(drainName(id))

/** Removes what a command that was interrupted has left: requests none of whose instances lives any more. */
export const removeFinishedDrains = async (store: Store, living: ReadonlySet<string>): Promise<void> => {
  for (const file of await store.list(drainsDirectory)) {
    const id = parseRequestFile(file)
    if (id === null) continue
    const request = await readDrain(store, id)
    if (request !== null && !request.instances.some(({ instance }) => living.has(instance))) await removeDrain(store, id)
  }
}

