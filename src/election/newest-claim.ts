// What a follower knows of the highest claim: since when, whose it is, and when it has run out for certain. Pure; every
// time is of this host's clock, and counts from after the claim was first seen.
//
// The claims of a term are links to one file, so a claim that is the same file as the last one that was read says the
// same, and need not be read. That is a guess: a file server may give the number of a removed file to another. So a
// guess says whom to name as the leader and when to look again, and nothing else: whoever would take over reads the
// claim itself first. A wrong guess costs a needless reading, or a takeover that is late by the difference of two leases.

import type { Claim } from './claim.ts'
import { leaseMsMax } from './claim.ts'

export class NewestClaim {
  #number = 0
  #seenAt = 0
  /** Undefined: not known yet; null: damaged. */
  #claim: Claim | null | undefined
  #guessed = false
  #lastRead: { readonly claim: Claim; readonly file: string } | null = null

  /** 0: none was ever seen. */
  get number(): number {
    return this.#number
  }

  get claim(): Claim | null {
    return this.#claim ?? null
  }

  /** What is missing of it: which file it is, or its content. */
  get lacks(): 'nothing' | 'identity' | 'content' {
    if (this.#number === 0 || this.#claim !== undefined) return 'nothing'
    return this.#lastRead === null ? 'content' : 'identity'
  }

  /** It was taken for a link to the claim that was read last, and not read itself. */
  get guessed(): boolean {
    return this.#guessed
  }

  /** There is a claim of this number, seen by now. One that isn't higher is an old view, and no reason to act. */
  see(number: number, now: number): void {
    if (number > this.#number) this.#become(number, now, undefined)
  }

  /**
   * There are no claims, but there was this term: they were wiped, or the view is of long ago. A leader that lives shows
   * itself within the longest lease there is; and the number of the next term must be a new one.
   */
  assume(lastTerm: number, now: number): void {
    if (this.#number === 0 && lastTerm > 0) this.#become(lastTerm, now, null)
  }

  /** False: it is another file than the last one read, so its content is needed. */
  identified(file: string): boolean {
    if (this.#lastRead?.file !== file) return false
    this.#claim = this.#lastRead.claim
    this.#guessed = true
    return true
  }

  read(file: string, claim: Claim | null): void {
    if (claim !== null) this.#lastRead = { claim, file }
    this.#claim = claim
    this.#guessed = false
  }

  /** From when on nobody leads by it, if no clock is faster than another by more than the margin. */
  expiresAt(margin: number): number {
    if (this.#number === 0) return this.#seenAt
    if (this.#claim === undefined) return Infinity
    return this.#seenAt + (this.#claim === null ? leaseMsMax : this.#claim.leaseMs) * (1 + margin)
  }

  #become(number: number, now: number, claim: null | undefined): void {
    this.#number = number
    this.#seenAt = now
    this.#claim = claim
    this.#guessed = false
  }
}
