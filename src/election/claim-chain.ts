// The election of one instance: a deterministic state machine. It owns every decision; it does no I/O,
// reads no clock and sets no timer. Events go in with `now`, the milliseconds of this host's suspend-proof
// clock; commands come out, to be carried out in their order. Nothing of another host's clock is ever used.
//
// The chain. claims/1, 2, 3 … each made by link(2), which one instance wins. A term is an unbroken run of
// claims by one instance, named by the number of its first. A claim holds for its lease.
//
//   following --(newest claim known for its lease + margin)--> preparing --(private file is there)-->
//   claiming --won--> confirming --(no higher number)--> leading --(a third of the lease)--> renewing --won--> leading
//
//   preparing, claiming, confirming --(lost, unknown, a higher number)--> following
//   renewing --(lost, unknown)--> stopped: the process ends and its parent begins anew as a follower
//   leading --(resign, not eligible)--> withdrawing (private file with lease 0) --> resigning (its claim) --> following
//
// Why two never lead at once. The owner counts its lease from before its link call, everybody else from
// after they first saw the claim, and a margin longer: so the owner's lease is over when another may link
// the next number, and the owner can't have linked it itself, for then it is taken. Four things keep
// that true when processes stop and replies are lost:
// - Taking over, the deadline (SIGKILL by the kernel) is armed for the lease's end before the link. Renewing,
//   the deadline of the claim held stays until the new one is won: till then that is when the lease ends.
// - A private file serves one attempt to take over. Used again after an unknown outcome it might be found to
//   have won long ago, when others' clocks began to run and ours had not.
// - Whoever loses a renewal, or doesn't know, stops at once. Whoever resigns stops leading before it says so.
// - A listing may be stale, and a number as old as the retention may be free again: a winner lists once more,
//   and a higher number makes it yield.
//
// A follower lists once a poll, and of a claim that is new to it asks only which file it is; newest-claim.ts says
// why that is enough.

import type { Claim } from './claim.ts'
import { clockMargin } from './clock-rate.ts'
import { NewestClaim } from './newest-claim.ts'

export interface ChainOptions {
  readonly leaseMs: number
  /** How much faster, as a part of one, another host's clock may run. */
  readonly margin: number
  /** How long a follower waits between two listings, and a leader between two claims. */
  readonly pollMs: number
  readonly renewMs: number
  /** Claims are removed when their leader has known them this long. */
  readonly retainMs: number
  /** Uniform in [0, 1). */
  readonly random: () => number
  /** A text never used before. */
  readonly nonce: () => string
}

export type ChainEvent =
  | { readonly kind: 'tick' }
  /** `lastTerm`: of the terms kept, the highest; asked for only where there are no claims. */
  | { readonly kind: 'listed'; readonly numbers: readonly number[]; readonly lastTerm?: number }
  | { readonly kind: 'listFailed' }
  /** Which file the claim is: one text for all links to a file. */
  | { readonly kind: 'identified'; readonly number: number; readonly file: string }
  /** Null: the claim is damaged. */
  | { readonly kind: 'read'; readonly number: number; readonly file: string; readonly claim: Claim | null }
  /** It could neither be identified nor read. */
  | { readonly kind: 'readFailed'; readonly number: number }
  /** Somebody says that there is something new. Never more than a hint: nothing depends on it. */
  | { readonly kind: 'hint' }
  | { readonly kind: 'prepared'; readonly nonce: string }
  | { readonly kind: 'prepareFailed'; readonly nonce: string }
  | { readonly kind: 'attempted'; readonly number: number; readonly result: 'won' | 'lost' | 'unknown' }
  | { readonly kind: 'removed'; readonly number: number }
  | { readonly kind: 'kept'; readonly term: number }
  /** The term's number was used before, by another. */
  | { readonly kind: 'termTaken'; readonly term: number }
  /** A leader that isn't eligible any more resigns. */
  | { readonly kind: 'eligible'; readonly eligible: boolean }

