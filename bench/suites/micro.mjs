// Single pieces of work, timed by tinybench: processor work on one core, and what waits for the disk.
import { Bench } from 'tinybench'
import { sampleSegment } from '../contest.mjs'
import { diskKernels, processorKernels } from '../kernels.mjs'

/** Each kernel for a while, everybody in turn in every round. */
const timed = async (recorder, kernels, rounds, time) => {
  for (let round = 0; round < rounds; round += 1) {
    const bench = new Bench({ time, warmupTime: round === 0 ? 200 : 20, throws: true })
    for (const { name, run } of kernels) bench.add(name, run)
    await bench.run()
    for (const { name, what, amount, unit } of kernels) {
      recorder.add(`micro/${name}`, bench.getTask(name).result.throughput.mean * amount, { what, unit, better: 'higher' })
    }
  }
}

export const micro = async (recorder, { rounds }) => {
  await timed(recorder, processorKernels(await sampleSegment()), rounds, 300)
  const { kernels, close } = await diskKernels()
  try {
    await timed(recorder, kernels, rounds, 300)
  } finally {
    await close()
  }
}
