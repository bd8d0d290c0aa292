// The pieces of work that are timed alone, each on a fixed input: what `micro` gives rates of, and the guard ratios. `sample`
// is a segment as the server writes it.
import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { systemClock } from '../dist/base/clock.js'
import { native } from '../dist/base/native.js'
import { ByteWriter } from '../dist/protocol/byte-writer.js'
import { FrameDecoder, encodeFrame, frameTypes } from '../dist/protocol/frame.js'
import { encodeJob } from '../dist/protocol/job-encoder.js'
import { visitAck } from '../dist/protocol/messages.js'
import { DirectoryStore } from '../dist/store/directory-store.js'
import { claimFileName, claimName, claimsDirectory, hostDirectory, ledgerTermDirectory } from '../dist/store/layout.js'
import { Ledger } from '../dist/submit/ledger.js'
import { benchJob } from './generator.mjs'
import { root } from './server.mjs'

/** As a function of its own, as modules take it. */
const crc32c = (bytes, seed) => native.crc32c(bytes, seed)

/** All of the processor alone: what a ratio can be made of. `amount` and `unit`: what one run does. */
export const processorKernels = (sample) => {
  const { jsonl, jobs } = native.transform(sample)
  const indexed = native.indexLines(jsonl)
  const { spec } = benchJob(250)
  const writer = new ByteWriter(1 << 20)
  const batch = 400
  const acks = Buffer.alloc(1000 * 12)
  for (let at = 0; at < acks.length; at += 12) {
    acks.writeBigUInt64LE(BigInt(at), at)
    acks.writeUInt32LE(1, at + 8)
  }
  const answers = Buffer.concat(Array.from({ length: 20 }, () => encodeFrame(frameTypes.ACK, 1000, acks, crc32c)))
  let answered = 0
  return [
    { name: 'CRC-32C', what: 'of a segment of XML', amount: sample.length / 2 ** 20, unit: 'MiB/s', run: () => native.crc32c(sample) },
    { name: 'XML to JSON', what: 'a segment, by the addon', amount: sample.length / 2 ** 20, unit: 'MiB/s', run: () => native.transform(sample) },
    { name: 'index of JSON lines', what: 'ids, digests and clusters of a segment', amount: jsonl.length / 2 ** 20, unit: 'MiB/s', run: () => native.indexLines(jsonl) },
    {
      name: 'seen ids', what: 'ids of a segment admitted to an empty index', amount: jobs, unit: 'jobs/s',
      run: () => {
        const { producers, sequences, digests } = indexed
        return new native.SeenIds().admit(producers, sequences, digests)
      },
    },
    {
      name: "producer's encoder", what: 'jobs of 250 bytes into frames, in JavaScript', amount: batch, unit: 'jobs/s',
      run: () => {
        for (let sequence = 1; sequence <= batch; sequence += 1) encodeJob(writer, sequence, { spec })
        return encodeFrame(frameTypes.JOBS, batch, writer.take(), crc32c)
      },
    },
    {
      name: "producer's decoder", what: 'acknowledgements of single jobs, in JavaScript', amount: 20_000, unit: 'jobs/s',
      run: () => {
        const decoder = new FrameDecoder({ payloadBytesMax: 1 << 20, crc32c, onFrame: (frame) => visitAck(frame, (first, count) => (answered += count)) })
        decoder.push(answers)
        return answered
      },
    },
  ]
}

const by = { host: 'bench', instance: 'bench-20261123T040000-3fa9c1', pid: 1, version: '0', config: '0' }

/** A store with a ledger; `record()` is one for it. */
const openLedger = async (parent) => {
  const folder = await mkdtemp(join(parent, '.bench-'))
  const store = new DirectoryStore(folder)
  for (const directory of [claimsDirectory, ledgerTermDirectory(1), hostDirectory(by.instance)]) await store.makeDirectory(directory)
  const ledger = await Ledger.create({ store, storeUuid: 'bench', term: 1, by, clock: systemClock, read: [] })
  let number = 0
  return {
    store,
    ledger,
    record: () => ({ k: 'intent', cluster: 'main', of: `${by.instance}/${(number += 1)}`, jobs: [[0, 999]] }),
    close: async () => {
      await ledger.close()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

/** What a ledger costs the processor: its files in memory, where a sync is nothing. */
export const memoryLedger = async () => {
  const { ledger, record, close } = await openLedger('/dev/shm')
  return {
    kernel: { name: 'ledger in memory', what: 'records appended 1,000 at once', amount: 1000, unit: 'records/s', run: () => ledger.append(Array.from({ length: 1000 }, record)) },
    close,
  }
}

/** Work that waits for the disk. `close` removes what it made. */
export const diskKernels = async () => {
  const { store, ledger, record, close } = await openLedger(process.env.USHER_BENCH_DIR ?? root)
  let claims = 0
  const privateName = claimFileName(by.instance, randomBytes(8).toString('hex'))
  await store.prepare(privateName, randomBytes(64))
  return {
    kernels: [
      { name: 'ledger, append and sync', what: 'one record', amount: 1, unit: 'records/s', run: () => ledger.append([record()]) },
      { name: 'ledger, 32 appends at once', what: 'records that share syncs', amount: 32, unit: 'records/s', run: () => Promise.all(Array.from({ length: 32 }, () => ledger.append([record()]))) },
      { name: 'claim', what: 'the next number of a term, synced', amount: 1, unit: 'claims/s', run: () => store.claim(claimName((claims += 1)), privateName) },
    ],
    close,
  }
}