export type ChainCommand =
  | { readonly kind: 'list' }
  | { readonly kind: 'identify'; readonly number: number }
  | { readonly kind: 'read'; readonly number: number }
  /** Make the private file of this nonce. */
  | { readonly kind: 'prepare'; readonly nonce: string; readonly term: number; readonly leaseMs: number }
  | { readonly kind: 'arm'; readonly at: number }
  | { readonly kind: 'disarm' }
  /** Link the private file to the claim. `sync`: it begins a term, which must outlive a power cut. */
  | { readonly kind: 'attempt'; readonly number: number; readonly nonce: string; readonly sync: boolean }
  /** The private file isn't needed any more. */
  | { readonly kind: 'discard'; readonly nonce: string }
  /** Link the private file to the term's name. */
  | { readonly kind: 'keep'; readonly term: number; readonly nonce: string }
  | { readonly kind: 'remove'; readonly numbers: readonly number[] }
  /** The others need not wait any more: hint at it, where that can be done. */
  | { readonly kind: 'announce' }
  /** End the process. The deadline stays armed. */
  | { readonly kind: 'stop'; readonly reason: string }

export type ChainState =
  /** `leader`: whose the newest claim is, which may have run out; null when it is a resignation, or not known. */
  | { readonly role: 'follower'; readonly leader: Claim | null }
  | { readonly role: 'leader'; readonly term: number; readonly validUntil: number }
  | { readonly role: 'stopped' }

type Phase =
  | 'following'
  | 'preparing'
  | 'claiming'
  | 'confirming'
  | 'leading'
  | 'renewing'
  | 'withdrawing'
  | 'resigning'
  | 'stopped'

/** The claim held or striven for. */
interface Own {
  readonly term: number
  readonly nonce: string
  number: number
  /** From before the link call of the newest claim won. */
  validUntil: number
  /** When the attempt in flight, or the last one, began. */
  attemptAt: number
  kept: boolean
}

const removedAtOnceMax = 16

export const chainDefaults = (leaseMs: number): Omit<ChainOptions, 'random' | 'nonce'> => ({
  leaseMs,
  margin: clockMargin,
  pollMs: Math.min(leaseMs / 3, 1000),
  renewMs: leaseMs / 3,
  retainMs: 600_000,
})

export class ClaimChain {
  readonly #options: ChainOptions
  #phase: Phase = 'following'
  #eligible: boolean
  readonly #newest = new NewestClaim()
  #own: Own | null = null
  #resignationNonce = ''
  /** A listing or reading is under way; of the other operations the phase says so. */
  #looking = false
  /** A hint came during a look, which may have missed what it hinted at. */
  #hinted = false
  #wakeAt = 0
  /** Claims that exist, with when this instance first knew them. */
  #known = new Map<number, number>()

  constructor(options: ChainOptions, eligible: boolean) {
    this.#options = options
    this.#eligible = eligible
  }

