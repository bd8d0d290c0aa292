// The JSON object that stands for a job outside of usher, for the drivers that hand it to someone else's code:
// {"id","spec","term","host","instance"}. The spec's text goes through as it stands in the .jsonl, unparsed.
import type { Origin, Submission } from '../driver.ts'

/** What the objects of one term have in common, built once for many jobs. */
export const jobMessage = (job: Submission, origin: Origin): string =>
  `{"id":${JSON.stringify(job.id)},"spec":${job.specJson},"term":${origin.term},"host":${JSON.stringify(origin.host)},` +
  `"instance":${JSON.stringify(origin.instance)}}`

/** The jobId of an answer such as {"jobId":17}: null where there is none, undefined where the text isn't a JSON object. */
export const jobIdOf = (text: string): string | null | undefined => {
  const answer = objectOf(text)
  return answer === undefined ? undefined : idText(answer['jobId'])
}

export const idText = (value: unknown): string | null =>
  typeof value === 'number' && Number.isSafeInteger(value)
    ? String(value)
    : typeof value === 'string' && value !== ''
      ? value.slice(0, 1024)
      : null

export const objectOf = (text: string): Record<string, unknown> | undefined => {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : undefined
  } catch {
    // Not JSON is an answer too; what it means is for the caller to say.
    return undefined
  }
}

/** One line of someone else's text, short enough for a record. */
export const excerpt = (text: string, charactersMax = 300): string => {
  const line = text.replace(/[\s\p{Cc}]+/gu, ' ').trim()
  return line.length > charactersMax ? `${line.slice(0, charactersMax)}…` : line
}
