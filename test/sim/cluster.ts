// A cluster and its driver, with what real ones do to whoever submits: take a job and lose the answer, show it late, be busy,
// stand still with requests in their queue, crash and forget what was not saved, drop what has ended. Bytes pass three places:
// the sender's kernel, where its death can still discard them; the way and the cluster's queue, which take at most
// the settle time; the cluster.
import type { Confirmation, Driver, DriverLimits, Ended, Finding, Origin, Outcome, Preflight, Submission } from '../../src/submit/driver.ts'
import type { Held, Proc } from './machine.ts'
import type { Judge } from './judge.ts'
import type { World } from './world.ts'

export interface ClusterHabits {
  readonly settleMs: number
  readonly askEveryMs: number
  readonly batchJobsMax: number
  readonly inFlightMax: number
  /** How long a driver waits for an answer. */
  readonly timeoutMs: number
  /** How long jobs run; null: their ends are nobody's affair. */
  readonly runMs: number | null
  /** Ended jobs are dropped from listings; null: never. */
  readonly absentProofMs: number | null
  readonly confirms: boolean
  readonly saveEveryMs: number
  readonly holds: boolean
  readonly asks: boolean
  /** Sockets of a process that dies, or that gives up, are discarded with what they hold. */
  readonly abortive: boolean
}

interface Taken {
  readonly id: string
  readonly jobId: string
  readonly visibleAtMs: number
  readonly takenAtMs: number
  endedAtMs: number | null
  released: boolean
}

type Watcher = (ended: readonly Ended[]) => void

export class Cluster {
  readonly name: string
  readonly world: World
  readonly judge: Judge
  readonly habits: ClusterHabits
  readonly jobs = new Map<string, Taken>()
  readonly watchers = new Map<Proc, Watcher>()
  up = true
  frozen = false
  epoch = 0
  #jobIds = 1000
  #savedAtMs = 0
  #queue: (() => void)[] = []

  constructor(name: string, world: World, judge: Judge, habits: ClusterHabits) {
    this.name = name
    this.world = world
    this.judge = judge
    this.habits = habits
  }

  get answering(): boolean {
    return this.up && !this.frozen
  }

  /** A request has arrived: done now, or when the cluster goes on. */
  receive(epoch: number, work: () => void): void {
    if (!this.up || epoch !== this.epoch) return
    if (this.frozen) this.#queue.push(work)
    else work()
  }

  freeze(): void {
    this.frozen = true
  }

  thaw(): void {
    if (!this.frozen) return
    this.frozen = false
    const queue = this.#queue
    this.#queue = []
    const { settleMs, askEveryMs } = this.habits
    const { epoch } = this
    // It works its queue off before the second of two questions, in no order that anybody could rely on.
    for (const work of queue) {
      this.world.time.after(this.world.chance.between(0, Math.min(settleMs, askEveryMs / 2) * 0.8), null, () => this.receive(epoch, work))
    }
  }

