// One host's view of the file server, as an NFS client gives it: pages that wait for their sync, cached listings, attributes
// and absences, requests that are lost, repeated, done late or done and reported as failed. Implements the very
// operations that the real store is built on.
import { messageOf } from '../../src/base/errors.ts'
import type { FileOperations, FileStatus, OpenFile, OpenMode } from '../../src/store/file-operations.ts'
import { fileError } from './file-server.ts'
import type { Inode } from './file-server.ts'
import type { Held, Host, Proc } from './machine.ts'
import type { World } from './world.ts'

interface Request<T> {
  readonly proc: Proc
  readonly name: string
  readonly durable: boolean
  readonly perform: () => T
  /** Names that it changes: what the client remembers of them ends with the answer. */
  readonly changes: readonly string[]
  readonly resolve: (value: T) => void
  readonly reject: (error: unknown) => void
  performed: boolean
}

interface Listing {
  readonly names: readonly string[]
  readonly atMs: number
}

interface Page {
  readonly position: number
  readonly bytes: Buffer
}

/** Listings of directories whose names only ever wait for others to be seen may be this old, as attributes without close-to-open. */
const staleMsMax = 60_000
/** Opening a directory asks the server, whose timestamps have a grain: the worst that was measured. */
const grainMs = 70

/** A failure between the server and the process, which the server knows nothing of. */
const injected = (code: string, what: string): Error => Object.assign(fileError(code, what), { injected: true })
const isInjected = (error: unknown): boolean => (error as { injected?: boolean } | undefined)?.injected === true

const parentOf = (path: string): string => path.slice(0, path.lastIndexOf('/'))

const statusOf = (node: Inode, size: number): FileStatus => ({
  device: 1n, inode: BigInt(node.id), links: node.links, size, directory: node.names !== null, mode: 0o640, owner: 1000,
})

export class Mount {
  readonly host: Host
  readonly world: World
  readonly #listings = new Map<string, Listing>()
  readonly #absent = new Map<string, number>()
  readonly #attributes = new Map<number, { status: FileStatus; untilMs: number }>()
  readonly #inFlight = new Set<Request<unknown>>()
  /** Waiting for the server or the network. */
  #waiting: Request<unknown>[] = []

