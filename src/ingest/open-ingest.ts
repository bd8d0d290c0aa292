// The addon's ingest with the configuration of this host: which of its options comes from which key.
import { join } from 'node:path'
import { messageOf, UsherError } from '../base/errors.ts'
import { native } from '../base/native.ts'
import type { Ingest, IngestEvents } from '../base/native.ts'
import type { Config } from '../config/table.ts'
import { version } from '../config/version.ts'
import { segmentsDirectory } from '../store/layout.ts'

export const openIngest = (config: Config, storeUuid: string, instance: string, onEvents: (events: IngestEvents) => void): Ingest => {
  const { limits, segments } = config
  return new native.Ingest(
    {
      directory: join(config.store, segmentsDirectory(instance)),
      store: storeUuid,
      host: config.host,
      instance,
      pid: process.pid,
      version,
      config: config.digest,
      clusters: Object.keys(config.clusters),
      defaultCluster: config.defaultCluster,
      frameBytesMax: limits.frameBytesMax,
      frameJobsMax: limits.frameJobsMax,
      jobBytesMax: limits.jobBytesMax,
      creditBytes: limits.creditBytes,
      idleMs: limits.idleTimeoutMs,
      threads: config.accept.threads,
      connectionsMax: limits.connectionsMax,
      helloTimeoutMs: limits.helloTimeoutMs,
      frameTimeoutMs: limits.frameTimeoutMs,
      outputBytesMax: limits.outputBytesMax,
      uncommittedBytesMax: limits.uncommittedBytesMax,
      partialBytesMax: limits.partialBytesMax,
      segmentBytesMax: segments.bytesMax,
      segmentAgeMs: segments.ageMs,
      sealIntervalMs: segments.sealIntervalMs,
      directIo: segments.directIo,
      reserveBytes: segments.reserveBytes,
      acceptLeaseMs: config.acceptLeaseMs,
      retryMs: 500,
      faults: faultsFromEnvironment(),
    },
    onEvents,
  )
}

/** For tests alone: USHER_TEST_FAULTS='[{"operation":"fdatasync","nth":3,"times":2,"errno":5}]'. */
const faultsFromEnvironment = (): [] => {
  const text = process.env['USHER_TEST_FAULTS']
  if (text === undefined) return []
  try {
    return JSON.parse(text) as []
  } catch (error) {
    throw new UsherError('config_invalid', `USHER_TEST_FAULTS isn't JSON: ${messageOf(error)}`)
  }
}
