import { describe, expect, it } from 'vitest'
import type { ChainCommand } from '../../../src/election/claim-chain.ts'
import { chainDefaults, ClaimChain } from '../../../src/election/claim-chain.ts'
import type { Claim } from '../../../src/election/claim.ts'
import { decodeClaim, encodeClaim } from '../../../src/election/claim.ts'
import type { ModelOptions } from './model.ts'
import { allFaults, Model, noFaults } from './model.ts'

const given = process.env['SEED']
const firstSeed = given === undefined ? Math.floor(Math.random() * 1e9) : Number(given)
const seeds = (count: number): number[] =>
  given === undefined ? Array.from({ length: count }, (_, i) => firstSeed + i) : [firstSeed]

const failing = (seed: number, model: Model): string => `SEED=${seed} replays it: ${model.violations.join('; ')}`

/** The first seed of many under which the model finds a violation, or null. */
const findViolation = (options: Omit<ModelOptions, 'seed'>, count: number): Model | null => {
  for (let seed = 1; seed <= count; seed++) {
    const model = new Model({ ...options, seed })
    model.run(300_000)
    if (model.violations.length > 0) return model
  }
  return null
}

describe('claim chain, many hosts', () => {
  it(`never has two leaders, and terms that rise, under every fault (seeds from ${firstSeed})`, () => {
    let acts = 0
    let terms = 0
    for (const seed of seeds(60)) {
      const model = new Model({ seed, hosts: 2 + (seed % 4), faults: allFaults })
      model.run(300_000)
      expect(model.violations, failing(seed, model)).toEqual([])
      acts += model.acts.length
      terms += model.terms.size
    }
    // A schedule in which nobody ever led would prove nothing.
    if (given === undefined) {
      expect(acts).toBeGreaterThan(5_000)
      expect(terms).toBeGreaterThan(200)
    }
  })

  it(`has one leader again within a few leases once faults stop (seeds from ${firstSeed})`, () => {
    for (const seed of seeds(40)) {
      const model = new Model({ seed, hosts: 4, faults: allFaults })
      model.run(60_000)
      model.heal()
      // Longest: a delay begun before, then a kill, a start, a lease and its margin, a poll.
      model.run(60_000 + 2 * allFaults.longDelayMs + allFaults.pauseMs + 6 * 3_000)
      const acted = model.acts.length
      model.run(model.now + 30_000)
      expect(model.violations, failing(seed, model)).toEqual([])
      expect(model.leaders(), `SEED=${seed} replays it`).toHaveLength(1)
      expect(new Set(model.acts.slice(acted).map((act) => act.instance)).size, `SEED=${seed} replays it`).toBe(1)
    }
  })

  it(`keeps the claims of the last minutes and removes older ones (seeds from ${firstSeed})`, () => {
    for (const seed of seeds(5)) {
      const faults = { ...noFaults, stale: 0.2, staleMs: 5_000, delayMs: 40, crashEveryMs: 300_000 }
      const model = new Model({ seed, hosts: 3, faults, retainMs: 30_000 })
      model.run(600_000)
      expect(model.violations, failing(seed, model)).toEqual([])
      const newest = Math.max(...model.claims)
      expect(newest, `SEED=${seed} replays it`).toBeGreaterThan(150)
      // About one claim a second is made; a leader that is new to the store learns their ages first.
      expect(model.claims.length, `SEED=${seed} replays it`).toBeLessThan(newest - 100)
    }
  })

  it(`stays safe where leases differ and the numbers of files tell little, with hints and without (seeds from ${firstSeed})`, () => {
    let terms = 0
    for (const seed of seeds(40)) {
      const model = new Model({ seed, hosts: 2 + (seed % 4), faults: allFaults, otherLeaseMs: 9_000, inodes: 1 + (seed % 3), hints: seed % 2 })
      model.run(300_000)
      expect(model.violations, failing(seed, model)).toEqual([])
      terms += model.terms.size
    }
    if (given === undefined) expect(terms).toBeGreaterThan(100)
  })

  it('finds two leaders when who takes over trusts that the same number of a file means the same claim', () => {
    const options = { hosts: 4, faults: allFaults, otherLeaseMs: 9_000, inodes: 1 }
    expect(findViolation({ ...options, trustGuess: true }, 200)?.violations[0]).toMatch(/lead at once|acted in term/)
  })

  it('finds two leaders when the margin is taken away', () => {
    const faults = { ...noFaults, skew: 1.0999, delayMs: 1, pauseEveryMs: 60_000, pauseMs: 20_000 }
    const found = findViolation({ hosts: 4, faults, margin: 0 }, 200)
    expect(found?.violations[0]).toMatch(/lead at once|acted in term/)
    expect(findViolation({ hosts: 4, faults, margin: 0.1 }, 50)).toBeNull()
  })

  it('finds a submission from a superseded term when the deadline is taken away', () => {
    const found = findViolation({ hosts: 4, faults: allFaults, deadline: false }, 200)
    expect(found?.violations[0]).toMatch(/acted in term/)
  })

  it('finds a submission from a superseded term when a renewal moves the deadline before it is won', () => {
    const faults = { ...allFaults, longDelay: 0.15, errors: 0, doneButError: 0, crashEveryMs: 600_000, flipEligibleEveryMs: Infinity }
    const found = findViolation({ hosts: 3, faults, armEarly: true }, 200)
    expect(findViolation({ hosts: 3, faults }, 50)).toBeNull()
    expect(found?.violations[0]).toMatch(/acted in term/)
  })

  it('asks little of the file server when nothing happens', () => {
    const model = new Model({ seed: 1, hosts: 4, faults: noFaults, retainMs: 20_000 })
    model.run(60_000)
    const before = model.hosts.map((host) => host.operations)
    const leases = 40
    model.run(60_000 + leases * 3_000)
    const perLease = model.hosts.map((host, i) => (host.operations - before[i]!) / leases)
    for (const operations of perLease) expect(operations).toBeLessThanOrEqual(10)
    expect(model.leaders()).toHaveLength(1)
  })

  for (const [hints, withinMs] of [[0, 1_000 + 100], [1, 100]] as const) {
    it(`hands over within ${hints === 0 ? 'a poll' : '100 ms'} when the leader resigns and hints ${hints === 0 ? 'get lost' : 'arrive'}`, () => {
      const model = new Model({ seed: 3, hosts: 3, faults: noFaults, hints })
      model.run(20_000)
      const [first] = model.leaders()
      model.setEligible(first!.host, false)
      model.run(model.now + withinMs)
      const [second] = model.leaders()
      expect(second).toBeDefined()
      expect(second!.host).not.toBe(first!.host)
      expect(second!.term).toBeGreaterThan(first!.term)
    })
  }

  it('waits a lease and its margin after a leader that died', () => {
    const model = new Model({ seed: 4, hosts: 3, faults: noFaults })
    model.run(20_000)
    const [first] = model.leaders()
    const died = model.now
    model.crash(first!.host)
    while (model.leaders().length === 0 && model.now < died + 10_000) model.run(model.now + 10)
    // Its last renewal was up to a third of a lease old.
    expect(model.now - died).toBeGreaterThan(3_300 - 1_000 - 100)
    expect(model.now - died).toBeLessThan(3_300 + 1_000 + 100)
  })
})

