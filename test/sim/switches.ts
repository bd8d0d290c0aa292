// Each protection of usher has a switch here that turns it off, by handing something weaker to the real code. With it off the
// simulator must find an invariant broken: else nobody knows whether it could. A leaning makes what the protection is
// for come up more often; the same seeds and leaning with the protection on must hold.
import { native } from '../../src/base/native.ts'
import type { SeenIds } from '../../src/base/native.ts'
import type { FileOperations } from '../../src/store/file-operations.ts'
import { DirectoryStore } from '../../src/store/directory-store.ts'
import type { Appender, ClaimOptions, ClaimResult } from '../../src/store/store.ts'
import type { RunOptions } from './run.ts'
import type { Leaning } from './scenario.ts'
import type { Seams, Weakening } from './serve.ts'
import { root } from './truth.ts'
import type { Invariant } from './world.ts'

export interface Switch {
  readonly name: string
  /** What is there instead of the protection. */
  readonly instead: string
  readonly leaning: Leaning
  readonly weakening: Weakening
  readonly abortive?: boolean
  /** What its absence breaks: one of these must be found, and whatever else is found on the way doesn't count. */
  readonly breaks: readonly Invariant[]
  /** From which seed to look, and at how many: the first that shows it was found before. */
  readonly from: number
  readonly seeds: number
}

/** Takes what link(2) says for the truth. */
class TrustingStore extends DirectoryStore {
  readonly #files: FileOperations

  constructor(files: FileOperations, nonce: () => string) {
    super(root, files, nonce)
    this.#files = files
  }

  override async claim(name: string, privateName: string, _options?: ClaimOptions): Promise<ClaimResult> {
    try {
      await this.#files.link(this.path(privateName), this.path(name))
      return 'won'
    } catch (error) {
      if ((error as { code?: string }).code === 'EEXIST') return 'lost'
      throw error
    }
  }
}

/** Stops one record before the end of a ledger. */
class ImpatientStore extends DirectoryStore {
  override async readRange(name: string, offset: number, bytesMax: number): Promise<Buffer> {
    const bytes = await super.readRange(name, offset, bytesMax)
    if (!name.startsWith('ledger/') || !name.endsWith('.log') || bytes.length === bytesMax) return bytes
    const last = bytes.lastIndexOf(0x0a, bytes.length - 2) + 1
    return last === 0 ? bytes : bytes.subarray(0, last)
  }
}

/** Calls durable what has only been begun. */
class HastyStore extends DirectoryStore {
  override async createAppender(name: string): Promise<Appender> {
    const appender = await super.createAppender(name)
    return {
      name,
      get syncedBytes() {
        return appender.syncedBytes
      },
      append: (bytes) => {
        appender.append(bytes).catch(() => undefined)
        return Promise.resolve()
      },
      close: () => appender.close(),
    }
  }
}

/** Takes the files of the next segment with those of one that is finished. */
class CarelessStore extends DirectoryStore {
  override async remove(name: string): Promise<void> {
    await super.remove(name)
    const next = name.replace(/[0-9]{10}(?=\.(?:xml|jsonl)$)/, (number) => String(Number(number) + 1).padStart(10, '0'))
    if (name.startsWith('hosts/') && next !== name) await super.remove(next)
  }
}

/** Takes the newest snapshot with the oldest. */
class ForgetfulStore extends DirectoryStore {
  override async remove(name: string): Promise<void> {
    await super.remove(name)
    if (!name.endsWith('.snapshot')) return
    const directory = name.slice(0, name.lastIndexOf('/'))
    const newest = (await this.list(directory)).filter((file) => file.endsWith('.snapshot')).at(-1)
    if (newest !== undefined) await super.remove(`${directory}/${newest}`)
  }
}

/** Its wall clock runs at twice its rate. */
const hurried = (own: Seams): Seams => ({ ...own, clock: { ...own.clock, wallMs: () => own.clock.wallMs() + own.clock.nowMs() } })

