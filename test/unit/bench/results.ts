// Results of a benchmark, as small as a test needs them.
import type { BenchResults, Machine } from '../../../src/bench/results.ts'

export const results = ({ machine, ...given }: Partial<Omit<BenchResults, 'machine'>> & { readonly machine?: Partial<Machine> }): BenchResults => ({
  format: 'usher-bench-1',
  at: '2026-11-23T12:00:00.000Z',
  commit: '0123456',
  changed: false,
  machine: { cpu: 'a processor', cores: 2, memoryBytes: 8 * 2 ** 30, arch: 'x64', kernel: '6.1', node: 'v20', fileSystem: 'ext4', ...machine },
  suiteSeconds: {},
  peers: {},
  measures: [],
  plots: [],
  books: [],
  ...given,
})
