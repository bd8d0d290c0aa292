// The name of a job: the producer's number and the job's sequence, minted before the first attempt so that
// every retry is safe. Written `9f8c2e71a4b0d3e5-17`. Must never be made up anew for a job that was sent.
import { createHash, randomBytes } from 'node:crypto'

export interface JobId {
  readonly producer: bigint
  readonly sequence: bigint
}

const u64Max = 0xffff_ffff_ffff_ffffn
/** How formatJobId writes one, but for numbers beyond 64 bits. */
export const jobIdPattern = /^([0-9a-f]{16})-(0|[1-9][0-9]{0,19})$/

/** 16 lower-case hexadecimal digits. */
export const formatProducer = (producer: bigint): string => producer.toString(16).padStart(16, '0')

export const formatJobId = (producer: bigint, sequence: bigint | number): string => `${formatProducer(producer)}-${sequence}`

/** Undefined where the text is not exactly how formatJobId would write it. */
export const parseJobId = (text: string): JobId | undefined => {
  const match = jobIdPattern.exec(text)
  if (match === null) return undefined
  const sequence = BigInt(match[2]!)
  return sequence > u64Max ? undefined : { producer: BigInt(`0x${match[1]}`), sequence }
}

/** Of an id that is known to be one. */
export const partsOfJobId = (id: string): { readonly producer: string; readonly sequence: bigint } => ({ producer: id.slice(0, 16), sequence: BigInt(id.slice(17)) })

/**
 * The producer's number of a client that is known by a name: the first 8 bytes of the SHA-256 of the name
 * in UTF-8, big-endian. Whoever uses the name must be alone with it and give each job its own sequence.
 */
export const producerOfName = (name: string): bigint => createHash('sha256').update(name, 'utf8').digest().readBigUInt64BE(0)

/** For a producer that lives once: no other will have this number. */
export const randomProducer = (): bigint => randomBytes(8).readBigUInt64BE(0)