/** Lets a lease begin when link(2) has returned: the clock shows less by as much as the newest link took. */
const countedFromAfter = ({ clock, store, deadline }: Seams): Seams => {
  let behindMs = 0
  let linking = false
  return {
    clock: { ...clock, nowMs: () => clock.nowMs() - behindMs },
    deadline: {
      arm: (atMs) => {
        // Before the link it isn't known yet how long that will take.
        if (!linking) deadline.arm(atMs + behindMs)
      },
      disarm: () => deadline.disarm(),
    },
    store: new Proxy(store, {
      get: (target, key) => {
        if (key === 'claim') {
          return async (name: string, privateName: string, options?: ClaimOptions): Promise<ClaimResult> => {
            const beganMs = clock.nowMs()
            linking = true
            deadline.disarm()
            try {
              return await target.claim(name, privateName, options)
            } finally {
              linking = false
              if (name.startsWith('claims/')) behindMs = clock.nowMs() - beganMs
            }
          }
        }
        const value = target[key as keyof typeof target] as unknown
        return typeof value === 'function' ? (value as (...given: unknown[]) => unknown).bind(target) : value
      },
    }),
  }
}

/** Takes every id for a new one, and holds them all the same. */
const forgetful = (): SeenIds => {
  const ids = new native.SeenIds()
  return {
    admit: (producers, sequences, digests) => ids.admit(producers, sequences, digests).fill(0),
    advance: () => ids.advance(),
    forget: (age, slots) => ids.forget(age, slots),
    beginSave: () => ids.beginSave(),
    save: (bytes) => ids.save(bytes),
    load: (piece) => ids.load(piece),
    get size() {
      return ids.size
    },
    get bytes() {
      return ids.bytes
    },
  }
}

/** Two hosts that each believe to lead. */
const twoLeaders = ['never two submitters at once', 'terms are unique', 'no submission from a superseded term'] as const

const stops = ['stop submitter', 'freeze host', 'trap', 'trap'] as const