  constructor(host: Host) {
    this.host = host
    this.world = host.world
    host.onPowerLoss.push(() => this.#powerLoss())
  }

  operationsOf(proc: Proc): FileOperations {
    const { server } = this.world
    return {
      open: (path, mode) => this.#open(proc, path, mode),
      link: (existing, path) =>
        this.#request(proc, `link ${path}`, true, () => {
          try {
            server.link(existing, path)
          } catch (error) {
            if ((error as { code?: string }).code !== 'EEXIST' || !this.world.chance.happens(this.world.files.falseLink)) throw error
            this.world.count('link reported as done that was not')
          }
          const node = server.nodes.get(path)
          if (node !== undefined) this.#attributes.delete(node.id)
        }, path),
      rename: (from, path) => this.#request(proc, `rename ${path}`, true, () => server.rename(from, path), path, from),
      unlink: (path) => this.#request(proc, `unlink ${path}`, true, () => server.unlink(path), path),
      mkdir: (path) => this.#request(proc, `mkdir ${path}`, true, () => server.mkdir(path), path),
      rmdir: (path) => this.#request(proc, `rmdir ${path}`, true, () => server.rmdir(path)),
      readdir: (path) => this.#readdir(proc, path),
      stat: (path) => this.#stat(proc, path),
      free: (path) => this.#request(proc, `free ${path}`, false, () => (server.full ? 0 : 1e12)),
    }
  }

  /** The server, or the way to it, is back. */
  restored(): void {
    const waiting = this.#waiting
    this.#waiting = []
    const { time, chance } = this.world
    // In any order: retransmissions have their own timers.
    for (const request of waiting) time.after(chance.between(0, 20), this.host.kernel, () => this.#arrive(request))
  }

  #changed(path: string): void {
    this.#listings.delete(parentOf(path))
    this.#absent.delete(path)
  }

  #latencyMs(): number {
    const { chance, files } = this.world
    if (chance.happens(files.slow)) {
      this.world.count('slow request')
      return chance.skewed(5, 1500)
    }
    return chance.between(0.2, 2)
  }

  #request<T>(proc: Proc, name: string, durable: boolean, perform: () => T, ...changes: readonly string[]): Promise<T> {
    if (!proc.trapBefore(durable, false)) return new Promise(() => undefined)
    return new Promise((resolve, reject) => {
      const request: Request<T> = { proc, name, durable, perform, changes, resolve, reject, performed: false }
      const begin = (): void => {
        this.#inFlight.add(request as Request<unknown>)
        this.world.time.after(this.#latencyMs(), this.host.kernel, () => this.#arrive(request as Request<unknown>))
      }
      // Stopped right before the call: its kernel hears of it when the process goes on.
      if (proc.stops > 0) this.world.time.after(0, proc, begin)
      else begin()
    })
  }

  #arrive(request: Request<unknown>): void {
    const { world } = this
    const { chance, files, time } = world
    if (!world.server.up || this.host.storeCut) {
      this.#waiting.push(request)
      return
    }
    if (chance.happens(files.error)) {
      world.count('file operation failed')
      return this.#reply(request, () => {
        throw injected('EIO', `injected: ${request.name}`)
      })
    }
    if (request.durable && chance.happens(files.noSpace)) {
      world.count('no space')
      return this.#reply(request, () => {
        throw injected('ENOSPC', `injected: ${request.name}`)
      })
    }
    if (request.durable) {
      if (chance.happens(files.doneButError)) {
        world.count('done and reported as failed')
        const outcome = this.#perform(request)
        return this.#reply(request, () => {
          outcome()
          throw injected('EIO', `injected after it was done: ${request.name}`)
        })
      }
      if (chance.happens(files.late)) {
        world.count('reported as failed and done late')
        time.after(chance.skewed(1, 6000), null, () => this.#performLate(request))
        return this.#reply(request, () => {
          throw injected('EIO', `injected, to be done later: ${request.name}`)
        })
      }
      if (chance.happens(files.again)) {
        world.count('done again, late')
        time.after(chance.skewed(1, 6000), null, () => this.#performLate(request))
      }
      if (chance.happens(files.resent)) {
        world.count('done twice')
        this.#perform(request)
        time.after(chance.skewed(1, 1500), this.host.kernel, () => this.#reply(request, this.#perform(request)))
        return
      }
    }
    this.#reply(request, this.#perform(request))
  }

  /** Does it now; answers with what gives its outcome. */
  #perform(request: Request<unknown>): () => unknown {
    request.performed = true
    try {
      const value = request.perform()
      if (this.world.verbose && request.durable) this.world.log(request.proc.name, request.name.replace(/\.[0-9a-f]{16}\.tmp/, '.tmp'))
      return () => value
    } catch (error) {
      if (this.world.verbose && request.durable) this.world.log(request.proc.name, `${request.name}: ${messageOf(error)}`)
      return () => {
        throw error
      }
    }
  }

  #performLate(request: Request<unknown>): void {
    // What it comes to nobody hears.
    if (this.world.server.up) this.#perform(request)
  }

  #reply(request: Request<unknown>, outcome: () => unknown): void {
    this.#inFlight.delete(request)
    const { proc } = request
    if (request.performed) proc.trapAfter(request.durable, false)
    let value: unknown
    let failure: { readonly error: unknown } | null = null
    try {
      value = outcome()
    } catch (error) {
      failure = { error }
    }
    // What the server answers is news of the directory to whoever still waits for it. A failure on the way is not,
    // whatever was done; and a process that was killed has taken its request with it.
    if (!proc.dead && !isInjected(failure?.error)) for (const path of request.changes) this.#changed(path)
    const deliver = (): void => {
      if (failure === null) return request.resolve(value)
      const { error } = failure
      if (this.world.verbose && (error as { code?: string }).code !== 'ENOENT') this.world.log(proc.name, `${request.name} failed: ${messageOf(error)}`)
      request.reject(error)
    }
    if (!proc.dead && proc.stops === 0 && !this.world.chance.happens(this.world.files.slow)) deliver()
    else this.world.time.after(this.world.chance.skewed(0.1, 300), proc, deliver)
  }

  #powerLoss(): void {
    const { world } = this
    const { chance, files, time } = world
    for (const request of this.#inFlight) {
      if (!request.durable || request.performed || !chance.happens(files.afterDeath)) continue
      world.count('done after its host had died')
      time.after(chance.skewed(1, 8000), null, () => this.#performLate(request))
    }
    this.#inFlight.clear()
    this.#waiting = []
    this.#listings.clear()
    this.#absent.clear()
    this.#attributes.clear()
  }

  #readdir(proc: Proc, path: string): Promise<string[]> {
    const { world } = this
    const known = this.#listings.get(path)
    if (known !== undefined && world.chance.happens(world.files.cached)) {
      const patient = path.endsWith('/claims') || path.endsWith('/hosts') || path.endsWith('/requests')
      if (world.time.now - known.atMs < (patient ? staleMsMax : grainMs)) {
        world.count('stale listing')
        if (!proc.trapBefore(false, false)) return new Promise(() => undefined)
        return Promise.resolve([...known.names])
      }
    }
    return this.#request(proc, `readdir ${path}`, false, () => {
      const names = world.server.readdir(path)
      this.#listings.set(path, { names, atMs: world.time.now })
      if (this.#absent.size > 0) for (const name of names) this.#absent.delete(`${path}/${name}`)
      return names
    })
  }

  #lookUp(path: string): Inode {
    const { world } = this
    const untilMs = this.#absent.get(path)
    if (untilMs !== undefined && untilMs > world.time.now) {
      if (world.server.nodes.has(path)) world.count('remembered as absent')
      throw fileError('ENOENT', path)
    }
    const node = world.server.nodes.get(path)
    if (node === undefined) {
      if (world.chance.happens(world.files.negative)) this.#absent.set(path, world.time.now + world.chance.between(1000, staleMsMax))
      throw fileError('ENOENT', path)
    }
    if (world.chance.happens(world.files.stale)) {
      world.count('stale handle')
      throw fileError('ESTALE', path)
    }
    return node
  }

  #stat(proc: Proc, path: string): Promise<FileStatus> {
    const { world } = this
    return this.#request(proc, `stat ${path}`, false, () => {
      const node = this.#lookUp(path)
      const cached = this.#attributes.get(node.id)
      if (cached !== undefined && cached.untilMs > world.time.now) {
        if (cached.status.links !== node.links) world.count('stale attributes')
        return cached.status
      }
      const status = statusOf(node, node.size)
      if (world.chance.happens(world.files.cached)) this.#attributes.set(node.id, { status, untilMs: world.time.now + world.chance.skewed(1, staleMsMax) })
      return status
    })
  }

  #open(proc: Proc, path: string, mode: OpenMode): Promise<OpenFile> {
    const { server } = this.world
    const changes = mode === 'new' ? [path] : []
    return this.#request(proc, mode === 'new' ? `create ${path}` : `open ${path}`, mode === 'new', () => {
      const node = mode === 'new' ? server.create(path) : this.#lookUp(path)
      return new MountedFile(this, proc, path, node)
    }, ...changes)
  }

  /** Writes pages back: whole, or on their way to fail only partly. */
  flush(file: MountedFile, name: string): Promise<void> {
    const pages = file.take()
    if (pages.length === 0 && name === 'close') return Promise.resolve()
    const { world } = this
    return this.#request(file.proc, `${name} ${file.path}`, true, () => {
      if (world.server.full && pages.length > 0) throw fileError('ENOSPC', file.path)
      for (const { bytes, position } of pages) file.node.write(bytes, position)
      this.#attributes.delete(file.node.id)
    })
  }

  /** A process is gone: its kernel writes back what it had written, some time. */
  flushLater(file: MountedFile): void {
    const pages = file.take()
    const { kernel } = this.host
    const { chance, time, files } = this.world
    const life = kernel.dead ? null : kernel
    // A kernel without power writes back nothing but what was already on its way.
    if (kernel.dead && !chance.happens(files.afterDeath)) return
    for (const { bytes, position } of pages) {
      // A torn write: the pages of a dead host may not all have been on their way.
      const whole = life !== null || chance.happens(0.5)
      const part = whole ? bytes : bytes.subarray(0, chance.whole(0, bytes.length))
      this.world.count('pages written back after death')
      time.after(chance.skewed(1, 10_000), life, () => {
        if (this.world.server.up) file.node.write(part, position)
      })
    }
  }
}

