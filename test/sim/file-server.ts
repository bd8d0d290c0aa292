// The file server: inodes, names, link counts, bytes on stable storage. What it holds is the truth; each operation
// happens here at one instant. Clients, their caches and everything that goes wrong on the way are file-client.ts.

export class Inode {
  readonly id: number
  readonly names: Set<string> | null
  links = 1
  #bytes: Buffer = Buffer.alloc(0)
  #size = 0

  constructor(id: number, directory: boolean) {
    this.id = id
    this.names = directory ? new Set() : null
  }

  get size(): number {
    return this.#size
  }

  write(bytes: Uint8Array, position: number): void {
    const end = position + bytes.length
    if (end > this.#bytes.length) {
      const grown = Buffer.alloc(Math.max(end, this.#bytes.length * 2))
      this.#bytes.copy(grown, 0, 0, this.#size)
      this.#bytes = grown
    }
    this.#bytes.set(bytes, position)
    this.#size = Math.max(this.#size, end)
  }

  read(into: Uint8Array, position: number): number {
    const count = Math.max(0, Math.min(into.length, this.#size - position))
    if (count > 0) into.set(this.#bytes.subarray(position, position + count))
    return count
  }

  get content(): Buffer {
    return this.#bytes.subarray(0, this.#size)
  }
}

export const fileError = (code: string, what = ''): Error => Object.assign(new Error(`${code}: ${what}`), { code })

const split = (path: string): [string, string] => {
  const slash = path.lastIndexOf('/')
  return [path.slice(0, slash), path.slice(slash + 1)]
}

export class FileServer {
  /** Down: every request waits, as with a hard mount. */
  up = true
  full = false
  /** Called before a name of a file goes. */
  onUnlink: ((path: string, node: Inode) => void) | null = null
  #ids = 1
  readonly nodes = new Map<string, Inode>([['', new Inode(1, true)]])

  find(path: string): Inode {
    const node = this.nodes.get(path)
    if (node === undefined) throw fileError('ENOENT', path)
    return node
  }

  create(path: string): Inode {
    return this.#add(path, false)
  }

  mkdir(path: string): void {
    this.#add(path, true)
  }

  link(existing: string, path: string): void {
    const node = this.find(existing)
    const names = this.#directoryOf(path)
    if (this.nodes.has(path)) throw fileError('EEXIST', path)
    if (this.full) throw fileError('ENOSPC', path)
    this.nodes.set(path, node)
    names.add(split(path)[1])
    node.links += 1
  }

  rename(from: string, path: string): void {
    const node = this.find(from)
    const names = this.#directoryOf(path)
    const replaced = this.nodes.get(path)
    if (replaced === node) return
    if (replaced !== undefined) replaced.links -= 1
    this.nodes.set(path, node)
    names.add(split(path)[1])
    this.#forget(from)
  }

  unlink(path: string): void {
    const node = this.find(path)
    this.onUnlink?.(path, node)
    node.links -= 1
    this.#forget(path)
  }

  rmdir(path: string): void {
    if (this.find(path).names?.size !== 0) throw fileError('ENOTEMPTY', path)
    this.#forget(path)
  }

  readdir(path: string): string[] {
    const { names } = this.find(path)
    if (names === null) throw fileError('ENOTDIR', path)
    return [...names]
  }

  #add(path: string, directory: boolean): Inode {
    const names = this.#directoryOf(path)
    if (this.nodes.has(path)) throw fileError('EEXIST', path)
    if (this.full) throw fileError('ENOSPC', path)
    this.#ids += 1
    const node = new Inode(this.#ids, directory)
    this.nodes.set(path, node)
    names.add(split(path)[1])
    return node
  }

  #directoryOf(path: string): Set<string> {
    const { names } = this.find(split(path)[0])
    if (names === null) throw fileError('ENOTDIR', path)
    return names
  }

  #forget(path: string): void {
    const [directory, name] = split(path)
    this.nodes.delete(path)
    this.nodes.get(directory)?.names?.delete(name)
  }
}
