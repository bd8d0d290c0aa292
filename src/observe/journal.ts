// What an instance did to segments, a line each, for `usher trace`. Written behind: a crash may lose the newest lines,
// and then a trace shows the step without who did it. Nothing is decided from it.

export interface JournalEntry {
  readonly at: string
  readonly step: 'started' | 'published' | 'transformed' | 'aside' | 'adopted' | 'retired' | 'ended'
  /** `<instance>/<number>` */
  readonly segment?: string
  readonly jobs?: number
  readonly ms?: number
  readonly detail?: string
}

export interface JournalAppender {
  append(bytes: Uint8Array): Promise<void>
  close(): Promise<void>
}

export class Journal {
  readonly #appender: JournalAppender
  readonly #onError: (error: unknown) => void
  #lines: string[] = []
  #writing: Promise<void> | null = null
  #dead = false

  /** The first line says who: everything in the file was done by that process. */
  constructor(appender: JournalAppender, by: Readonly<Record<string, unknown>>, onError: (error: unknown) => void) {
    this.#appender = appender
    this.#onError = onError
    this.#push(JSON.stringify({ by }))
  }

  add(entry: Omit<JournalEntry, 'at'>): void {
    this.#push(JSON.stringify({ at: new Date().toISOString(), ...entry }))
  }

  async close(): Promise<void> {
    while (this.#writing !== null) await this.#writing
    if (!this.#dead) await this.#appender.close()
  }

  #push(line: string): void {
    if (this.#dead) return
    this.#lines.push(line)
    this.#writing ??= this.#write()
  }

  async #write(): Promise<void> {
    try {
      while (this.#lines.length > 0) {
        const lines = this.#lines
        this.#lines = []
        await this.#appender.append(Buffer.from(`${lines.join('\n')}\n`))
      }
    } catch (error) {
      this.#dead = true
      this.#onError(error)
    } finally {
      this.#writing = null
    }
  }
}
