// `usher send` as tests use it: objects in, the summary and the accepted ids out.
import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { usher } from './usher-process.ts'

export interface SendSummary {
  readonly sent: number
  readonly accepted: number
  readonly refused: number
  readonly inDoubt: number
  readonly seconds: number
}

export interface Sent {
  readonly status: number
  readonly summary: SendSummary
  /** Lines before the summary. */
  readonly failures: readonly Record<string, unknown>[]
  readonly ids: readonly string[]
  readonly stderr: string
}

/** Sends through the command line; `jobs` are objects, or NDJSON as it is. */
export const sendJobs = async (
  to: string,
  jobs: readonly unknown[] | string,
  options: { readonly folder: string; readonly args?: readonly string[] },
): Promise<Sent> => {
  const idsFile = join(options.folder, `ids-${Math.random().toString(36).slice(2)}`)
  const input = typeof jobs === 'string' ? jobs : jobs.map((job) => `${JSON.stringify(job)}\n`).join('')
  const { status, stdout, stderr } = await usher(['send', '-', '--to', to, '--json', '--ids', idsFile, ...(options.args ?? [])], { input })
  const lines = stdout.trim().split('\n')
  if (lines.at(-1) === '') throw new Error(`usher send printed nothing: status ${status}, ${stderr}`)
  const parsed = lines.map((line) => JSON.parse(line) as Record<string, unknown>)
  const ids = (await readFile(idsFile, 'utf8')).split('\n').filter((line) => line !== '')
  await rm(idsFile)
  return { status, summary: parsed.at(-1) as unknown as SendSummary, failures: parsed.slice(0, -1), ids, stderr }
}
