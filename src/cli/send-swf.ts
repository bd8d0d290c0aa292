// The Standard Workload Format (Feitelson's Parallel Workloads Archive, version 2.2): one job a line, 18 numbers,
// -1 for what isn't known, comments after ";". Becomes jobs with the same demands that do nothing.
import type { JobSpecInput } from '../protocol/job-spec.ts'

/** What a job of a workload runs: it is a replay of demands, not of work. */
export const swfExecutable = '/bin/true'

const fieldCount = 18
const partitionLine = /^;\s*(Partition|Queue):\s*(\d+)\s+(\S.*?)\s*$/i

export type SwfLine = { readonly job: JobSpecInput } | { readonly problem: string } | { readonly skip: true }

export class SwfReader {
  readonly #executable: string
  /** Names that the header gives to numbers, by "partition 1" or "queue 1". */
  readonly #names = new Map<string, string>()

  constructor(executable = swfExecutable) {
    this.#executable = executable
  }

  /**
   * process_count: requested processors, else those allocated. duration: requested time, else the run time. memory:
   * requested (else used) kilobytes per processor times processors. queue_name: the queue, else the partition. account:
   * the user. The numbers themselves stay in custom attributes.
   */
  read(line: string): SwfLine {
    const trimmed = line.trim()
    if (trimmed === '') return { skip: true }
    if (trimmed.startsWith(';')) {
      const named = partitionLine.exec(trimmed)
      if (named !== null) this.#names.set(`${named[1]!.toLowerCase()} ${named[2]}`, named[3]!)
      return { skip: true }
    }
    const columns = trimmed.split(/\s+/)
    if (columns.length !== fieldCount) return { problem: `a job has ${fieldCount} numbers, this line ${columns.length}` }
    const numbers = columns.map(Number)
    const wrong = numbers.findIndex((value) => !Number.isFinite(value))
    if (wrong >= 0) return { problem: `column ${wrong + 1} is no number: ${JSON.stringify(columns[wrong])}` }
    return { job: this.#job(numbers) }
  }

  #job(columns: readonly number[]): JobSpecInput {
    /** The first of these columns (from 1, as the format counts) that is known and of use. */
    const first = (...places: number[]): number | undefined =>
      places.map((place) => columns[place - 1]!).find((value) => value > 0)
    const known = (place: number): number | undefined => (columns[place - 1]! >= 0 ? columns[place - 1] : undefined)
    const processes = first(8, 5)
    const seconds = first(9, 4)
    const kilobytes = first(10, 7)
    const user = known(12)
    const [queue, partition] = [this.#named('queue', known(15)), this.#named('partition', known(16))]
    const queueName = queue ?? partition
    const labels: Record<string, number | string> = { 'swf.job': columns[0]! }
    for (const [key, value] of Object.entries({ user, group: known(13), application: known(14), queue, partition })) {
      if (value !== undefined) labels[`swf.${key}`] = value
    }
    return {
      name: `swf-${columns[0]}`,
      executable: this.#executable,
      resources: {
        process_count: processes === undefined ? null : Math.round(processes),
        memory: kilobytes === undefined ? null : Math.round(kilobytes * 1024 * (processes ?? 1)),
      },
      attributes: {
        duration: seconds === undefined ? null : `${Math.ceil(seconds)} s`,
        queue_name: queueName ?? null,
        account: user === undefined ? null : `user${user}`,
        custom_attributes: labels,
      },
    }
  }

  #named(kind: 'queue' | 'partition', number: number | undefined): string | undefined {
    return number === undefined ? undefined : (this.#names.get(`${kind} ${number}`) ?? `${kind}${number}`)
  }
}
