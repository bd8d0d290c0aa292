// Keeps a submitter running beside the instance: starts it, starts it again when it dies, passes on what it says.
import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { fullJitter } from '../base/clock.ts'
import type { Nudge } from '../protocol/nudge.ts'
import type { FromSubmitter, LeaderBooks, StartMessage, ToSubmitter } from './messages.ts'

export interface SubmitterProcessOptions {
  /** Asked at every start: what has been published by then is in it. */
  readonly start: () => StartMessage
  readonly onRole: (message: Extract<FromSubmitter, { type: 'role' }>) => void
  readonly onAdopt: (instance: string, why: string, from: number) => void
  readonly onLeader: (address: string | null) => void
  readonly onAnnounce: (addresses: readonly string[]) => void
  readonly onBooks: (books: LeaderBooks) => void
  /** The submitter died; it is being started again. */
  readonly onDeath: (how: string) => void
  readonly log: (level: 'debug' | 'info' | 'warn' | 'error', message: string, details?: Record<string, unknown>) => void
}

const restartMinMs = 100
const restartMaxMs = 5000
/** A submitter that lived this long is not failing in a row. */
const healthyMs = 10_000

export class SubmitterProcess {
  readonly #options: SubmitterProcessOptions
  #child: ChildProcess | null = null
  #ending = false
  #failures = 0
  #timer: NodeJS.Timeout | null = null

  constructor(options: SubmitterProcessOptions) {
    this.#options = options
  }

  get pid(): number | undefined {
    return this.#child?.pid
  }

  start(): void {
    const startedAt = performance.now()
    const child = fork(fileURLToPath(new URL('submitter.js', import.meta.url)), [], {
      // Its memory is bounded by its window and the ids it has seen, which are outside of the heap for the most part.
      execArgv: [],
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      serialization: 'advanced',
    })
    this.#child = child
    child.on('message', (message: FromSubmitter) => this.#hear(message))
    child.on('error', (error) => {
      this.#options.log('error', `the submitter can't be started or reached: ${error.message}`)
      // A process that never was has no exit.
      if (child.pid === undefined) died(null, null)
    })
    child.on('exit', (status, signal) => died(status, signal))
    const died = (status: number | null, signal: string | null): void => {
      this.#child = null
      if (this.#ending) return
      if (performance.now() - startedAt > healthyMs) this.#failures = 0
      const how = signal === 'SIGKILL' ? 'killed (at the end of its lease, or by someone)' : `ended with ${signal ?? `status ${status}`}`
      this.#options.onDeath(how)
      this.#options.log('warn', `the submitter was ${how}; it is started again`)
      this.#timer = setTimeout(() => this.start(), restartMinMs + fullJitter(this.#failures, restartMinMs, restartMaxMs, Math.random))
      this.#failures += 1
    }
    this.#send(this.#options.start())
  }

  published(number: number): void {
    this.#send({ type: 'published', number })
  }

  adopted(instance: string, last: number): void {
    this.#send({ type: 'adopted', instance, last })
  }

  look(nudge: Nudge): void {
    this.#send({ type: 'look', nudge })
  }

  /** Lets it finish what is in flight and resign; kills it after that time. What that leaves in doubt is resolved later. */
  async resign(withinMs: number): Promise<void> {
    this.#ending = true
    if (this.#timer !== null) clearTimeout(this.#timer)
    const child = this.#child
    if (child === null) return
    const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()))
    this.#send({ type: 'resign' })
    const timer = setTimeout(() => {
      this.#options.log('warn', `the submitter didn't resign within ${withinMs} ms: it is killed`)
      child.kill('SIGKILL')
    }, withinMs)
    await exited
    clearTimeout(timer)
  }

  /** At once: the instance is retiring or failing. */
  kill(): void {
    this.#ending = true
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#child?.kill('SIGKILL')
  }

  #send(message: ToSubmitter): void {
    const child = this.#child
    if (child === null || !child.connected) return
    // A submitter that dies just now is told everything again at its next start.
    child.send(message, () => undefined)
  }

  #hear(message: FromSubmitter): void {
    switch (message.type) {
      case 'role':
        return this.#options.onRole(message)
      case 'adopt':
        return this.#options.onAdopt(message.instance, message.why, message.from)
      case 'leader':
        return this.#options.onLeader(message.address)
      case 'announce':
        return this.#options.onAnnounce(message.addresses)
      case 'books':
        return this.#options.onBooks(message.books)
      case 'log':
        return this.#options.log(message.level, message.message, message.details)
      case 'resigned':
        return
    }
  }
}
