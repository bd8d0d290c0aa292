import { describe, expect, it } from 'vitest'
import * as layout from '../../../src/store/layout.ts'

const instance = 'node7-20261123T040000-3fa9c1'

describe('names in the store', () => {
  it('are those of docs/store.md', () => {
    expect(layout.claimName(42)).toBe('claims/0000000000000042')
    expect(layout.termName(40)).toBe('terms/0000000000000040')
    expect(layout.presenceName(instance)).toBe(`hosts/${instance}/presence`)
    expect(layout.claimFileName(instance, 'ab')).toBe(`hosts/${instance}/claim-ab`)
    expect(layout.journalName(instance)).toBe(`hosts/${instance}/journal.jsonl`)
    expect(layout.segmentName(instance, 17, 'part')).toBe(`hosts/${instance}/segments/0000000017.xml.part`)
    expect(layout.segmentName(instance, 17, 'aside')).toBe(`hosts/${instance}/segments/0000000017.aside.json`)
    expect(layout.adoptedName(instance, 'old', 17, 'jsonl')).toBe(`hosts/${instance}/adopted/old/0000000017.jsonl`)
    expect(layout.ledgerName(40, 1)).toBe('ledger/0000000000000040/0000000001.log')
    expect(layout.requestName('9f8c')).toBe('requests/9f8c.json')
    expect(layout.formatSegment(instance, 17)).toBe(`${instance}/17`)
  })

  it('are read back as they were made', () => {
    for (const n of [1, 42, 9_007_199_254_740_991]) expect(layout.parseClaimNumber(layout.formatClaimNumber(n))).toBe(n)
    for (const kind of ['part', 'xml', 'jsonl', 'aside'] as const) {
      expect(layout.parseSegmentFile(layout.segmentFile(17, kind))).toEqual({ number: 17, kind })
    }
    expect(layout.parseLedgerFile(layout.ledgerFile(3))).toBe(3)
    expect(layout.parseRequestFile('9f8c.json')).toBe('9f8c')
    expect(layout.parseSegment(`${instance}/17`)).toEqual({ instance, number: 17 })
  })

  it('are not read from anything else', () => {
    for (const text of ['', '42', '000000000000004x', '00000000000000042', '0000000000000000', '9999999999999999']) {
      expect(layout.parseClaimNumber(text)).toBeNull()
    }
    for (const text of ['0000000017', '0000000017.xml.tmp', '17.xml', '0000000000.xml', 'x000000017.xml']) {
      expect(layout.parseSegmentFile(text)).toBeNull()
    }
    for (const text of ['0000000001.log.1', '1.log', 'log']) expect(layout.parseLedgerFile(text)).toBeNull()
    for (const text of [`${instance}/017`, `${instance}/0`, instance, 'node7/1', '/1']) {
      expect(layout.parseSegment(text)).toBeNull()
    }
    expect(layout.parseRequestFile('.x.json')).toBeNull()
    expect(() => layout.requestName('../x')).toThrow(/can't be the id/)
    expect(() => layout.claimName(-1)).toThrow(/can't be the number/)
  })
})

describe('an instance id', () => {
  it('holds host, start and randomness', () => {
    const minted = layout.mintInstance('node7.example-site', new Date('2026-11-23T04:00:00.999Z'), '3fa9c1')
    expect(minted).toBe('node7.example-site-20261123T040000-3fa9c1')
    expect(layout.parseInstance(minted)).toEqual({ host: 'node7.example-site', started: '20261123T040000', random: '3fa9c1' })
  })

  it('is a visible, plain name whatever the host is called', () => {
    for (const host of ['', '.hidden', 'a/b', 'ünicode', '..', 'x'.repeat(300)]) {
      const minted = layout.mintInstance(host, new Date(0), '000000')
      expect(minted).toMatch(/^[A-Za-z0-9_-][A-Za-z0-9._-]*$/)
      expect(layout.parseInstance(minted)).not.toBeNull()
    }
    for (const text of ['..', 'node7', '.a-20261123T040000-3fa9c1', 'a/b-20261123T040000-3fa9c1']) {
      expect(layout.parseInstance(text)).toBeNull()
    }
  })
})
