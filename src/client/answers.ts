// Who waits for answers: the promise of one job, and the promise of a batch.
import type { UsherError } from '../base/errors.ts'
import type { Owner } from './unit.ts'

/** A job that is on stable storage. */
export interface Accepted {
  readonly id: string
  /** Who acknowledged it. */
  readonly host: string
  readonly instance: string
}

export interface BatchResult {
  readonly accepted: number
  /** Jobs that weren't, and those nobody knows of (`in_doubt`). */
  readonly failed: number
  /** One for each job of `failed`, with details.id; empty where the caller takes them by onFailed. */
  readonly failures: readonly UsherError[]
}

/** What owners ask of the client. */
interface Answering {
  readonly connectedTo: { readonly host: string; readonly instance: string } | undefined
  idOf(sequence: number): string
}

export class SingleOwner implements Owner {
  readonly #client: Answering
  readonly #signal: AbortSignal | undefined
  readonly #resolve: (accepted: Accepted) => void
  readonly #reject: (error: UsherError) => void
  #abort: (() => void) | undefined

  constructor(
    client: Answering,
    signal: AbortSignal | undefined,
    resolve: (accepted: Accepted) => void,
    reject: (error: UsherError) => void,
  ) {
    this.#client = client
    this.#signal = signal
    this.#resolve = resolve
    this.#reject = reject
  }

  expect(): void {}

  onAbort(abort: () => void): void {
    this.#abort = abort
    this.#signal?.addEventListener('abort', abort)
  }

  accepted(first: number): void {
    this.#forget()
    const by = this.#client.connectedTo
    this.#resolve({ id: this.#client.idOf(first), host: by?.host ?? '', instance: by?.instance ?? '' })
  }

  failed(_sequence: number, error: UsherError): void {
    this.#forget()
    this.#reject(error)
  }

  #forget(): void {
    if (this.#abort !== undefined) this.#signal?.removeEventListener('abort', this.#abort)
  }
}

export interface BatchCallbacks {
  readonly onAccepted?: (first: number, jobs: number) => void
  readonly onFailed?: (error: UsherError) => void
}

export class BatchOwner implements Owner {
  readonly done: Promise<BatchResult>
  readonly #callbacks: BatchCallbacks
  readonly #failures: UsherError[] = []
  #resolve: (result: BatchResult) => void = () => {}
  #accepted = 0
  #failed = 0
  #waiting = 0
  #closed = false

  constructor(callbacks: BatchCallbacks) {
    this.#callbacks = callbacks
    this.done = new Promise((resolve) => {
      this.#resolve = resolve
    })
  }

  /** So many more jobs are held for this batch. */
  expect(jobs: number): void {
    this.#waiting += jobs
  }

  /** No more jobs will come. */
  close(): void {
    this.#closed = true
    this.#finish()
  }

  /** A job that was never held. */
  rejected(error: UsherError): void {
    this.#failed++
    if (this.#callbacks.onFailed === undefined) this.#failures.push(error)
    else this.#callbacks.onFailed(error)
  }

  accepted(first: number, jobs: number): void {
    this.#accepted += jobs
    this.#callbacks.onAccepted?.(first, jobs)
    this.#waiting -= jobs
    this.#finish()
  }

  failed(_sequence: number, error: UsherError): void {
    this.rejected(error)
    this.#waiting--
    this.#finish()
  }

  #finish(): void {
    if (!this.#closed || this.#waiting > 0) return
    this.#resolve({ accepted: this.#accepted, failed: this.#failed, failures: this.#failures })
  }
}