const chainOf = (eligible = true, retainMs = 600_000): ClaimChain => {
  let nonces = 0
  return new ClaimChain({ ...chainDefaults(3_000), retainMs, random: () => 0.5, nonce: () => `n${(nonces += 1)}` }, eligible)
}

const claimOf = (leaseMs: number, term = 1): Claim => ({ instance: 'other', host: 'h', address: '', term, leaseMs, nonce: 'x' })

/** A chain that leads in term 1, its claim begun at 1,000. */
const leading = (): ClaimChain => {
  const chain = chainOf()
  chain.handle({ kind: 'tick' }, 1_000)
  chain.handle({ kind: 'listed', numbers: [] }, 1_000)
  chain.handle({ kind: 'prepared', nonce: 'n1' }, 1_000)
  chain.handle({ kind: 'attempted', number: 1, result: 'won' }, 1_010)
  chain.handle({ kind: 'listed', numbers: [1] }, 1_020)
  return chain
}

const kinds = (commands: readonly ChainCommand[]): string[] => commands.map((command) => command.kind)

describe('claim chain, one host', () => {
  it('claims 1 at once in an empty store, deadline first, and leads for a lease counted from before the link', () => {
    const chain = chainOf()
    expect(chain.handle({ kind: 'tick' }, 1_000)).toEqual([{ kind: 'list' }])
    const prepare = { kind: 'prepare', nonce: 'n1', term: 1, leaseMs: 3_000 }
    expect(chain.handle({ kind: 'listed', numbers: [] }, 1_100)).toEqual([prepare])
    expect(chain.handle({ kind: 'prepared', nonce: 'n1' }, 1_200)).toEqual([
      { kind: 'arm', at: 4_200 },
      { kind: 'attempt', number: 1, nonce: 'n1', sync: true },
    ])
    expect(chain.handle({ kind: 'attempted', number: 1, result: 'won' }, 1_900)).toEqual([{ kind: 'list' }])
    expect(chain.state.role).toBe('follower')
    expect(chain.handle({ kind: 'listed', numbers: [1] }, 2_000)).toEqual([{ kind: 'keep', term: 1, nonce: 'n1' }])
    expect(chain.state).toEqual({ role: 'leader', term: 1, validUntil: 4_200 })
  })

  it('renews at a third of the lease and moves the deadline only when the new claim is won', () => {
    const chain = leading()
    expect(chain.wakeAt).toBe(2_000)
    expect(kinds(chain.handle({ kind: 'tick' }, 1_999))).toEqual([])
    expect(chain.handle({ kind: 'tick' }, 2_000)).toEqual([{ kind: 'attempt', number: 2, nonce: 'n1', sync: false }])
    expect(chain.state).toEqual({ role: 'leader', term: 1, validUntil: 4_000 })
    expect(chain.handle({ kind: 'attempted', number: 2, result: 'won' }, 2_500)[0]).toEqual({ kind: 'arm', at: 5_000 })
    expect(chain.state).toEqual({ role: 'leader', term: 1, validUntil: 5_000 })
  })

  for (const result of ['lost', 'unknown'] as const) {
    it(`stops at once, deadline armed, when a renewal is ${result}`, () => {
      const chain = leading()
      chain.handle({ kind: 'tick' }, 2_000)
      expect(kinds(chain.handle({ kind: 'attempted', number: 2, result }, 2_010))).toEqual(['stop'])
      expect(chain.state).toEqual({ role: 'stopped' })
      expect(chain.handle({ kind: 'tick' }, 9_000)).toEqual([])
    })

    it(`gives up the private file for good when an attempt to take over is ${result}`, () => {
      const chain = chainOf()
      chain.handle({ kind: 'tick' }, 1_000)
      chain.handle({ kind: 'listed', numbers: [] }, 1_000)
      chain.handle({ kind: 'prepared', nonce: 'n1' }, 1_000)
      const givenUp = [{ kind: 'disarm' }, { kind: 'discard', nonce: 'n1' }]
      expect(chain.handle({ kind: 'attempted', number: 1, result }, 1_100)).toEqual(givenUp)
      chain.handle({ kind: 'tick' }, chain.wakeAt)
      const again = { kind: 'prepare', nonce: 'n2', term: 1, leaseMs: 3_000 }
      expect(chain.handle({ kind: 'listed', numbers: [] }, 2_000)).toEqual([again])
    })
  }

  it('stops rather than renew a lease that has run out', () => {
    expect(kinds(leading().handle({ kind: 'tick' }, 4_000))).toEqual(['stop'])
  })

  it('takes over only when it has known the newest claim for its lease, as the claim says it, and the margin', () => {
    const chain = chainOf()
    chain.handle({ kind: 'tick' }, 0)
    expect(chain.handle({ kind: 'listed', numbers: [3, 40, 7] }, 100)).toEqual([{ kind: 'read', number: 40 }])
    chain.handle({ kind: 'read', number: 40, file: 'f1', claim: claimOf(10_000) }, 500)
    for (let now = chain.wakeAt; now < 11_100; now = chain.wakeAt) {
      expect(chain.handle({ kind: 'tick' }, now)).toEqual([{ kind: 'list' }])
      expect(chain.handle({ kind: 'listed', numbers: [40] }, now)).toEqual([])
    }
    expect(chain.wakeAt).toBe(11_100)
    chain.handle({ kind: 'tick' }, 11_100)
    expect(chain.handle({ kind: 'listed', numbers: [40] }, 11_100)).toMatchObject([{ kind: 'prepare', term: 41 }])
  })

  it('waits out the longest lease there is when the newest claim is damaged', () => {
    const chain = chainOf()
    chain.handle({ kind: 'tick' }, 0)
    chain.handle({ kind: 'listed', numbers: [5] }, 0)
    chain.handle({ kind: 'read', number: 5, file: 'f1', claim: null }, 0)
    chain.handle({ kind: 'tick' }, 65_999)
    expect(chain.handle({ kind: 'listed', numbers: [5] }, 65_999)).toEqual([])
    chain.handle({ kind: 'tick' }, 66_000)
    expect(kinds(chain.handle({ kind: 'listed', numbers: [5] }, 66_000))).toEqual(['prepare'])
  })

  it('takes a listing with less than it knows for a stale one', () => {
    const chain = chainOf()
    chain.handle({ kind: 'tick' }, 0)
    chain.handle({ kind: 'listed', numbers: [40] }, 0)
    chain.handle({ kind: 'read', number: 40, file: 'f1', claim: claimOf(3_000) }, 0)
    chain.handle({ kind: 'tick' }, chain.wakeAt)
    expect(chain.handle({ kind: 'listed', numbers: [] }, 1_000)).toEqual([])
    expect(chain.newestNumber).toBe(40)
  })

  it('asks of a further claim only which file it is, and reads it before it would take over on that guess', () => {
    const chain = chainOf()
    chain.handle({ kind: 'tick' }, 0)
    chain.handle({ kind: 'listed', numbers: [40] }, 0)
    chain.handle({ kind: 'read', number: 40, file: 'f1', claim: claimOf(3_000) }, 0)
    chain.handle({ kind: 'tick' }, 1_000)
    expect(chain.handle({ kind: 'listed', numbers: [40, 41] }, 1_000)).toEqual([{ kind: 'identify', number: 41 }])
    expect(chain.handle({ kind: 'identified', number: 41, file: 'f1' }, 1_000)).toEqual([])
    expect(chain.state).toMatchObject({ role: 'follower', leader: { leaseMs: 3_000 } })
    chain.handle({ kind: 'tick' }, 4_300)
    expect(chain.handle({ kind: 'listed', numbers: [41] }, 4_300)).toEqual([{ kind: 'read', number: 41 }])
    // It was another file that had got the number of a removed one: its own lease counts.
    expect(chain.handle({ kind: 'read', number: 41, file: 'f1', claim: claimOf(9_000) }, 4_301)).toEqual([])
    chain.handle({ kind: 'tick' }, 1_000 + 9_900)
    expect(kinds(chain.handle({ kind: 'listed', numbers: [41] }, 1_000 + 9_900))).toEqual(['prepare'])
  })

  it('reads a further claim that is another file', () => {
    const chain = chainOf()
    chain.handle({ kind: 'tick' }, 0)
    chain.handle({ kind: 'listed', numbers: [40] }, 0)
    chain.handle({ kind: 'read', number: 40, file: 'f1', claim: claimOf(3_000) }, 0)
    chain.handle({ kind: 'tick' }, 1_000)
    chain.handle({ kind: 'listed', numbers: [40, 41] }, 1_000)
    expect(chain.handle({ kind: 'identified', number: 41, file: 'f2' }, 1_010)).toEqual([{ kind: 'read', number: 41 }])
    expect(kinds(chain.handle({ kind: 'read', number: 41, file: 'f2', claim: claimOf(0) }, 1_020))).toEqual(['prepare'])
  })

  it('looks at once on a hint, and once more when it came during a look', () => {
    const chain = chainOf()
    chain.handle({ kind: 'tick' }, 0)
    chain.handle({ kind: 'listed', numbers: [40] }, 0)
    chain.handle({ kind: 'read', number: 40, file: 'f1', claim: claimOf(3_000) }, 0)
    expect(chain.wakeAt).toBeGreaterThan(500)
    chain.handle({ kind: 'hint' }, 100)
    expect(chain.wakeAt).toBe(100)
    expect(kinds(chain.handle({ kind: 'tick' }, 100))).toEqual(['list'])
    chain.handle({ kind: 'hint' }, 110)
    expect(chain.wakeAt).toBe(Infinity)
    chain.handle({ kind: 'listed', numbers: [40] }, 120)
    expect(chain.wakeAt).toBe(120)
    chain.handle({ kind: 'tick' }, 120)
    chain.handle({ kind: 'listed', numbers: [40] }, 130)
    expect(chain.wakeAt).toBeGreaterThan(500)
  })

  it('takes no hint for a reason to do anything while it leads', () => {
    const chain = leading()
    const { wakeAt } = chain
    expect(chain.handle({ kind: 'hint' }, 1_500)).toEqual([])
    expect(chain.wakeAt).toBe(wakeAt)
  })

  it('waits out the longest lease, and takes a new number, where claims were wiped and terms were not', () => {
    const chain = chainOf()
    chain.handle({ kind: 'tick' }, 0)
    expect(chain.handle({ kind: 'listed', numbers: [], lastTerm: 40 }, 0)).toEqual([])
    chain.handle({ kind: 'tick' }, 65_999)
    expect(chain.handle({ kind: 'listed', numbers: [], lastTerm: 40 }, 65_999)).toEqual([])
    chain.handle({ kind: 'tick' }, 66_000)
    expect(chain.handle({ kind: 'listed', numbers: [], lastTerm: 40 }, 66_000)).toMatchObject([{ kind: 'prepare', term: 41 }])
  })

  it('yields without ever having led when the listing after its claim shows a higher number', () => {
    const chain = chainOf()
    chain.handle({ kind: 'tick' }, 0)
    chain.handle({ kind: 'listed', numbers: [] }, 0)
    chain.handle({ kind: 'prepared', nonce: 'n1' }, 0)
    chain.handle({ kind: 'attempted', number: 1, result: 'won' }, 0)
    expect(kinds(chain.handle({ kind: 'listed', numbers: [1, 900] }, 10))).toEqual(['disarm', 'discard'])
    expect(chain.state.role).toBe('follower')
  })

  it('takes a listing that lacks its own claim for no proof, and lists again', () => {
    const chain = chainOf()
    chain.handle({ kind: 'tick' }, 0)
    chain.handle({ kind: 'listed', numbers: [] }, 0)
    chain.handle({ kind: 'prepared', nonce: 'n1' }, 0)
    chain.handle({ kind: 'attempted', number: 1, result: 'won' }, 0)
    expect(chain.handle({ kind: 'listed', numbers: [] }, 10)).toEqual([])
    expect(chain.state.role).toBe('follower')
    expect(chain.handle({ kind: 'tick' }, chain.wakeAt)).toEqual([{ kind: 'list' }])
    chain.handle({ kind: 'listed', numbers: [1] }, 200)
    expect(chain.state.role).toBe('leader')
  })

  it('leads no more from the moment it is told to resign, and says so in a claim with lease 0', () => {
    const chain = leading()
    expect(chain.handle({ kind: 'eligible', eligible: false }, 1_500)).toEqual([{ kind: 'prepare', nonce: 'n2', term: 1, leaseMs: 0 }])
    expect(chain.state.role).toBe('follower')
    const attempt = { kind: 'attempt', number: 2, nonce: 'n2', sync: false }
    expect(chain.handle({ kind: 'prepared', nonce: 'n2' }, 1_600)).toEqual([attempt])
    expect(kinds(chain.handle({ kind: 'attempted', number: 2, result: 'won' }, 1_700))).toEqual(['disarm', 'announce', 'discard', 'discard'])
    chain.handle({ kind: 'tick' }, chain.wakeAt)
    chain.handle({ kind: 'listed', numbers: [1, 2] }, 2_000)
    expect(chain.handle({ kind: 'read', number: 2, file: 'f1', claim: claimOf(0) }, 2_010)).toEqual([])
  })

  it('resigns after the renewal that was under way when it became ineligible', () => {
    const chain = leading()
    chain.handle({ kind: 'tick' }, 2_000)
    expect(chain.handle({ kind: 'eligible', eligible: false }, 2_001)).toEqual([])
    expect(kinds(chain.handle({ kind: 'attempted', number: 2, result: 'won' }, 2_010))).toEqual(['arm', 'prepare'])
    expect(chain.handle({ kind: 'prepared', nonce: 'n2' }, 2_020)).toMatchObject([{ kind: 'attempt', number: 3 }])
  })

  it('never claims while it is not eligible, and at its next look when it becomes so', () => {
    const chain = chainOf(false)
    chain.handle({ kind: 'tick' }, 0)
    expect(chain.handle({ kind: 'listed', numbers: [] }, 0)).toEqual([])
    expect(chain.handle({ kind: 'eligible', eligible: true }, 100)).toEqual([])
    expect(chain.wakeAt).toBe(100)
    chain.handle({ kind: 'tick' }, 100)
    expect(kinds(chain.handle({ kind: 'listed', numbers: [] }, 110))).toEqual(['prepare'])
  })

  it('removes claims that it has known for the retention, and never its newest', () => {
    const chain = chainOf(true, 2_500)
    chain.handle({ kind: 'tick' }, 0)
    chain.handle({ kind: 'listed', numbers: [] }, 0)
    chain.handle({ kind: 'prepared', nonce: 'n1' }, 0)
    chain.handle({ kind: 'attempted', number: 1, result: 'won' }, 0)
    chain.handle({ kind: 'listed', numbers: [1] }, 0)
    const removed: number[] = []
    for (let number = 2; number <= 9; number++) {
      const now = chain.wakeAt
      chain.handle({ kind: 'tick' }, now)
      for (const command of chain.handle({ kind: 'attempted', number, result: 'won' }, now)) {
        if (command.kind !== 'remove') continue
        removed.push(...command.numbers)
        for (const one of command.numbers) chain.handle({ kind: 'removed', number: one }, now)
      }
    }
    expect(removed).toEqual([1, 2, 3, 4, 5, 6])
  })

  it('asks for the term to be kept until it has been', () => {
    const chain = leading()
    chain.handle({ kind: 'tick' }, 2_000)
    expect(kinds(chain.handle({ kind: 'attempted', number: 2, result: 'won' }, 2_010))).toEqual(['arm', 'keep'])
    chain.handle({ kind: 'kept', term: 1 }, 2_020)
    chain.handle({ kind: 'tick' }, 3_000)
    expect(kinds(chain.handle({ kind: 'attempted', number: 3, result: 'won' }, 3_010))).toEqual(['arm'])
  })
})

describe('a claim file', () => {
  it('says what was written and refuses what is no claim', () => {
    const claim = claimOf(3_000, 42)
    expect(decodeClaim(encodeClaim(claim))).toEqual(claim)
    const whole = encodeClaim(claim)
    for (let cut = 0; cut < whole.length - 1; cut++) expect(decodeClaim(whole.subarray(0, cut))).toBeNull()
    expect(decodeClaim(encodeClaim({ ...claim, leaseMs: 60_001 }))).toBeNull()
    expect(decodeClaim(encodeClaim({ ...claim, term: 0 }))).toBeNull()
  })
})
