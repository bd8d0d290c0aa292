// The primitive file operations with one fault: the nth call fails, undone, or done and reported as failed.
import type { FileOperations, OpenFile } from '../../../src/store/file-operations.ts'
import { realFiles } from '../../../src/store/file-operations.ts'

export interface Fault {
  /** 1-based, over all calls; or over those of `operation`, where that is given. */
  readonly nth: number
  readonly operation?: string
  readonly errno: string
  readonly done: boolean
}

export const errnoError = (errno: string): Error => Object.assign(new Error(`${errno}: made to fail`), { code: errno })

export class FaultyFiles implements FileOperations {
  /** Names of the calls made, in their order. */
  readonly calls: string[] = []
  readonly #fault: Fault | null

  constructor(fault: Fault | null = null) {
    this.#fault = fault
  }

  get struck(): boolean {
    const { length } = this.#counted()
    return this.#fault !== null && length >= this.#fault.nth
  }

  async open(path: string, mode: Parameters<FileOperations['open']>[1]): Promise<OpenFile> {
    let opened: OpenFile | undefined
    try {
      const file = await this.#call(`open ${mode}`, async () => (opened = await realFiles.open(path, mode)))
      return this.#wrap(file)
    } catch (error) {
      await opened?.close()
      throw error
    }
  }
  link(existing: string, path: string): Promise<void> {
    return this.#call('link', () => realFiles.link(existing, path))
  }
  rename(from: string, path: string): Promise<void> {
    return this.#call('rename', () => realFiles.rename(from, path))
  }
  unlink(path: string): Promise<void> {
    return this.#call('unlink', () => realFiles.unlink(path))
  }
  mkdir(path: string): Promise<void> {
    return this.#call('mkdir', () => realFiles.mkdir(path))
  }
  rmdir(path: string): Promise<void> {
    return this.#call('rmdir', () => realFiles.rmdir(path))
  }
  readdir(path: string): Promise<string[]> {
    return this.#call('readdir', () => realFiles.readdir(path))
  }
  stat(path: string): ReturnType<FileOperations['stat']> {
    return this.#call('stat', () => realFiles.stat(path))
  }
  free(path: string): Promise<number> {
    return this.#call('free', () => realFiles.free(path))
  }

  #wrap(file: OpenFile): OpenFile {
    return {
      write: (bytes, position) => this.#call('write', () => file.write(bytes, position)),
      read: (into, position) => this.#call('read', () => file.read(into, position)),
      status: () => this.#call('status', () => file.status()),
      sync: () => this.#call('sync', () => file.sync()),
      datasync: () => this.#call('datasync', () => file.datasync()),
      // Undone would leak the descriptor: a close that fails has closed.
      close: async () => {
        await this.#call('close', () => file.close()).catch(async (error: unknown) => {
          await file.close().catch(() => undefined)
          throw error
        })
      },
    }
  }

  #counted(): readonly string[] {
    const operation = this.#fault?.operation
    return operation === undefined ? this.calls : this.calls.filter((call) => call === operation)
  }

  async #call<T>(name: string, work: () => Promise<T>): Promise<T> {
    this.calls.push(name)
    const fault = this.#fault
    const strikes = fault !== null && this.#counted().length === fault.nth && (fault.operation ?? name) === name
    if (!strikes) return work()
    if (fault.done) await work()
    throw errnoError(fault.errno)
  }
}
