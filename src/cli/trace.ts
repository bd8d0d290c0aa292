// `usher trace JOB`: everything that happened to one job, and who did it.
import type { Command } from 'commander'
import { UsherError } from '../base/errors.ts'
import { jobIdPattern } from '../protocol/job-id.ts'
import type { Trace } from '../submit/trace.ts'
import { painter, printable, printJson, renderTable } from './output.ts'
import { openStoreFor, withStoreOptions } from './store-option.ts'
import type { StoreOptions } from './store-option.ts'

export const requireJobId = (text: string): string => {
  if (!jobIdPattern.test(text)) {
    throw new UsherError('usage', `'${text}' isn't the id of a job: 16 hexadecimal digits, a hyphen and a number, as in 9f8c2e71a4b0d3e5-17`)
  }
  return text
}

export const registerTrace = (program: Command): void => {
  withStoreOptions(program.command('trace').argument('<job>', 'id of the job'))
    .summary('what happened to one job, and who did it')
    .description('Shows every step of a job from the socket to the cluster: when, which host, which process, which version and configuration.')
    .addHelpText('before', 'Examples:\n  usher trace 9f8c2e71a4b0d3e5-17 --store /shared/usher\n  usher trace 9f8c2e71a4b0d3e5-17 --json | jq .steps\n')
    .action(async (job: string, options: StoreOptions) => {
      const id = requireJobId(job)
      const { store } = await openStoreFor(options)
      const { trace } = await import('../submit/trace.ts')
      const found = await trace(store, id)
      if (found === null) throw new UsherError('not_found', `no job ${id} is in this store, or it was finished longer than the retention ago`)
      if (options.json === true) printJson(found)
      else process.stdout.write(render(found))
    })
}

const render = ({ id, state, cluster, steps, spec }: Trace): string => {
  const paint = painter(process.stdout)
  const head = [
    `job      ${paint('bold', id)}`,
    `state    ${state === 'dead' || state === 'in doubt' ? paint('red', state) : paint('green', state)}`,
    `cluster  ${cluster === null ? '-' : `${cluster.name}${cluster.jobId === null ? '' : `, job ${printable(cluster.jobId)}`}`}`,
    `runs     ${spec === null ? '-' : printable([spec.executable, ...(spec.arguments ?? [])].join(' '))}`,
  ]
  const rows = steps.map((step) => [
    step.at.replace('T', ' ').replace('Z', ''),
    paint('cyan', step.step),
    `${step.host} pid ${step.pid}`,
    `${step.version} ${step.configDigest}`,
    step.term === undefined ? '' : `term ${step.term}`,
    printable(step.detail ?? ''),
  ])
  const titles = ['when (UTC)', 'step', 'who', 'version, config', 'term', 'detail']
  return `${head.join('\n')}\n\n${renderTable(titles.map((title) => ({ title })), rows, paint)}`
}
