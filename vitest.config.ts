// `vitest run` runs what any machine can run; `--project slurm` and `--project nfs` need the labs of test/lab, and root.
import { defineConfig } from 'vitest/config'

const isAsked = (project: string): boolean =>
  process.argv.some((argument, index, all) => argument === `--project=${project}` || (argument === '--project' && all[index + 1] === project))

const project = (name: string, timeoutMs: number, options: { parallel?: boolean } = {}) => ({
  test: {
    name,
    include: [`test/${name}/**/*.test.ts`],
    testTimeout: timeoutMs,
    hookTimeout: timeoutMs,
    // Processes, not threads: the addon, signals and the kernel's deadline belong to a process.
    pool: 'forks' as const,
    fileParallelism: options.parallel ?? true,
  },
})

export default defineConfig({
  test: {
    watch: false,
    projects: [
      project('unit', 20_000),
      project('native', 60_000),
      project('sim', 600_000),
      // One file at a time: they start servers and kill them, and would only slow each other down.
      project('system', 120_000, { parallel: false }),
      ...(isAsked('slurm') ? [project('slurm', 300_000, { parallel: false })] : []),
      ...(isAsked('nfs') ? [project('nfs', 300_000, { parallel: false })] : []),
    ],
  },
})