  /** Loses its connections, and the jobs that it hadn't saved. */
  crash(): void {
    if (!this.up) return
    this.up = false
    this.epoch += 1
    this.frozen = false
    this.#queue = []
    if (!this.habits.confirms) return
    const { now } = this.world.time
    const saved = now - ((now - this.#savedAtMs) % this.habits.saveEveryMs)
    for (const [id, job] of this.jobs) {
      if (job.takenAtMs <= saved) continue
      this.jobs.delete(id)
      this.judge.forgets(id)
      this.world.log(this.name, `forgets ${id}`)
    }
  }

  restart(): void {
    if (this.up) return
    this.up = true
    this.#savedAtMs = this.world.time.now
  }

  submit(job: { readonly id: string; readonly content: string }, term: number): Outcome {
    const { world, habits } = this
    const { chance, clusterFaults, time } = world
    if (job.content.startsWith('bad')) return { kind: 'refused', reason: 'the cluster never takes such a job' }
    if (chance.happens(clusterFaults.busy)) {
      world.count('cluster busy')
      return chance.happens(0.3) ? { kind: 'later', reason: 'busy', afterMs: chance.between(10, 300) } : { kind: 'later', reason: 'busy' }
    }
    world.log(this.name, `takes ${job.id} ${job.content} of term ${term}`)
    this.judge.takes(this.name, job.id, job.content)
    const late = chance.happens(clusterFaults.shownLate)
    if (late) world.count('shown late')
    const jobId = String((this.#jobIds += 1))
    const visibleAtMs = time.now + (late ? chance.between(0, habits.settleMs * 0.45) : 0)
    const taken: Taken = { id: job.id, jobId, visibleAtMs, takenAtMs: time.now, endedAtMs: null, released: !habits.holds }
    this.jobs.set(job.id, taken)
    if (habits.runMs !== null && !habits.holds) this.#runs(taken)
    return { kind: 'submitted', jobId }
  }

  #runs(taken: Taken): void {
    const { world, habits } = this
    world.time.after(world.chance.skewed(1, habits.runMs ?? 0), null, () => this.#ends(taken))
  }

  #ends(taken: Taken): void {
    if (this.jobs.get(taken.id) !== taken) return
    taken.endedAtMs = this.world.time.now
    for (const proc of this.watchers.keys()) this.tellEnd(proc, taken)
  }

  tellEnd(proc: Proc, { id, jobId }: Taken): void {
    const endedAt = new Date(proc.host.wallMs).toISOString()
    const ended: Ended = { id, jobId, exitCode: 0, signal: null, startedAt: null, endedAt, reason: 'exited' }
    this.world.time.after(this.world.chance.between(0.2, 50), proc, () => this.watchers.get(proc)?.([ended]))
  }

  release(id: string): boolean {
    const taken = this.jobs.get(id)
    if (taken === undefined) return false
    if (!taken.released && this.habits.runMs !== null) this.#runs(taken)
    taken.released = true
    return true
  }

  /** What a listing shows. */
  shown(id: string): Taken | null {
    const taken = this.jobs.get(id)
    const { now } = this.world.time
    if (taken === undefined || taken.visibleAtMs > now) return null
    const { absentProofMs } = this.habits
    // Clocks of hosts differ by less than this slack.
    if (absentProofMs !== null && taken.endedAtMs !== null && now - taken.takenAtMs > absentProofMs + 3000) return null
    return taken
  }

  isSaved({ takenAtMs }: Taken): boolean {
    return this.world.time.now - takenAtMs > this.habits.saveEveryMs
  }
}

/** One job in four goes alone, the others in three kinds. */
const keyOf = ({ id }: Submission): string | null => {
  const kind = Number(BigInt(id.slice(id.indexOf('-') + 1)) % 4n)
  return kind === 0 ? null : String(kind)
}

const fitting = (): (() => boolean) => {
  let jobs = 0
  return () => (jobs += 1) <= 25
}

interface Message extends Held {
  state: 'kernel' | 'wire' | 'gone'
}

export class ClusterDriver implements Driver {
  readonly kind = 'simulated'
  readonly limits: DriverLimits
  readonly find: Driver['find']
  readonly confirm?: NonNullable<Driver['confirm']>
  readonly confirmAfterMs?: number
  readonly watch?: NonNullable<Driver['watch']>
  readonly release?: NonNullable<Driver['release']>
  readonly gathering?: NonNullable<Driver['gathering']>
  readonly #proc: Proc
  readonly #cluster: Cluster
  readonly #credulous: boolean
  /** What the newest preflight that was answered said, and when it came; null: none was. */
  #passed: boolean | null = null
  #passedMs = 0

  /** `credulous`: a preflight that fails passes all the same. */
  constructor(proc: Proc, cluster: Cluster, settleMs: number, credulous: boolean) {
    this.#proc = proc
    this.#cluster = cluster
    this.#credulous = credulous
    const { habits } = cluster
    const { askEveryMs, batchJobsMax, inFlightMax, absentProofMs } = habits
    // A small driver has more intents than calls, as that for Slurm.
    const takenMax = inFlightMax === 2 ? 6 : inFlightMax
    this.limits = { askEveryMs, batchJobsMax, inFlightMax, takenMax, settleMs, ...(absentProofMs === null ? {} : { absentProofMs }) }
    if (batchJobsMax === 100) this.gathering = { keyOf, begin: fitting }
    this.find = habits.asks ? (ids) => this.#find(ids) : null
    if (habits.confirms) {
      this.confirmAfterMs = habits.settleMs + habits.saveEveryMs
      this.confirm = (jobs) => this.#confirm(jobs)
    }
    if (habits.runMs !== null) {
      this.watch = (onEnded, _onCapacity, unended) => {
        cluster.watchers.set(proc, onEnded)
        for (const id of unended) {
          const taken = cluster.jobs.get(id)
          if (taken !== undefined && taken.endedAtMs !== null) cluster.tellEnd(proc, taken)
        }
      }
    }
    if (habits.holds) this.release = (jobs) => this.#release(jobs)
  }

  async preflight(): Promise<Preflight> {
    const { host } = this.#proc
    const asked = await this.#ask(() => !host.broken.has(this.#cluster.name))
    this.#passed = asked === true
    this.#passedMs = host.world.time.now
    if (this.#passed || this.#credulous) return { ok: true, detail: '' }
    return asked === null ? { ok: false, kind: 'unreachable', reason: 'the cluster does not answer' } : { ok: false, kind: 'refused', reason: 'no credentials here' }
  }

  /**
   * Asked right before jobs are taken to be submitted. Their intents may then take their time, so it is here that the newest
   * answer counts, if it didn't come at this very moment.
   */
  capacity(): number {
    const { name, host } = this.#proc
    if (this.#passed !== true && host.world.time.now > this.#passedMs) {
      const why = this.#passed === null ? 'has never tried it' : `has failed its preflight ${Math.round(host.world.time.now - this.#passedMs)} ms ago`
      host.world.violate('an ineligible host never submits', `${name} would take jobs for ${this.#cluster.name}, and ${why}`)
    }
    return Number.POSITIVE_INFINITY
  }

  submit(jobs: readonly Submission[], origin: Origin): Promise<Outcome[]> {
    const proc = this.#proc
    if (!proc.trapBefore(true, true)) return new Promise(() => undefined)
    const contents = jobs.map((job) => ({ id: job.id, content: job.spec.arguments?.[0] ?? '' }))
    return new Promise((resolve) => {
      // Stopped between the last look at the lease and the call.
      if (proc.stops > 0) proc.host.world.time.after(0, proc, () => this.#send(contents, origin.term, resolve))
      else this.#send(contents, origin.term, resolve)
    })
  }

  #send(jobs: readonly { id: string; content: string }[], term: number, resolve: (outcomes: Outcome[]) => void): void {
    const proc = this.#proc
    const cluster = this.#cluster
    const { host } = proc
    const { world, kernel } = host
    const { chance, time, clusterFaults } = world
    const { habits, epoch } = cluster
    cluster.judge.begins(proc.name, term)
    if (world.verbose) world.log(proc.name, `submits ${jobs.map(({ id }) => id).join(' ')} in term ${term}`)
    if (!cluster.up && !host.clusterCut) {
      // Connection refused.
      time.after(1, proc, () => resolve(jobs.map(() => ({ kind: 'later', reason: 'connection refused' }))))
      return
    }
    if (host.broken.has(cluster.name)) {
      world.count('refused for its configuration')
      time.after(chance.between(0.4, 6), proc, () => resolve(jobs.map(() => ({ kind: 'later', reason: 'no credentials here' }))))
      return
    }
    let answered = false
    const message: Message = {
      state: 'kernel',
      ownerDied: () => {
        proc.held.delete(message)
        if (message.state !== 'kernel') return
        if (habits.abortive || host.kernel.dead) message.state = 'gone'
        else world.count('left in the kernel of a dead process')
      },
    }
    proc.held.add(message)
    const answer = (outcomes: Outcome[]): void => {
      if (answered) return
      answered = true
      resolve(outcomes)
    }
    proc.clock.after(habits.timeoutMs, () => {
      if (answered) return
      world.count('submission without an answer')
      if (message.state === 'kernel' && habits.abortive) message.state = 'gone'
      answer(jobs.map(() => ({ kind: 'doubt', reason: 'no answer in time' })))
    })
    const arrive = (): void => {
      if (chance.happens(clusterFaults.lost)) {
        world.count('submission lost')
        return
      }
      cluster.receive(epoch, () => {
        const outcomes = jobs.map((job) => cluster.submit(job, term))
        proc.trapAfter(true, true)
        if (chance.happens(clusterFaults.unanswered)) {
          world.count('taken and not answered')
          return
        }
        time.after(chance.between(0.2, 3), proc, () => answer(outcomes))
      })
    }
    const depart = (): void => {
      if (message.state !== 'kernel') return
      if (host.clusterCut) {
        time.after(40, kernel, depart)
        return
      }
      message.state = 'wire'
      proc.held.delete(message)
      cluster.judge.departs(proc.name, term)
      const slow = chance.happens(clusterFaults.shownLate)
      time.after(slow ? chance.between(0, habits.settleMs * 0.45) : chance.between(0.2, 3), null, arrive)
    }
    const stalled = chance.happens(clusterFaults.stalled)
    if (stalled) world.count('submission stuck in its host')
    time.after(stalled ? chance.between(20, 8000) : 0.05, kernel, depart)
  }

  /** A question and its answer; null: there is none. */
  #ask<T>(work: () => T): Promise<T | null> {
    const proc = this.#proc
    const cluster = this.#cluster
    const { host } = proc
    const { chance, time, clusterFaults } = host.world
    return new Promise((resolve) => {
      if (!proc.trapBefore(false, false)) return
      let answered = false
      const answer = (value: T | null): void => {
        if (answered) return
        answered = true
        resolve(value)
      }
      proc.clock.after(cluster.habits.timeoutMs, () => answer(null))
      if (host.clusterCut || chance.happens(clusterFaults.unknown)) return
      const { epoch } = cluster
      time.after(chance.between(0.2, 3), host.kernel, () => {
        cluster.receive(epoch, () => {
          const value = work()
          time.after(chance.between(0.2, 3), proc, () => answer(value))
        })
      })
    })
  }

  async #find(ids: readonly string[]): Promise<Finding[]> {
    const cluster = this.#cluster
    const { world } = cluster
    const found = await this.#ask(() => ids.map((id) => cluster.shown(id)))
    if (found === null) return ids.map(() => ({ kind: 'unknown', reason: 'the cluster does not answer' }))
    return found.map((taken, at): Finding => {
      world.count(taken === null ? 'doubt: answered absent' : 'doubt: found')
      world.log(this.#proc.name, `asks for ${ids[at]}: ${taken === null ? 'absent' : 'found'}`)
      if (taken === null) return { kind: 'absent' }
      if (taken.endedAtMs !== null && cluster.habits.runMs !== null) cluster.tellEnd(this.#proc, taken)
      return { kind: 'found', jobId: taken.jobId }
    })
  }

  async #confirm(jobs: readonly { id: string; submittedAtMs: number }[]): Promise<Confirmation[]> {
    const cluster = this.#cluster
    const { absentProofMs } = cluster.habits
    const shown = await this.#ask(() => jobs.map(({ id }): Confirmation | null => {
      const taken = cluster.shown(id)
      return taken === null ? null : cluster.isSaved(taken) ? 'kept' : 'unknown'
    }))
    if (shown === null) return jobs.map(() => 'unknown')
    return shown.map((answer, at): Confirmation => {
      if (answer !== null) return answer
      const age = this.#proc.host.wallMs - jobs[at]!.submittedAtMs
      return absentProofMs === null || age < absentProofMs ? 'forgotten' : 'doubtful'
    })
  }

  async #release(jobs: readonly { id: string }[]): Promise<('done' | 'gone' | 'later')[]> {
    const released = await this.#ask(() => jobs.map(({ id }) => this.#cluster.release(id)))
    return jobs.map((_, at) => (released === null ? 'later' : released[at] === true ? 'done' : 'gone'))
  }

  close(): Promise<void> {
    this.#cluster.watchers.delete(this.#proc)
    return Promise.resolve()
  }
}