  get state(): ChainState {
    if (this.#phase === 'stopped') return { role: 'stopped' }
    if ((this.#phase === 'leading' || this.#phase === 'renewing') && this.#own !== null) {
      return { role: 'leader', term: this.#own.term, validUntil: this.#own.validUntil }
    }
    const { claim } = this.#newest
    return { role: 'follower', leader: claim === null || claim.leaseMs === 0 ? null : claim }
  }

  /** When the next tick is due; Infinity while an operation is under way whose end will be an event. */
  get wakeAt(): number {
    switch (this.#phase) {
      case 'following':
      case 'confirming':
        return this.#looking ? Infinity : this.#wakeAt
      case 'leading':
        return this.#own!.attemptAt + this.#options.renewMs
      default:
        return Infinity
    }
  }

  /** The highest claim known, 0 for none. */
  get newestNumber(): number {
    return this.#newest.number
  }

  /** A claim or a resignation is under way, or this instance leads. */
  get unsettled(): boolean {
    return this.#phase !== 'following' && this.#phase !== 'stopped'
  }

  handle(event: ChainEvent, now: number): ChainCommand[] {
    if (this.#phase === 'stopped') return []
    switch (event.kind) {
      case 'tick':
        return this.#tick(now)
      case 'listed':
        return this.#listed(event.numbers, event.lastTerm ?? 0, now)
      case 'listFailed':
      case 'readFailed':
        return this.#lookFailed(now)
      case 'identified':
        return this.#identified(event.number, event.file, now)
      case 'read':
        return this.#read(event.number, event.file, event.claim, now)
      case 'hint':
        if (this.#looking) this.#hinted = true
        else if (this.#phase === 'following') this.#wakeAt = now
        return []
      case 'prepared':
        return this.#prepared(event.nonce, now)
      case 'prepareFailed':
        return this.#prepareFailed(event.nonce, now)
      case 'attempted':
        return this.#attempted(event.number, event.result, now)
      case 'removed':
        this.#known.delete(event.number)
        return []
      case 'kept':
        if (this.#own?.term === event.term) this.#own.kept = true
        return []
      case 'termTaken':
        return this.#own?.term === event.term ? this.#stop(`term ${event.term} was another's before`) : []
      case 'eligible':
        // Said again and again by those who try again and again: only the change is a reason to look.
        if (event.eligible && !this.#eligible && this.#phase === 'following') this.#wakeAt = now
        this.#eligible = event.eligible
        return event.eligible ? [] : this.#withdraw()
    }
  }

  #tick(now: number): ChainCommand[] {
    if (now < this.wakeAt) return []
    switch (this.#phase) {
      case 'following':
      case 'confirming':
        this.#looking = true
        return [{ kind: 'list' }]
      case 'leading':
        return this.#renew(now)
      default:
        return []
    }
  }

  #renew(now: number): ChainCommand[] {
    const own = this.#own!
    // The kernel's deadline comes first; where there is none, as on a machine under test, this does.
    if (now >= own.validUntil) return this.#stop('the lease had run out before it was renewed')
    this.#phase = 'renewing'
    own.attemptAt = now
    return [{ kind: 'attempt', number: own.number + 1, nonce: own.nonce, sync: false }]
  }

  #listed(numbers: readonly number[], lastTerm: number, now: number): ChainCommand[] {
    this.#looking = false
    let highest = 0
    for (const number of numbers) if (number > highest) highest = number
    this.#remember(numbers, now)
    if (this.#phase === 'confirming') return this.#confirm(highest, now)
    if (this.#phase !== 'following') return []
    this.#newest.see(highest, now)
    if (highest === 0) this.#newest.assume(lastTerm, now)
    const { lacks } = this.#newest
    if (lacks === 'nothing') return this.#consider(now)
    return this.#look(lacks === 'identity' ? 'identify' : 'read')
  }

  #look(kind: 'identify' | 'read'): ChainCommand[] {
    this.#looking = true
    return [{ kind, number: this.#newest.number }]
  }

  #identified(number: number, file: string, now: number): ChainCommand[] {
    this.#looking = false
    if (this.#phase !== 'following' || number !== this.#newest.number) return []
    return this.#newest.identified(file) ? this.#consider(now) : this.#look('read')
  }

  #read(number: number, file: string, claim: Claim | null, now: number): ChainCommand[] {
    this.#looking = false
    if (number === this.#newest.number) this.#newest.read(file, claim)
    return this.#phase === 'following' ? this.#consider(now) : []
  }

  #lookFailed(now: number): ChainCommand[] {
    this.#looking = false
    this.#wakeAt = now + this.#options.pollMs * (this.#phase === 'confirming' ? 0.1 : 1)
    return []
  }

  #consider(now: number): ChainCommand[] {
    const expiresAt = this.#newest.expiresAt(this.#options.margin)
    if (this.#eligible && now >= expiresAt) {
      if (this.#newest.guessed) return this.#look('read')
      const term = this.#newest.number + 1
      const nonce = this.#options.nonce()
      this.#phase = 'preparing'
      this.#own = { term, nonce, number: term, validUntil: 0, attemptAt: 0, kept: false }
      return [{ kind: 'prepare', nonce, term, leaseMs: this.#options.leaseMs }]
    }
    // Followers spread out, so that they don't all ask, or claim, at the same moment.
    const poll = now + this.#options.pollMs * (0.8 + 0.2 * this.#options.random())
    this.#wakeAt = this.#hinted ? now : this.#eligible && expiresAt < poll ? expiresAt : poll
    this.#hinted = false
    return []
  }

  #prepared(nonce: string, now: number): ChainCommand[] {
    if (this.#phase === 'withdrawing' && nonce === this.#resignationNonce) {
      this.#phase = 'resigning'
      return [{ kind: 'attempt', number: this.#own!.number + 1, nonce, sync: false }]
    }
    const own = this.#own
    if (this.#phase !== 'preparing' || own === null || own.nonce !== nonce) return [{ kind: 'discard', nonce }]
    if (!this.#eligible) return this.#follow(now, [{ kind: 'discard', nonce }])
    this.#phase = 'claiming'
    own.attemptAt = now
    return [
      { kind: 'arm', at: now + this.#options.leaseMs },
      { kind: 'attempt', number: own.number, nonce, sync: true },
    ]
  }

  #prepareFailed(nonce: string, now: number): ChainCommand[] {
    // A resignation that can't be written is one that the others wait out.
    if (this.#phase === 'withdrawing' && nonce === this.#resignationNonce) return this.#resigned(now)
    if (this.#phase !== 'preparing' || this.#own?.nonce !== nonce) return []
    return this.#follow(now, [{ kind: 'discard', nonce }])
  }

  #attempted(number: number, result: 'won' | 'lost' | 'unknown', now: number): ChainCommand[] {
    const own = this.#own
    if (own === null) return []
    if (this.#phase === 'resigning') return this.#resigned(now)
    if (this.#phase === 'renewing') {
      if (result !== 'won') {
        return this.#stop(result === 'lost' ? `claim ${number} was taken by another` : `nobody knows whose claim ${number} is`)
      }
      this.#phase = 'leading'
      this.#hold(number, now)
      const commands: ChainCommand[] = [{ kind: 'arm', at: own.validUntil }]
      return this.#eligible ? [...commands, ...this.#tidy(now)] : [...commands, ...this.#withdraw()]
    }
    if (this.#phase !== 'claiming') return []
    if (result !== 'won') return this.#follow(now, [{ kind: 'disarm' }, { kind: 'discard', nonce: own.nonce }])
    this.#hold(number, now)
    this.#phase = 'confirming'
    this.#looking = true
    return [{ kind: 'list' }]
  }

  #hold(number: number, now: number): void {
    const own = this.#own!
    own.number = number
    own.validUntil = own.attemptAt + this.#options.leaseMs
    this.#known.set(number, now)
  }

  #confirm(highest: number, now: number): ChainCommand[] {
    const own = this.#own!
    if (highest > own.number) {
      this.#newest.see(highest, now)
      return this.#follow(now, [{ kind: 'disarm' }, { kind: 'discard', nonce: own.nonce }])
    }
    if (highest < own.number) {
      // The listing doesn't show our own claim, so it is older than that claim, and no proof.
      this.#wakeAt = now + this.#options.pollMs * 0.1
      return []
    }
    if (now >= own.validUntil) return this.#stop('the lease had run out before the claim was confirmed')
    this.#phase = 'leading'
    if (!this.#eligible) return this.#withdraw()
    return this.#tidy(now)
  }

  /** A claim that a stale listing leaves out is known anew later, and so removed later: no harm. */
  #remember(numbers: readonly number[], now: number): void {
    const known = new Map<number, number>()
    for (const number of numbers) known.set(number, this.#known.get(number) ?? now)
    this.#known = known
  }

  /** What a leader does besides: the history kept, what is far older than any cache removed. */
  #tidy(now: number): ChainCommand[] {
    const own = this.#own!
    const commands: ChainCommand[] = []
    if (!own.kept) commands.push({ kind: 'keep', term: own.term, nonce: own.nonce })
    const old: number[] = []
    for (const [number, since] of this.#known) {
      if (old.length === removedAtOnceMax) break
      if (now - since >= this.#options.retainMs && number < own.number) old.push(number)
    }
    if (old.length > 0) commands.push({ kind: 'remove', numbers: old })
    return commands
  }

  #withdraw(): ChainCommand[] {
    // Elsewhere the end of what is under way finds that this instance isn't eligible any more.
    if (this.#phase !== 'leading') return []
    this.#phase = 'withdrawing'
    this.#resignationNonce = this.#options.nonce()
    return [{ kind: 'prepare', nonce: this.#resignationNonce, term: this.#own!.term, leaseMs: 0 }]
  }

  #resigned(now: number): ChainCommand[] {
    // Won, lost or unknown: this instance led no more when it began to resign.
    const own = this.#own!
    const nonces = [own.nonce, this.#resignationNonce]
    this.#newest.see(own.number, now)
    return this.#follow(now, [{ kind: 'disarm' }, { kind: 'announce' }, ...nonces.map((nonce) => ({ kind: 'discard' as const, nonce }))])
  }

  #follow(now: number, commands: ChainCommand[]): ChainCommand[] {
    this.#phase = 'following'
    this.#own = null
    this.#looking = false
    this.#hinted = false
    // At once after a defeat would be a storm of listings; a part of a poll, at random, is not.
    this.#wakeAt = now + this.#options.pollMs * (0.1 + 0.4 * this.#options.random())
    return commands
  }

  #stop(reason: string): ChainCommand[] {
    this.#phase = 'stopped'
    return [{ kind: 'stop', reason }]
  }
}
