// Which hosts may accept and lead: the store's admission list. It is a sequence of decisions of operators, each a file
// admission/<number> that never changes, numbers counting up by one. A number is taken by link(2) as claims are: of two
// operators at once one gets it and the other the next, so every decision has its place and the later one counts.
//
// Nothing of it is ever removed: who admitted whom, and when, is worth a line each.

import { randomBytes } from 'node:crypto'
import { UsherError } from '../base/errors.ts'
import { admissionDirectory, admissionName, parseAdmissionFile } from '../store/layout.ts'
import { isTaken } from '../store/store-error.ts'
import type { Store } from '../store/store.ts'

/** Of a host's configuration. */
export type AdmissionMode = 'open' | 'listed'

export interface Decision {
  /** `clear` ends the list: whatever was decided before counts no more. */
  readonly decision: 'admit' | 'expel' | 'clear'
  /** None with `clear`. */
  readonly hosts: readonly string[]
  /** user@host */
  readonly by: string
  /** ISO 8601 */
  readonly at: string
}

export interface NumberedDecision extends Decision {
  readonly number: number
}

export interface Admission {
  /** Whether the list binds every host: somebody was admitted by name since it was last cleared. */
  readonly inForce: boolean
  /** What was decided last about each host. */
  readonly hosts: ReadonlyMap<string, NumberedDecision>
}

/** What decisions, in the order of their numbers, add up to. Pure. */
export const foldAdmission = (decisions: Iterable<NumberedDecision>): Admission => {
  const hosts = new Map<string, NumberedDecision>()
  let inForce = false
  for (const decision of decisions) {
    if (decision.decision === 'clear') {
      hosts.clear()
      inForce = false
      continue
    }
    // Stays when the last one admitted is expelled: that must not let everybody else in.
    if (decision.decision === 'admit') inForce = true
    for (const host of decision.hosts) hosts.set(host, decision)
  }
  return { inForce, hosts }
}

/**
 * Why this host may neither accept nor lead; null: it may. A list that is in force binds hosts whose own configuration says
 * `open`, too: a host that nobody thought of is just the one whose configuration nobody has looked at.
 */
export const refusalOf = ({ inForce, hosts }: Admission, host: string, mode: AdmissionMode): string | null => {
  const decided = hosts.get(host)
  if (decided?.decision === 'admit') return null
  if (decided !== undefined) return `expelled by ${decided.by} at ${decided.at}: 'usher admit ${host}' lets it back in`
  return inForce || mode === 'listed' ? `waiting for admission: usher admit ${host}` : null
}

/** The list as one process sees it. Decisions never change, so each is read once. */
export class AdmissionList {
  readonly #store: Store
  readonly #known = new Map<number, NumberedDecision>()
  #looked = false

  constructor(store: Store) {
    this.#store = store
  }

  /** Reads what was decided since. Rejects where the store fails, or a decision isn't one that this version knows. */
  async look(): Promise<Admission> {
    // What was seen once stays so, and the first look is taken twice: one listing may leave out what is there.
    for (let pass = this.#looked ? 1 : 0; pass < 2; pass += 1) {
      for (const file of await this.#store.list(admissionDirectory)) {
        const number = parseAdmissionFile(file)
        if (number === null || this.#known.has(number)) continue
        this.#known.set(number, parseDecision(number, await this.#store.read(admissionName(number))))
      }
    }
    this.#looked = true
    return foldAdmission([...this.#known.values()].sort((a, b) => a.number - b.number))
  }
}

const parseDecision = (number: number, bytes: Buffer): NumberedDecision => {
  const name = admissionName(number)
  const wrong = (): UsherError => new UsherError('input_invalid', `${name} is no decision that this version of usher knows: upgrade, or look who wrote it`)
  let value: Partial<Decision> | null
  try {
    value = JSON.parse(bytes.toString('utf8')) as Partial<Decision> | null
  } catch {
    throw wrong()
  }
  const { decision, hosts, by, at } = value ?? {}
  const hostsFit = Array.isArray(hosts) && hosts.every((host) => typeof host === 'string')
  if ((decision !== 'admit' && decision !== 'expel' && decision !== 'clear') || !hostsFit) throw wrong()
  return { number, decision, hosts, by: typeof by === 'string' ? by : '?', at: typeof at === 'string' ? at : '?' }
}

/** Puts a decision behind all others; resolves with its number when it is on stable storage. */
export const decide = async (store: Store, decision: Decision): Promise<number> => {
  await store.makeDirectory(admissionDirectory)
  // No two are alike to the byte, so that the winner of a number is told from the loser.
  const bytes = Buffer.from(`${JSON.stringify({ ...decision, nonce: randomBytes(8).toString('hex') })}\n`)
  for (let least = 1; ; ) {
    const numbers = (await store.list(admissionDirectory)).map(parseAdmissionFile).filter((n) => n !== null)
    const number = Math.max(least, ...numbers.map((n) => n + 1))
    try {
      await store.publish(admissionName(number), bytes)
      return number
    } catch (error) {
      if (!isTaken(error)) throw error
      // Another operator was first. The next listing may not show it yet.
      least = number + 1
    }
  }
}
