// What usher writes into the comment of a job or an array in Slurm, and how it reads it there. Pure.
//
//   usher IDS term=T host=H      IDS: PRODUCER-RUNS[;PRODUCER-RUNS]…      RUNS: RUN[,RUN]…      RUN: FIRST[+COUNT]
//
// where FIRST+COUNT are so many sequence numbers from FIRST on. Of an array the id at place i is that of task i; Slurm takes an
// array wholly or not at all, so whoever finds any part of it has found each of its jobs.
import { partsOfJobId } from '../../protocol/job-id.ts'
import type { Origin } from '../driver.ts'

/** Slurm refuses longer ones. */
export const commentBytesMax = 1024
/** More than any array has: a comment that claims so isn't one of usher's. */
const idsMax = 1_000_000

/** The order in which the ids of an array are the shortest to say. */
export const byId = (a: string, b: string): number => {
  const [one, other] = [partsOfJobId(a), partsOfJobId(b)]
  if (one.producer !== other.producer) return one.producer < other.producer ? -1 : 1
  return one.sequence < other.sequence ? -1 : one.sequence > other.sequence ? 1 : 0
}

/** Slurm's copy of who the jobs are, in the order of their tasks: what `find` looks for. */
export const commentOf = (ids: readonly string[], origin: Pick<Origin, 'term' | 'host'>): string => {
  let said = ''
  let run = { producer: '', first: 0n, count: 0n }
  const sayCount = (): void => {
    if (run.count > 1n) said += `+${run.count}`
  }
  for (const id of ids) {
    const { producer, sequence } = partsOfJobId(id)
    if (producer === run.producer && sequence === run.first + run.count) {
      run.count += 1n
      continue
    }
    sayCount()
    said += producer === run.producer ? `,${sequence}` : `${said === '' ? '' : ';'}${producer}-${sequence}`
    run = { producer, first: sequence, count: 1n }
  }
  sayCount()
  return `usher ${said} term=${origin.term} host=${origin.host}`
}

const run = String.raw`\d{1,20}(?:\+\d{1,6})?`
const runs = `[0-9a-f]{16}-${run}(?:,${run})*`
const ours = new RegExp(`^usher (${runs}(?:;${runs})*) term=`)

/** The ids in a comment that usher wrote, in the order of the array's tasks; none for any other comment. */
export const idsInComment = (comment: string): string[] => {
  const said = ours.exec(comment)?.[1]
  const ids: string[] = []
  for (const part of said?.split(';') ?? []) {
    const producer = part.slice(0, 16)
    for (const text of part.slice(17).split(',')) {
      const [first = '', count = '1'] = text.split('+')
      if (count === '1') {
        // As it was written, whatever zeroes it begins with.
        ids.push(`${producer}-${first}`)
        continue
      }
      if (ids.length + Number(count) > idsMax) return []
      const from = BigInt(first)
      for (let at = 0n; at < BigInt(count); at += 1n) ids.push(`${producer}-${from + at}`)
    }
  }
  return ids
}

/** Slurm's name of a job: that of the array's task, where its comment names several jobs. */
export const jobIdOf = (jobId: string, ids: readonly string[], at: number): string => (ids.length === 1 ? jobId : `${jobId}_${at}`)
