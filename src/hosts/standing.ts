// Whether this host may work on the store, looked at for as long as the process runs: what operators decided about it
// (admission), whether the store's checks still pass, and whether somebody asks its process to end (drains). It decides
// nothing about instances; whoever owns them is told.
//
// A look that fails changes nothing: a store that is away for a moment has expelled nobody. What a store that stays away
// means for accepting and leading, the accept lease and the claim chain say.

import { sleep } from '../base/clock.ts'
import type { Clock } from '../base/clock.ts'
import { messageOf } from '../base/errors.ts'
import type { ProcessIdentity } from '../observe/instance.ts'
import type { CheckResult } from '../store/checks.ts'
import type { Store } from '../store/store.ts'
import { AdmissionList, refusalOf } from './admission.ts'
import type { AdmissionMode } from './admission.ts'
import { DrainRequests } from './drains.ts'
import type { DrainRequest } from './drains.ts'

export interface StandingOptions {
  readonly store: Store
  readonly host: string
  readonly mode: AdmissionMode
  readonly clock: Clock
  readonly process: ProcessIdentity
  /** Every instance that this process has been. */
  readonly instances: ReadonlySet<string>
  /** The checks that are cheap enough to be repeated. */
  readonly recheck: () => Promise<readonly CheckResult[]>
  /** Why the host may neither accept nor lead; null: it may. Called when it changes. */
  readonly onRefusal: (reason: string | null) => void
  readonly onDrain: (request: DrainRequest) => void
  readonly log: (level: 'info' | 'warn', message: string) => void
  readonly lookEveryMs?: number
  readonly recheckEveryMs?: number
}

/** Operators are obeyed within a second. */
const lookEveryMs = 800
const recheckEveryMs = 15_000
/** A failed check is believed when it fails again this much later, and looked at so often until it passes. */
const confirmMs = 1000

export class Standing {
  readonly #options: StandingOptions
  readonly #list: AdmissionList
  readonly #drains: DrainRequests
  readonly #stop = new AbortController()
  #notAdmitted: string | null = null
  #unfit: string | null = null
  #complaint = ''

  constructor(options: StandingOptions) {
    this.#options = options
    this.#list = new AdmissionList(options.store)
    this.#drains = new DrainRequests(options.store, options.process)
  }

  get refusal(): string | null {
    return this.#unfit ?? this.#notAdmitted
  }

  /** Takes the first look, which must succeed, and goes on looking until stop(). */
  async start(): Promise<void> {
    const { host, mode } = this.#options
    this.#notAdmitted = refusalOf(await this.#list.look(), host, mode)
    void this.#keepLooking()
    void this.#keepChecking()
  }

  stop(): void {
    this.#stop.abort()
  }

  async #keepLooking(): Promise<void> {
    const { clock, host, mode, instances, onDrain, log } = this.#options
    const { signal } = this.#stop
    for (;;) {
      await sleep(clock, this.#options.lookEveryMs ?? lookEveryMs, signal)
      if (signal.aborted) return
      try {
        const reason = refusalOf(await this.#list.look(), host, mode)
        this.#set(() => (this.#notAdmitted = reason))
        const request = await this.#drains.look(instances)
        if (request !== null) onDrain(request)
        this.#complaint = ''
      } catch (error) {
        const message = `what operators decided about this host can't be read: ${messageOf(error)}`
        if (this.#complaint !== message) log('warn', message)
        this.#complaint = message
      }
    }
  }

  async #keepChecking(): Promise<void> {
    const { clock, log } = this.#options
    const { signal } = this.#stop
    let failedBefore = false
    for (;;) {
      const soon = failedBefore || this.#unfit !== null
      await sleep(clock, soon ? confirmMs : (this.#options.recheckEveryMs ?? recheckEveryMs), signal)
      if (signal.aborted) return
      const failed = (await this.#options.recheck()).find(({ ok }) => !ok)
      const reason = failed === undefined ? null : `store check ${failed.name}: ${failed.detail}${failed.remedy === undefined ? '' : ` (${failed.remedy})`}`
      if (reason !== null && !failedBefore && this.#unfit === null) {
        failedBefore = true
        continue
      }
      failedBefore = false
      if (reason === null && this.#unfit !== null) log('info', "the store's checks pass again")
      this.#set(() => (this.#unfit = reason))
    }
  }

  #set(change: () => void): void {
    const before = this.refusal
    change()
    if (this.refusal !== before && !this.#stop.signal.aborted) this.#options.onRefusal(this.refusal)
  }
}
