// Knows what producers sent and were told, sees what clusters take, and says at once when an invariant is broken.
import type { World } from './world.ts'

export interface SentJob {
  readonly id: string
  readonly content: string
  /** The cluster will refuse it for good. */
  readonly bad: boolean
}

interface Known {
  readonly contents: Map<string, SentJob>
  readonly acked: Set<string>
  /** Cluster jobs of this id, those that their cluster has forgotten left out. */
  taken: number
  takenAtMs: number
  takenContent: string | null
}

export class Judge {
  readonly world: World
  readonly jobs = new Map<string, Known>()
  #newestTerm = 0
  readonly #owners = new Map<number, string>()
  /** Of every submitter that lives: the term in which it may submit just now, null where it may not. */
  readonly candidates = new Map<string, () => number | null>()

  constructor(world: World) {
    this.world = world
  }

  get newestTerm(): number {
    return this.#newestTerm
  }

  sends(job: SentJob): void {
    let known = this.jobs.get(job.id)
    if (known === undefined) this.jobs.set(job.id, (known = { contents: new Map(), acked: new Set(), taken: 0, takenAtMs: 0, takenContent: null }))
    known.contents.set(job.content, job)
  }

  acks(job: SentJob): void {
    this.jobs.get(job.id)!.acked.add(job.content)
    this.world.count('jobs accepted')
    this.world.log('producer', `is told that ${job.id} ${job.content} was accepted`)
  }

  /** A submitter hands a submission to its kernel. */
  begins(submitter: string, term: number): void {
    const owner = this.#owners.get(term)
    if (owner === undefined) {
      this.#owners.set(term, submitter)
      if (term > this.#newestTerm) this.world.count('terms that submitted')
    } else if (owner !== submitter) this.world.violate('terms are unique', `${submitter} and ${owner} submit in term ${term}`)
    if (term < this.#newestTerm) {
      this.world.violate('no submission from a superseded term', `${submitter} begins one in term ${term} after one of term ${this.#newestTerm}`)
    }
    for (const [rival, termOf] of this.candidates) {
      const other = rival === submitter ? null : termOf()
      if (other !== null) this.world.violate('never two submitters at once', `${submitter} submits in term ${term} while ${rival} may in term ${other}`)
    }
    this.#newestTerm = Math.max(this.#newestTerm, term)
  }

  /** A submission leaves its host. */
  departs(submitter: string, term: number): void {
    if (term >= this.#newestTerm) return
    this.world.violate('no submission from a superseded term', `one of ${submitter} in term ${term} leaves its host after one of term ${this.#newestTerm}`)
  }

  takes(cluster: string, id: string, content: string): void {
    const known = this.jobs.get(id)
    const sent = known?.contents.get(content)
    if (known === undefined || sent === undefined) {
      this.world.violate('nothing unexpected', `cluster ${cluster} takes ${id} with content ${content}, which nobody sent`)
      return
    }
    known.taken += 1
    this.world.count('jobs taken')
    if (known.taken > 1) this.world.violate('at most one cluster job per id', `cluster ${cluster} takes ${id} again`)
    if (known.takenContent !== null && known.takenContent !== content) {
      this.world.violate('same id, other content: refused', `${id} was taken with ${known.takenContent} and now with ${content}`)
    }
    known.takenContent = content
    known.takenAtMs = this.world.time.now
  }

  forgets(id: string): void {
    const known = this.jobs.get(id)
    if (known !== undefined) known.taken -= 1
    this.world.count('jobs forgotten by their cluster')
  }

  /** Whether each accepted job has come to its end, as far as clusters and producers can see. */
  get unsettled(): string[] {
    const open: string[] = []
    for (const [id, { contents, acked, taken, takenContent }] of this.jobs) {
      if (acked.size === 0 || taken > 0) continue
      // A cluster that took it once and forgot it must get it again, whatever else was sent under its id.
      if (takenContent !== null || ![...contents.values()].some(({ bad }) => bad)) open.push(id)
    }
    return open
  }
}