export class MountedFile implements OpenFile, Held {
  readonly proc: Proc
  readonly path: string
  readonly node: Inode
  readonly #mount: Mount
  #pages: Page[] = []
  #size = 0

  constructor(mount: Mount, proc: Proc, path: string, node: Inode) {
    this.#mount = mount
    this.proc = proc
    this.path = path
    this.node = node
  }

  take(): Page[] {
    const pages = this.#pages
    this.#pages = []
    this.proc.held.delete(this)
    return pages
  }

  ownerDied(): void {
    this.#mount.flushLater(this)
  }

  write(bytes: Uint8Array, position: number): Promise<number> {
    if (!this.proc.trapBefore(false, false)) return new Promise(() => undefined)
    const { world } = this.#mount
    if (world.chance.happens(world.files.noSpace)) {
      world.count('no space')
      return Promise.reject(injected('ENOSPC', `injected: write ${this.path}`))
    }
    // Some of it: what a write takes is for the kernel to say.
    const count = bytes.length > 64 && world.chance.happens(world.files.error) ? world.chance.whole(1, bytes.length) : bytes.length
    this.#pages.push({ position, bytes: Buffer.from(bytes.subarray(0, count)) })
    this.#size = Math.max(this.#size, position + count)
    this.proc.held.add(this)
    return Promise.resolve(count)
  }

  read(into: Uint8Array, position: number): Promise<number> {
    const { world } = this.#mount
    if (world.chance.happens(world.files.error)) return Promise.reject(injected('EIO', `injected: read ${this.path}`))
    if (this.node.links <= 0) return Promise.reject(fileError('ESTALE', this.path))
    return Promise.resolve(this.node.read(into, position))
  }

  status(): Promise<FileStatus> {
    return Promise.resolve(statusOf(this.node, Math.max(this.node.size, this.#size)))
  }

  sync(): Promise<void> {
    // Directories have nothing to sync on NFS: their changes are on stable storage when they are answered.
    return this.node.names === null ? this.#mount.flush(this, 'sync') : Promise.resolve()
  }

  datasync(): Promise<void> {
    return this.#mount.flush(this, 'sync')
  }

  close(): Promise<void> {
    return this.#mount.flush(this, 'close')
  }
}
