// Simulated time: a heap of events, each run to the end of everything that it sets going before the next begins.
// Holds who may run: what is dead never runs again, what is stopped runs when it goes on, in the old order.
//
// No other source of time or order exists in a simulated world: no timer, no I/O, no turn of Node's event loop.
import { setFlagsFromString } from 'node:v8'

setFlagsFromString('--allow-natives-syntax')
/** Runs every promise reaction that is ready, and those that they make ready: what Node does between two turns of its event loop. */
// oxlint-disable-next-line typescript/no-implied-eval -- V8 has no other name for it.
export const drainPromises = new Function('%PerformMicrotaskCheckpoint()') as () => void

/** Something that can be stopped and can die: a process, or a host's kernel. */
export class Life {
  dead = false
  /** How many things stop it just now. */
  stops = 0
  readonly parked: Event[] = []
}

export interface Event {
  readonly at: number
  readonly order: number
  readonly life: Life | null
  readonly run: () => void
  /** Comes first of all that waits when its life goes on. */
  readonly urgent: boolean
  cancelled: boolean
}

const before = (a: Event, b: Event): boolean => a.at < b.at || (a.at === b.at && a.order < b.order)

export class Time {
  /** Milliseconds since the world began, as no host knows them. */
  now = 0
  steps = 0
  #order = 0
  readonly #heap: Event[] = []

  /** Runs after that time, if `life` may run then. */
  after(ms: number, life: Life | null, run: () => void, urgent = false): Event {
    this.#order += 1
    const event = { at: this.now + (ms > 0 ? ms : 0), order: this.#order, life, run, urgent, cancelled: false }
    this.#push(event)
    return event
  }

  stop(life: Life): void {
    life.stops += 1
  }

  goOn(life: Life): void {
    if (life.stops === 0) return
    life.stops -= 1
    if (life.stops > 0 || life.dead) return
    const parked = life.parked.splice(0)
    // A kernel's own timers come before what it would send.
    for (const urgent of [true, false]) {
      for (const event of parked) if (!event.cancelled && event.urgent === urgent) this.after(0, life, event.run, urgent)
    }
  }

  /** Runs events until `done` says so, none are left, or that time has come. */
  run(untilMs: number, done: () => boolean): void {
    while (!done()) {
      const event = this.#heap[0]
      if (event === undefined || event.at > untilMs) {
        this.now = Math.max(this.now, untilMs)
        return
      }
      this.#pop()
      if (event.cancelled) continue
      const { life } = event
      this.now = event.at
      if (life !== null) {
        if (life.dead) continue
        if (life.stops > 0) {
          life.parked.push(event)
          continue
        }
      }
      this.steps += 1
      event.run()
      drainPromises()
    }
  }

  #push(event: Event): void {
    const heap = this.#heap
    let at = heap.length
    heap.push(event)
    while (at > 0) {
      const parent = (at - 1) >> 1
      const other = heap[parent]!
      if (!before(event, other)) break
      heap[at] = other
      at = parent
    }
    heap[at] = event
  }

  #pop(): void {
    const heap = this.#heap
    const last = heap.pop()!
    const length = heap.length
    if (length === 0) return
    let at = 0
    for (;;) {
      let child = at * 2 + 1
      if (child >= length) break
      if (child + 1 < length && before(heap[child + 1]!, heap[child]!)) child += 1
      const other = heap[child]!
      if (!before(other, last)) break
      heap[at] = other
      at = child
    }
    heap[at] = last
  }
}
