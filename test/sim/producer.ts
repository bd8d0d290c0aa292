// A producer: mints an id before the first attempt, sends a few jobs together to some host, and after a refusal, a lost
// connection or silence sends them again, often to another one, until it is told that they were accepted.
import type { Judge, SentJob } from './judge.ts'
import type { Serve } from './serve.ts'
import type { World } from './world.ts'

export interface ProducerHabits {
  readonly timeoutMs: number
  readonly clusters: readonly string[]
  /** How likely a job is to be sent again with other content, a cluster to refuse it, an accepted job to be sent again. */
  readonly conflicts: number
  readonly bad: number
  readonly resends: number
}

export class Producer {
  readonly #world: World
  readonly #judge: Judge
  readonly #hosts: readonly Serve[]
  readonly #habits: ProducerHabits
  readonly #producer: string
  #sequence = 0
  /** Deliveries that are not answered, or still to be made. */
  pending = 0

  constructor(world: World, judge: Judge, hosts: readonly Serve[], habits: ProducerHabits) {
    this.#world = world
    this.#judge = judge
    this.#hosts = hosts
    this.#habits = habits
    this.#producer = world.chance.hex(16)
    this.#sequence = world.chance.whole(0, 1000)
  }

  send(count: number): void {
    const { chance } = this.#world
    const jobs: SentJob[] = []
    const others: SentJob[] = []
    for (let at = 0; at < count; at += 1) {
      this.#sequence += 1
      const id = `${this.#producer}-${this.#sequence}`
      const cluster = chance.of(this.#habits.clusters)
      const bad = chance.happens(this.#habits.bad)
      jobs.push({ id, content: `${bad ? 'bad' : 'a'}${this.#sequence}@${cluster}`, bad })
      if (chance.happens(this.#habits.conflicts)) others.push({ id, content: `b${this.#sequence}@${cluster}`, bad: false })
    }
    this.#later(0, jobs)
    // Somebody made up an id that was used before.
    if (others.length > 0) this.#later(chance.skewed(0, 3000), others)
  }

  #later(ms: number, jobs: readonly SentJob[]): void {
    this.pending += 1
    this.#world.time.after(ms, null, () => this.#deliver(jobs, this.#world.chance.of(this.#hosts)))
  }

  #deliver(jobs: readonly SentJob[], to: Serve): void {
    const { chance, time } = this.#world
    for (const job of jobs) this.#judge.sends(job)
    let answered = false
    const again = (): void => {
      answered = true
      this.#world.count('jobs sent again', jobs.length)
      time.after(chance.skewed(5, 1000), null, () => this.#deliver(jobs, chance.happens(0.6) ? chance.of(this.#hosts) : to))
    }
    time.after(this.#habits.timeoutMs, null, () => {
      if (!answered) again()
    })
    time.after(chance.between(0.1, 2), null, () => {
      const { server, instance } = to
      if (server === null || instance === null) return
      // Bytes wait in the host's kernel while its process stands still.
      time.after(0.05, server, () => {
        instance.take({
          jobs,
          answer: (accepted) => {
            // On its way whatever becomes of the process; a stopped host sends nothing.
            time.after(chance.between(0.1, 2), to.host.kernel, () => {
              if (accepted) for (const job of jobs) this.#judge.acks(job)
              if (answered) return
              if (!accepted) return again()
              answered = true
              this.pending -= 1
              if (chance.happens(this.#habits.resends)) {
                this.#world.count('accepted jobs sent again')
                this.#later(chance.skewed(1, 4000), jobs)
              }
            })
          },
        })
      })
    })
  }
}
