// A producer that sends one job after the other at an even pace until it is told to stop, and remembers of each when it was
// sent and when its host said that it is accepted. Nothing may go wrong for it: the first error of any job fails its stop().
import { setTimeout as pause } from 'node:timers/promises'
import { Client } from '../../src/client/client.ts'
import type { Accepted, ClientOptions, JobInput } from '../../src/client/client.ts'

export interface LoadedJob extends Accepted {
  readonly sentMs: number
  readonly acceptedMs: number
}

export class SteadyLoad {
  readonly client: Client
  readonly jobs: LoadedJob[] = []
  readonly #sending = new Set<Promise<void>>()
  readonly #errors: unknown[] = []
  readonly #spec: JobInput
  readonly #run: Promise<void>
  #on = true

  /** `everyMs` null: nothing but bursts. */
  constructor(
    addresses: string | readonly string[],
    everyMs: number | null,
    options: Partial<ClientOptions> = {},
    spec: JobInput = { executable: '/bin/true' },
  ) {
    this.client = new Client({ addresses, backoffBaseMs: 20, backoffMostMs: 200, timeoutMs: 60_000, ...options })
    this.#spec = spec
    this.#run = everyMs === null ? Promise.resolve() : this.#send(everyMs)
  }

  /** So many at once; resolves when each has its answer. */
  async burst(jobs: number): Promise<void> {
    await Promise.all(Array.from({ length: jobs }, () => this.#sendOne()))
  }

  /** Resolves with all jobs when each is accepted. */
  async stop(): Promise<LoadedJob[]> {
    this.#on = false
    await this.#run
    await Promise.all(this.#sending)
    await this.client.close()
    if (this.#errors.length > 0) throw new AggregateError(this.#errors, `${this.#errors.length} jobs were not accepted: ${String(this.#errors[0])}`)
    return this.jobs
  }

  async #send(everyMs: number): Promise<void> {
    while (this.#on) {
      const sending = this.#sendOne().finally(() => this.#sending.delete(sending))
      this.#sending.add(sending)
      await pause(everyMs)
    }
  }

  async #sendOne(): Promise<void> {
    const sentMs = Date.now()
    try {
      const accepted = await this.client.send(this.#spec)
      this.jobs.push({ ...accepted, sentMs, acceptedMs: Date.now() })
    } catch (error) {
      this.#errors.push(error)
    }
  }
}
