// The submitter: a process of its own, one for each instance, whose life is bounded by its lease. On every claim of
// its candidate the kernel is told to kill it at the lease's end, so nothing that stops or delays it lets it submit
// after another may lead. Deposed, it dies and is started again as a follower.
//
// Started by SubmitterProcess (fork); ends when its parent does. Holds no decision: see candidate.ts.

import { systemClock } from '../base/clock.ts'
import { messageOf } from '../base/errors.ts'
import { native } from '../base/native.ts'
import { provenDead } from '../observe/instance.ts'
import { clockMargin, ClockRate } from '../election/clock-rate.ts'
import { DirectoryStore } from '../store/directory-store.ts'
import { Candidate, candidatePace } from './candidate.ts'
import { createDriver } from './drivers/registry.ts'
import type { FromSubmitter, StartMessage, ToSubmitter } from './messages.ts'

const send = (message: FromSubmitter): void => {
  if (process.connected) process.send?.(message)
}

const log = (level: 'debug' | 'info' | 'warn' | 'error', message: string, details: Record<string, unknown> = {}): void =>
  send({ type: 'log', level, message, details })

/** Flushes what was sent to the parent, then ends. */
const exit = (status: number): void => {
  if (!process.connected || process.send === undefined) process.exit(status)
  process.send({ type: 'log', level: 'debug', message: `submitter ends with status ${status}`, details: {} } satisfies FromSubmitter, () => process.exit(status))
}

const createCandidate = (start: StartMessage): Candidate =>
  new Candidate({
    start,
    pid: process.pid,
    store: new DirectoryStore(start.directory),
    clock: systemClock,
    deadline: { arm: (atMs) => native.armDeadline(atMs), disarm: () => native.disarmDeadline() },
    random: Math.random,
    pace: candidatePace,
    createDriver: (cluster) => createDriver(start.clusters[cluster]!, { cluster, storeDirectory: start.directory, host: start.by.host, log }),
    createSeenIds: () => new native.SeenIds(),
    provenDead,
    clockFault: () => clockRate.look(),
    send,
    exit,
  })

// It is meant for this process alone: what the local driver and commands start inherits the environment.
delete process.env['UV_THREADPOOL_SIZE']

const clockRate = new ClockRate(() => native.clockReading(), clockMargin)

let candidate: Candidate | null = null

process.on('message', (message: ToSubmitter) => {
  switch (message.type) {
    case 'start':
      candidate = createCandidate(message)
      candidate.start()
      return
    case 'published':
      candidate?.published(message.number)
      return
    case 'adopted':
      candidate?.adopted(message.instance, message.last)
      return
    case 'look':
      candidate?.look(message.nudge)
      return
    case 'resign':
      candidate?.resign().catch((error: unknown) => {
        log('error', `can't resign: ${messageOf(error)}`)
        exit(75)
      })
      return
  }
})

const tellBooksEveryMs = 1000

/** For metrics; looks at sums that are there anyway. */
const tellBooks = (): void => {
  const books = candidate?.books
  const term = books?.terms.at(-1)?.term
  if (books == null || term === undefined) return
  let oldestWaiting: string | null = null
  for (const { ref, waiting } of books.segments.values()) {
    if (waiting === 0) continue
    oldestWaiting = ref
    break
  }
  send({ type: 'books', books: { term, audit: books.audit(), oldestWaiting, tallies: candidate?.tallies ?? {} } })
}
setInterval(tellBooks, tellBooksEveryMs).unref()

// Without its parent nobody tells the store that this instance lives.
process.on('disconnect', () => process.exit(75))
// A terminal's Ctrl-C goes to the whole group: the parent decides when the submitter resigns.
process.on('SIGINT', () => undefined)
process.on('SIGTERM', () => undefined)
process.on('uncaughtException', (error) => {
  log('error', `a bug ends the submitter: ${error.stack ?? messageOf(error)}`)
  exit(70)
})
