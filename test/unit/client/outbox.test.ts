import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { UsherError } from '../../../src/base/errors.ts'
import { Outbox } from '../../../src/client/outbox.ts'
import { Unit } from '../../../src/client/unit.ts'
import { ByteWriter } from '../../../src/protocol/byte-writer.ts'
import { headerBytes } from '../../../src/protocol/frame.ts'
import { encodeJob } from '../../../src/protocol/job-encoder.ts'
import { splitJobs } from '../../vectors/reference.ts'

const seed = Number(process.env['SEED'] ?? Date.now() % 2 ** 31)

type Step =
  | { readonly kind: 'add'; readonly count: number }
  | { readonly kind: 'frame'; readonly jobsMax: number; readonly bytesMax: number }
  | { readonly kind: 'ack' | 'fail' | 'delay' | 'giveUp'; readonly first: number; readonly count: number }
  | { readonly kind: 'ground' | 'resume' }

const place = { first: fc.nat(60), count: fc.integer({ min: 1, max: 12 }) }
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ kind: fc.constant('add' as const), count: fc.integer({ min: 1, max: 6 }) }),
  fc.record({ kind: fc.constant('frame' as const), jobsMax: fc.integer({ min: 1, max: 8 }), bytesMax: fc.integer({ min: 60, max: 400 }) }),
  fc.record({ kind: fc.constantFrom('ack' as const, 'fail' as const, 'delay' as const, 'giveUp' as const), ...place }),
  fc.record({ kind: fc.constantFrom('ground' as const, 'resume' as const) }),
)

const encode = (first: number, count: number): Uint8Array => {
  const out = new ByteWriter(64)
  for (let i = 0; i < count; i++) encodeJob(out, first + i, { spec: { executable: '/bin/true', arguments: [String(first + i)] } })
  return out.take()
}

describe('Outbox', () => {
  it('reports each job once, sends each with its own bytes, and counts what it holds, whatever happens', () => {
    const error = new UsherError('aborted', 'test')
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const outcomes = new Map<number, string>()
        const flying = new Set<number>()
        const settle = (sequence: number, outcome: string): void => {
          expect(outcomes.has(sequence), `job ${sequence} has one outcome`).toBe(false)
          outcomes.set(sequence, outcome)
          flying.delete(sequence)
        }
        const owner = {
          accepted: (first: number, jobs: number) => {
            for (let i = 0; i < jobs; i++) {
              expect(flying.has(first + i), `job ${first + i} was accepted while it flew`).toBe(true)
              settle(first + i, 'accepted')
            }
          },
          failed: (sequence: number) => settle(sequence, 'failed'),
        }
        const outbox = new Outbox(() => 0, (unit) => outbox.fail(unit, unit.first, error))
        let next = 0
        const check = (): void => {
          const units = [...outbox.units()]
          expect(outbox.heldJobs).toBe(next - outcomes.size)
          expect(outbox.heldJobs).toBe(units.reduce((sum, unit) => sum + unit.left, 0))
          expect(outbox.heldBytes).toBe(units.reduce((sum, unit) => sum + unit.bytes.length, 0))
          expect(outbox.queuedJobs).toBe(units.filter((unit) => unit.state === 'queued').reduce((sum, unit) => sum + unit.left, 0))
          expect(outbox.flyingUnits).toBe(units.filter((unit) => unit.state === 'flying').length)
        }
        const take = (batchJobs: number, frameBytesMax: number): boolean => {
          const frame = outbox.takeFrame({ batchBytes: 200, batchJobs, frameBytesMax, frameJobsMax: batchJobs, credit: frameBytesMax + headerBytes })
          if (frame === undefined) return false
          const count = frame.readUInt16LE(10)
          const jobs = splitJobs(frame.subarray(headerBytes), count)!
          expect(count).toBeLessThanOrEqual(batchJobs)
          expect(frame.length).toBeLessThanOrEqual(frameBytesMax + headerBytes)
          for (const { sequence, fields } of jobs) {
            expect(outcomes.has(Number(sequence)), `job ${sequence} is sent though it has an outcome`).toBe(false)
            expect(flying.has(Number(sequence)), `job ${sequence} is sent twice on a connection`).toBe(false)
            expect(fields.equals(encode(Number(sequence), 1).subarray(12))).toBe(true)
            flying.add(Number(sequence))
          }
          return true
        }
        for (const move of steps) {
          if (move.kind === 'add') {
            expect(outbox.holds(next, move.count)).toBe(false)
            outbox.add(new Unit(owner, next, move.count, encode(next, move.count), Infinity))
            expect(outbox.holds(next + move.count - 1, 1)).toBe(true)
            next += move.count
          } else if (move.kind === 'frame') {
            take(move.jobsMax, move.bytesMax)
          } else if (move.kind === 'ack') {
            const before = flying.size
            expect(outbox.acknowledge(move.first, move.count)).toBe(before - flying.size)
          } else if (move.kind === 'fail' || move.kind === 'delay') {
            const unit = outbox.flyingWith(move.first)
            expect(unit !== undefined).toBe(flying.has(move.first))
            if (unit !== undefined && move.kind === 'fail') outbox.fail(unit, move.first, error)
            if (unit !== undefined && move.kind === 'delay') {
              outbox.delay(unit, move.first, error)
              flying.delete(move.first)
            }
          } else if (move.kind === 'giveUp') {
            const unit = [...outbox.units()][move.first % 7]
            if (unit !== undefined) for (const sequence of [...unit.unanswered()]) outbox.fail(unit, sequence, error)
          } else if (move.kind === 'ground') {
            expect(outbox.ground()).toBe(flying.size)
            flying.clear()
          } else {
            outbox.resume()
          }
          check()
        }
        outbox.ground()
        flying.clear()
        outbox.resume()
        while (take(5, 1000)) check()
        outbox.acknowledge(0, 0xffff_ffff)
        expect(outcomes.size).toBe(next)
        expect([outbox.heldJobs, outbox.heldBytes, outbox.queuedJobs, outbox.queuedBytes, outbox.flyingUnits]).toEqual([0, 0, 0, 0, 0])
      }),
      { seed, numRuns: 1000 },
    )
  })
})