export const switches: readonly Switch[] = [
  {
    name: 'margin',
    instead: 'followers wait for a lease and no longer, while clocks run differently by less than the margin',
    leaning: { skew: 0.045, hosts: 2, strikes: stops, clusterFaults: { stalled: 0.5 } },
    weakening: { chain: { margin: 0 } },
    breaks: twoLeaders,
    from: 211,
    seeds: 2000,
  },
  {
    name: 'deadline',
    instead: 'nobody kills a submitter whose lease is over',
    leaning: { hosts: 2, strikes: stops, clusterFaults: { stalled: 0.3 } },
    weakening: { deadline: () => ({ arm: () => undefined, disarm: () => undefined }) },
    breaks: twoLeaders,
    from: 310,
    seeds: 2000,
  },
  {
    name: 'accept lease',
    instead: 'jobs are acknowledged however old the presence is',
    leaning: { hosts: 2, strikes: ['stop server', 'freeze host'] },
    weakening: { acceptLeaseUnchecked: true },
    breaks: ['accepted: exactly one outcome'],
    from: 30,
    seeds: 2000,
  },
  {
    name: 'abortive sockets',
    instead: 'what a dead submitter had handed to its kernel is sent all the same',
    leaning: { hosts: 2, strikes: ['kill submitter', 'stop submitter'], clusterFaults: { stalled: 0.5 } },
    weakening: {},
    abortive: false,
    breaks: ['at most one cluster job per id'],
    from: 1,
    seeds: 2000,
  },
  {
    name: 'settle time',
    instead: 'a job that the cluster does not show at once counts as absent',
    leaning: { clusterFaults: { shownLate: 0.8, unanswered: 0.4 } },
    weakening: { settleMs: 0 },
    breaks: ['at most one cluster job per id'],
    from: 19,
    seeds: 2000,
  },
  {
    name: 'counting from before the link',
    instead: 'a lease begins when link(2) has returned',
    leaning: { hosts: 2, strikes: stops, files: { resent: 0.3 }, clusterFaults: { stalled: 0.5 } },
    weakening: { seams: countedFromAfter },
    breaks: twoLeaders,
    from: 253,
    seeds: 2000,
  },
  {
    name: 'link-count check',
    instead: 'a claim is won when link(2) says so',
    leaning: { hosts: 3, strikes: ['kill submitter', 'power loss', 'stop submitter'], files: { falseLink: 1 } },
    weakening: { store: (files, nonce) => new TrustingStore(files, nonce) },
    breaks: twoLeaders,
    from: 408,
    seeds: 2000,
  },
  {
    name: 'reading ledgers to the end',
    instead: 'the last record of a ledger is not read',
    leaning: { hosts: 2, strikes: ['kill submitter', 'kill server', 'trap', 'trap'] },
    weakening: { store: (files, nonce) => new ImpatientStore(root, files, nonce) },
    breaks: ['at most one cluster job per id'],
    from: 44,
    seeds: 2000,
  },
  {
    name: 'intent before submit',
    instead: 'jobs are submitted before their intent is on stable storage',
    leaning: { hosts: 2, strikes: ['power loss', 'trap', 'trap'] },
    weakening: { store: (files, nonce) => new HastyStore(root, files, nonce) },
    breaks: ['at most one cluster job per id'],
    from: 7,
    seeds: 2000,
  },
  {
    name: 'dedup',
    instead: 'every id counts as new',
    leaning: { resends: 0.9 },
    weakening: { seenIds: forgetful },
    breaks: ['at most one cluster job per id'],
    from: 1,
    seeds: 2000,
  },
  {
    name: 'preflight',
    instead: 'every preflight counts as passed',
    leaning: { hosts: 2, strikes: ['broken configuration'] },
    weakening: { credulous: true },
    breaks: ['an ineligible host never submits'],
    from: 1,
    seeds: 2000,
  },
  {
    name: 'removing only what is finished',
    instead: 'the next segment goes with a finished one',
    leaning: { retentionMs: 500 },
    weakening: { store: (files, nonce) => new CarelessStore(root, files, nonce) },
    breaks: ['nothing unfinished is removed'],
    from: 1,
    seeds: 2000,
  },
  {
    name: 'keeping two snapshots',
    instead: 'the newest snapshot goes with the oldest',
    leaning: { retentionMs: 500 },
    weakening: { store: (files, nonce) => new ForgetfulStore(root, files, nonce) },
    breaks: ['what is removed from the ledger changes nothing'],
    from: 1,
    seeds: 2000,
  },
  {
    name: 'nonce',
    instead: 'all attempts of an instance are made with files of one name and one content, so that an old one is taken for the newest',
    leaning: { hosts: 2, strikes: stops, files: { doneButError: 0.3, cached: 0.5, negative: 0, slow: 0.1 } },
    weakening: { chain: { nonce: () => '00000000000000aa' } },
    breaks: twoLeaders,
    from: 12_700,
    seeds: 2000,
  },
]

/** Limits that are assumptions, not protections: beyond them nothing is promised, and the simulator must be able to see that. */
export const limits: readonly Switch[] = [
  {
    name: 'clocks within the margin',
    instead: 'clocks that run differently by more than the margin',
    leaning: { skew: 0.3, hosts: 2, strikes: stops, clusterFaults: { stalled: 0.5 } },
    weakening: {},
    breaks: twoLeaders,
    from: 54,
    seeds: 2000,
  },
  {
    name: 'wall clocks that agree',
    instead: 'wall clocks that are minutes apart and run at twice their rate',
    leaning: { retentionMs: 3000 },
    weakening: { seams: hurried },
    breaks: ['nothing is removed before its time'],
    from: 1,
    seeds: 2000,
  },
]

export const optionsOf = (one: Switch, seed: number, on: boolean): RunOptions => ({
  seed,
  leaning: one.leaning,
  weakening: on ? {} : one.weakening,
  abortive: on || one.abortive !== false,
})
