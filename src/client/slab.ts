// Memory for encoded jobs, taken in large pieces: an allocation for each job would cost more than encoding it. A
// piece is freed when no job in it is held any more.
import { ByteWriter } from '../protocol/byte-writer.ts'
import { encodeJob } from '../protocol/job-encoder.ts'
import type { Job } from '../protocol/job-spec.ts'

const pieceBytes = 256 * 1024
/** With less than this left a new piece is begun: the rest would mostly be outgrown, and then copied. */
const restBytes = 4096

export class Slab {
  #piece = new ByteWriter(pieceBytes)

  /** The job as it stands in a JOBS payload. The bytes never change. */
  encode(sequence: number, job: Job): Uint8Array {
    if (this.#piece.length > 0 && this.#piece.length > this.#piece.capacity - restBytes) this.#piece = new ByteWriter(pieceBytes)
    const start = this.#piece.length
    encodeJob(this.#piece, sequence, job)
    return this.#piece.view(start)
  }
}
