// Every failure that usher reports: one class, one table of codes. Match codes, never messages.
// docs/protocol.md is checked against the wire numbers of this table by a test.

export interface CodeInfo {
  readonly summary: string
  /** Whether the same request, sent again later or elsewhere, can succeed. */
  readonly retryable: boolean
  /** Number on the wire; absent where the code never crosses it. */
  readonly wire?: number
  /** Exit status of a command that fails with it (sysexits.h). */
  readonly exit: number
  /** Status of an HTTP answer that carries it; absent where none is expected to. */
  readonly http?: number
}

const info = (summary: string, retryable: boolean, exit: number, wire?: number): CodeInfo =>
  wire === undefined ? { summary, retryable, exit } : { summary, retryable, exit, wire }
const overHttp = (http: number, summary: string, retryable: boolean, exit: number): CodeInfo => ({ summary, retryable, exit, http })

export const codes = {
  // The connection: sent in an ERROR frame, which closes it.
  not_usher: info('the first bytes are not the preamble of this protocol', false, 76, 1),
  version_unsupported: info("no version in the producer's range is spoken here", false, 76, 2),
  frame_corrupt: info("the CRC doesn't match the frame", true, 76, 3),
  frame_too_large: info('the payload is larger than WELCOME allows', false, 65, 4),
  frame_unexpected: info('unknown type, flags set, or not allowed at this point', false, 76, 5),
  frame_malformed: info("the payload doesn't have the shape of its type", false, 76, 6),
  credit_exceeded: info('a JOBS frame was sent without credit for it', false, 76, 7),
  connections_exhausted: info('this host has as many connections as it takes', true, 75, 8),
  hello_timeout: info('no complete preamble and HELLO in time', true, 75, 9),
  frame_timeout: info('a frame was begun and not completed in time', true, 75, 10),
  idle_timeout: info('nothing arrived for longer than WELCOME allows', true, 75, 11),
  memory_exhausted: info('too many incomplete frames wait in memory', true, 75, 12),
  output_overrun: info("the producer doesn't read its answers", true, 75, 13),
  // One job: sent in a REFUSED frame.
  job_malformed: info("the fields of the job don't parse", false, 65, 32),
  job_too_large: info('the job is larger than WELCOME allows', false, 65, 33),
  field_missing: info('a required field is not there', false, 65, 34),
  field_invalid: info("the field's value is not one of those allowed", false, 65, 35),
  field_order: info('the field or key is out of order or given twice', false, 65, 36),
  field_unknown: info('no field has this name or tag', false, 65, 37),
  text_not_utf8: info('the text is not UTF-8', false, 65, 38),
  text_not_xml: info("the text holds a character that XML 1.0 can't carry", false, 65, 39),
  cluster_unknown: info('no cluster of this name is configured here', false, 65, 40),
  cluster_required: info('several clusters are configured and the job names none', false, 65, 41),
  resources_contradict: info('process_count is not node_count × processes_per_node', false, 65, 42),
  store_full: info('the store has less free space than is kept in reserve', true, 75, 64),
  store_failing: info('writing or syncing to the store failed', true, 75, 65),
  draining: info('this host is shutting down', true, 75, 66),
  retired: info('this instance lost its accept lease', true, 75, 67),
  // A job after it was accepted.
  id_conflict: info('a job with this id and another content was accepted before', false, 65),
  cluster_refused: info('the cluster refused the job for good', false, 65),
  // Reading segments.
  xml_malformed: info('the segment is not well-formed XML', false, 65),
  xml_forbidden: info('the segment uses a DTD, an entity or an encoding that is not taken', false, 65),
  schema_violated: info('the segment is not valid against segment.xsd', false, 65),
  segment_corrupt: info("the segment's bytes are not what was written", false, 65),
  // Clients.
  timed_out: info('no answer in time', true, 75),
  disconnected: info('no host could be reached', true, 69),
  aborted: info('the caller gave up', false, 130),
  queue_full: info('the client holds as many jobs as it was allowed to', true, 75),
  closed: info('used after it was closed', false, 70),
  in_doubt: info('sent, and nobody knows: it may or may not have been accepted', true, 75),
  // Requests over HTTP.
  method_not_allowed: overHttp(405, 'what is at this address takes other methods', false, 64),
  request_timeout: overHttp(408, 'the request was not complete in time', true, 75),
  request_too_large: overHttp(413, 'the request is larger than this host takes', false, 65),
  host_unknown: overHttp(421, 'the request names a host that this is not', false, 64),
  // Setting up, commands.
  usage: info('the command was used wrongly', false, 64),
  input_invalid: overHttp(400, 'the input is not what the command takes', false, 65),
  not_found: overHttp(404, 'there is no such thing', false, 65),
  config_invalid: info('the configuration is not valid', false, 78),
  store_wrong: info('the directory is not the store that was expected', false, 78),
  store_unavailable: overHttp(503, "the store can't be used", true, 69),
  address_in_use: info('the address is already taken', false, 69),
  already_running: info('an instance of this host runs already', false, 69),
  permission: info('the operating system denies it', false, 77),
  unavailable: overHttp(503, 'the service needed is not there', true, 69),
  native_missing: info('the addon is not built', false, 69),
  ledger_corrupt: info('the ledger holds a record that was not written', false, 65),
  internal: overHttp(500, 'a broken invariant: please report it', false, 70),
} as const satisfies Record<string, CodeInfo>

export type Code = keyof typeof codes

const byWire = new Map<number, Code>(
  Object.entries(codes).flatMap(([name, value]) => ('wire' in value ? [[value.wire as number, name as Code]] : [])),
)

/** The code with this number on the wire, or undefined for a number that this version doesn't know. */
export const codeOfWire = (wire: number): Code | undefined => byWire.get(wire)
export const httpStatusOf = (code: Code): number => (codes[code] as CodeInfo).http ?? 500
export const wireOfCode = (code: Code): number => (codes[code] as CodeInfo).wire ?? 0

export class UsherError extends Error {
  readonly code: Code
  readonly retryable: boolean
  readonly details: Readonly<Record<string, unknown>>

  constructor(code: Code, message: string, options: { details?: Record<string, unknown>; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'UsherError'
    this.code = code
    this.retryable = codes[code].retryable
    this.details = options.details ?? {}
  }
}

/** The errno name of a system error ("ENOSPC"), or undefined. */
export const errnoOf = (error: unknown): string | undefined => {
  const code = (error as { code?: unknown } | null)?.code
  return typeof code === 'string' && /^E[A-Z0-9]+$/.test(code) ? code : undefined
}

export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))

/** A broken invariant must stop the process: going on could lose or double a job. */
export function invariant(condition: unknown, what: string): asserts condition {
  if (!condition) throw new UsherError('internal', `broken invariant: ${what}`)
}
