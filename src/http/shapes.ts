// The shapes of JSON that routes answer, once: the description in openapi.json is made of these, and a test holds every
// answer against it.

import { z } from 'zod'

const time = z.iso.datetime()
const count = z.int().min(0)

export const errorShape = z.strictObject({ error: z.strictObject({ code: z.string(), message: z.string() }) })

export const liveShape = z.strictObject({ live: z.literal(true), version: z.string(), host: z.string(), started: time })

export const readyShape = z.strictObject({
  ready: z.boolean(),
  checks: z
    .array(z.strictObject({ name: z.string(), ok: z.boolean(), needed: z.boolean(), detail: z.string() }))
    .optional(),
})

export const leaderzShape = z.strictObject({ leader: z.boolean(), term: z.int().nullable() })

export const fleetShape = z.strictObject({
  at: time,
  leader: z
    .strictObject({ instance: z.string(), host: z.string(), term: z.int(), leaseMs: z.number(), until: time })
    .nullable(),
  whyNobodyLeads: z.array(z.string()),
  instances: z.array(
    z.strictObject({
      instance: z.string(),
      host: z.string(),
      pid: z.int(),
      user: z.string(),
      version: z.string(),
      configDigest: z.string(),
      role: z.string(),
      eligible: z.boolean(),
      reason: z.string(),
      listen: z.string(),
      accepting: z.boolean(),
      heartbeatAgeMs: z.number().nullable(),
    }),
  ),
  warnings: z.array(z.string()),
  jobs: z
    .strictObject({
      at: time,
      audit: z.strictObject({
        accepted: count,
        submitted: count,
        waiting: count,
        inDoubt: count,
        dead: count,
        discarded: count,
        duplicates: count,
        setAside: count,
        balanced: z.boolean(),
      }),
      warnings: z.array(z.string()),
      setAside: z.array(z.strictObject({ segment: z.string(), jobs: count, reason: z.string() })),
    })
    .nullable(),
})

export const termsShape = z.strictObject({
  at: time,
  terms: z.array(
    z.strictObject({
      term: z.int(),
      at: time,
      host: z.string(),
      instance: z.string(),
      pid: z.int(),
      version: z.string(),
      configDigest: z.string(),
    }),
  ),
})

export const configShape = z.strictObject({
  digest: z.string(),
  files: z.array(z.string()),
  keys: z.record(
    z.string(),
    z.strictObject({ value: z.union([z.string(), z.number(), z.boolean(), z.array(z.string())]), origin: z.string() }),
  ),
})

export const jobShape = z.strictObject({
  id: z.string(),
  state: z.string(),
  cluster: z.strictObject({ name: z.string(), jobId: z.string().nullable() }).nullable(),
  why: z.string(),
  command: z.string().nullable(),
  steps: z.array(
    z.strictObject({
      step: z.string(),
      at: time,
      host: z.string(),
      instance: z.string(),
      pid: z.int(),
      version: z.string(),
      configDigest: z.string(),
      term: z.int().optional(),
      segment: z.string().optional(),
      detail: z.string().optional(),
    }),
  ),
  /** As docs/job.schema.json has it. */
  spec: z.record(z.string(), z.unknown()).nullable(),
})
