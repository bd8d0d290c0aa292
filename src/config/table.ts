// Every key of the configuration: its kind, default and meaning. Types, parsing, messages, `usher config show` and
// the tables of docs/configuration.md all come from here. A key that isn't here doesn't exist.
import { availableParallelism, hostname } from 'node:os'
import { bytes, choice, count, duration, flag, type Kind, listenAddress, matching, path, program, seconds, url } from './kinds.ts'

const MiB = 2 ** 20
const dayMs = 86_400_000

/** A default that depends on the machine or on another key. `text` says it in the documentation. */
interface Computed {
  readonly text: string
  of(shown: (key: string) => unknown): unknown
}

export interface Key<T = unknown, Property extends string = string, Default = unknown> {
  /** Name in the program, units last. */
  readonly property: Property
  readonly kind: Kind<T>
  /** As it would stand in a TOML file; absent: the key must be given or stays undefined (`required`). */
  readonly default: Default
  readonly required: boolean
  readonly description: string
  /** Hosts of one store should agree on it: it counts in the digest. */
  readonly shared: boolean
}

type Options<Default> = { default?: Default; required?: boolean; shared?: boolean }

const key = <
  T,
  const Property extends string,
  const Default extends string | number | boolean | Computed | undefined = undefined,
>(
  property: Property,
  kind: Kind<T>,
  description: string,
  options: Options<Default> = {},
): Key<T, Property, Default> => ({
  property,
  kind,
  default: options.default as Default,
  required: options.required ?? false,
  description,
  shared: options.shared ?? true,
})

const required = <T, const Property extends string>(
  property: Property,
  kind: Kind<T>,
  description: string,
): Key<T, Property, 'required'> => ({
  ...key(property, kind, description),
  default: undefined as unknown as 'required',
  required: true,
})

const hostText = (name: string): string => name.replace(/[^A-Za-z0-9._-]/g, '-').slice(0, 64) || 'host'

/** The names of hosts stand in the names of instances and of folders. */
export const hostNamePattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/
const hostName = matching(hostNamePattern, '1 to 64 of A-Z a-z 0-9 . _ -, a letter or digit first')
export const clusterNamePattern = /^[a-z0-9_-]{1,64}$/
const clusterName = matching(clusterNamePattern, 'the name of a configured cluster')

export const topKeys = {
  store: key('store', path, 'The shared directory, the same for all hosts.', { default: './usher-store', shared: false }),
  store_uuid: key(
    'storeUuid',
    matching(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/, 'a uuid in lower case, as store.json has it'),
    'Which store that must be. With it a share that is not mounted, or another one, is refused; without it a directory that holds no store becomes a new one.',
    { default: { text: 'any store, or a new one', of: () => undefined }, shared: false },
  ),
  listen: key('listen', listenAddress, 'Where producers connect. Port 0 takes any free one.', {
    default: '127.0.0.1:7433',
    shared: false,
  }),
  insecure: key(
    'insecure',
    flag,
    'Allows a listener beyond loopback. There is no authentication: whoever reaches it can submit jobs.',
    {
      default: false,
      shared: false,
    },
  ),
  lease: key(
    'leaseMs',
    // leaseMsMax of src/election/claim.ts.
    duration(100, 60_000),
    'How long a claim to lead is valid; another host takes over after a little more than this.',
    { default: '3 s' },
  ),
  accept_lease: key(
    'acceptLeaseMs',
    duration(100, 300_000),
    'A host that could not write to the store for this long stops acknowledging jobs.',
    {
      default: { text: 'the value of `lease`', of: (shown: (key: string) => unknown) => shown('lease') },
    },
  ),
  retention: key(
    'retentionMs',
    duration(1_000, 3_650 * dayMs),
    'How long the files of finished jobs, and what the ledger says of each, are kept; ids stay seen for ever. What the leading host says counts.',
    { default: '7 days' },
  ),
  host: key('host', hostName, 'What this host is called in the store, in traces and in logs.', {
    default: { text: 'the name of the machine', of: () => hostText(hostname()) },
    shared: false,
  }),
  admission: key(
    'admission',
    choice('open', 'listed'),
    'With `listed` this host accepts and leads only once `usher admit` has named it. A list that names anybody binds all hosts of the store.',
    { default: 'open' },
  ),
  default_cluster: key(
    'defaultCluster',
    clusterName,
    'Where jobs go that name no cluster. Without it such jobs are refused where several are configured.',
    {
      default: { text: 'the only cluster', of: () => undefined },
    },
  ),
} as const

export const sections = {
  accept: {
    threads: key('threads', count(1, 64), "Threads that hold producers' connections.", {
      default: { text: 'one for each four CPUs, 1 to 4', of: () => Math.min(4, Math.max(1, Math.floor(availableParallelism() / 4))) },
      shared: false,
    }),
  },
  limits: {
    frame_bytes: key('frameBytesMax', bytes(4_096, 64 * MiB), 'Largest payload of a frame.', { default: '1 MiB' }),
    frame_jobs: key('frameJobsMax', count(1, 65_535), 'Most jobs in a frame.', { default: 4_096 }),
    job_bytes: key('jobBytesMax', bytes(256, 16 * MiB), 'Largest job as it comes over the wire.', { default: '128 KiB' }),
    credit_bytes: key('creditBytes', bytes(4_108, 1_024 * MiB), 'What a connection may have sent and not yet been answered.', {
      default: '4 MiB',
    }),
    connections: key('connectionsMax', count(1, 1_000_000), 'Most connections at a time.', { default: 10_000 }),
    hello_timeout: key(
      'helloTimeoutMs',
      duration(100, 600_000),
      'A connection that has not introduced itself by then is closed.',
      { default: '10 s' },
    ),
    frame_timeout: key('frameTimeoutMs', duration(100, 600_000), 'A frame that is begun must be complete by then.', {
      default: '30 s',
    }),
    idle_timeout: key('idleTimeoutMs', duration(100, dayMs), 'A connection on which nothing arrives for this long is closed.', {
      default: '2 min',
    }),
    partial_bytes: key('partialBytesMax', bytes(1 * MiB, 65_536 * MiB), 'Incomplete frames of all connections together.', {
      default: '256 MiB',
    }),
    uncommitted_bytes: key(
      'uncommittedBytesMax',
      bytes(1 * MiB, 4_096 * MiB),
      'Jobs waiting for their sync beyond which no more is read.',
      { default: '48 MiB' },
    ),
    output_bytes: key('outputBytesMax', bytes(65_536, 1_024 * MiB), 'Answers that a connection may leave unread.', {
      default: '8 MiB',
    }),
  },
  segments: {
    bytes: key('bytesMax', bytes(4_096, 1_024 * MiB), 'A segment is sealed when it is this large …', { default: '8 MiB' }),
    age: key('ageMs', duration(1, 60_000), '… or this old …', { default: '100 ms' }),
    seal_interval: key('sealIntervalMs', duration(1, 60_000), '… or when nothing waits and the last sealing is this long ago.', {
      default: '20 ms',
    }),
    reserve_bytes: key('reserveBytes', bytes(0, 1_048_576 * MiB), 'Free space of the store below which jobs are refused.', {
      default: '64 MiB',
    }),
    direct_io: key('directIo', flag, 'Large commits are written, and large segments read, past the page cache where the file system can.', {
      default: true,
    }),
  },
  transform: {
    threads: key('threads', count(1, 64), 'Worker threads that turn XML into JSON.', {
      default: { text: 'one fewer than CPUs, 1 to 4', of: () => Math.min(4, Math.max(1, availableParallelism() - 1)) },
      shared: false,
    }),
  },
  submit: {
    window_bytes: key(
      'windowBytesMax',
      bytes(64 * 1_024, 4_096 * MiB),
      "Most bytes of one cluster's jobs that are held in memory.",
      {
        default: '16 MiB',
      },
    ),
    retry_min: key(
      'retryMinMs',
      duration(1, 3_600_000),
      'A job that the cluster can not take now is tried again after a random time up to this …',
      { default: '200 ms' },
    ),
    retry_max: key('retryMaxMs', duration(1, dayMs), '… doubled with each attempt, up to this. There is no last attempt.', {
      default: '1 min',
    }),
  },
  http: {
    listen: key(
      'listen',
      listenAddress,
      'Where HTTP is answered. Without it there is none. Loopback alone: there is no authentication. Port 0 takes any free one.',
      { shared: false },
    ),
    server: key(
      'server',
      choice('auto', 'uwebsockets', 'node'),
      '`auto` is uWebSockets.js where that package loads, and `node:http` elsewhere.',
      { default: 'auto', shared: false },
    ),
    header_bytes: key('headerBytesMax', bytes(1_024, 1 * MiB), 'Largest head of a request.', { default: '16 KiB', shared: false }),
    body_bytes: key('bodyBytesMax', bytes(0, 64 * MiB), 'Largest body of a request.', { default: '64 KiB', shared: false }),
    timeout: key('timeoutMs', duration(100, 600_000), 'A request that is begun must be complete by then.', {
      default: '10 s',
      shared: false,
    }),
    idle_timeout: key('idleTimeoutMs', duration(100, 600_000), 'A connection without a request is closed after this.', {
      default: '10 s',
      shared: false,
    }),
    connections: key('connectionsMax', count(1, 100_000), 'Most connections at a time; with uWebSockets.js, most requests.', {
      default: 256,
      shared: false,
    }),
  },
  log: {
    level: key('level', choice('trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'), 'The least that is logged.', {
      default: 'info',
      shared: false,
    }),
    format: key('format', choice('auto', 'json', 'pretty'), '`auto` is `pretty` on a terminal and `json` elsewhere.', {
      default: 'auto',
      shared: false,
    }),
  },
} as const

const second = 1_000
const inFlight = (jobs: number) => key('in_flight', count(1, 1_024), 'Submissions at a time.', { default: jobs })
const timeout = (text: string) =>
  key('timeout', seconds(100, 3_600 * second), 'Until a call counts as unanswered: the job is in doubt then.', { default: text })
const settle = (text: string) =>
  key(
    'settle',
    seconds(0, dayMs),
    'How late a submission can still show: only after it is a job that is not found proven absent.',
    { default: text },
  )

/** `[cluster.NAME]`, by its driver. Drivers take these names and units (seconds) as they are. */
export const driverKeys = {
  local: {
    slots: key('slots', count(1, 100_000), 'Most jobs that run at a time.', {
      default: { text: 'the number of CPUs', of: () => availableParallelism() },
      shared: false,
    }),
    grace: key('grace', seconds(0, 3_600 * second), 'Between SIGTERM and SIGKILL for a job whose duration is used up.', {
      default: '5 s',
    }),
    keep_runs: key('keep_runs', seconds(3_600 * second, 3_650 * dayMs), 'How long the record of an ended run is kept at least.', {
      default: '1 day',
    }),
  },
  slurm: {
    url: key(
      'url',
      url('unix', 'http', 'https'),
      'Where slurmrestd listens. Left out: sbatch, squeue, scontrol and sacct are run.',
    ),
    token_file: key('token_file', path, 'File with a token (JWT) for slurmrestd, read again whenever it is needed.'),
    user: key(
      'user',
      matching(/^[^\s:]{1,256}$/, 'the name of a user'),
      'The name that goes with the token. Left out: who usher runs as.',
    ),
    hold: key('hold', flag, 'Submits jobs held and releases each when its receipt is on stable storage.', { default: false }),
    array_jobs: key(
      'array_jobs',
      count(1, 100_000),
      'Jobs that are alike and wait are submitted as one array, so many at most. 1: each job by itself.',
      { default: 1 },
    ),
    in_flight: inFlight(8),
    timeout: timeout('30 s'),
    settle: settle('30 s'),
    min_job_age: key('min_job_age', seconds(second, 30 * dayMs), "Slurm's MinJobAge, where it can't be asked.", {
      default: '5 min',
    }),
  },
  http: {
    url: required('url', url('http', 'https'), 'Where jobs are posted.'),
    batch: key('batch', count(1, 10_000), 'Jobs in a request: 1 is a JSON object, more are NDJSON.', { default: 1 }),
    in_flight: inFlight(8),
    timeout: timeout('30 s'),
    settle: settle('1 min'),
    token_file: key('token_file', path, 'File with a bearer token, read again whenever it is needed.'),
  },
  command: {
    submit: required('submit', program, "Gets a job's JSON on its standard input and prints the cluster's job id."),
    find: key('find', program, "Gets usher's job id as its last argument. Left out: jobs in doubt wait for an operator."),
    preflight: key(
      'preflight',
      program,
      'Exits with 0 if jobs can be submitted from here. Left out: `submit` must be executable.',
    ),
    timeout: timeout('1 min'),
    in_flight: inFlight(4),
    settle: settle('1 min'),
  },
  discard: {
    pause: key('pause', flag, 'Takes no job at all, as a cluster that is full.', { default: false }),
  },
} as const

export type DriverName = keyof typeof driverKeys
export const driverNames = Object.keys(driverKeys) as [DriverName, ...DriverName[]]
export const driverKey = key('driver', choice(...driverNames), 'What kind of cluster it is.')

/** With no cluster configured there is this one. */
export const embeddedCluster = { name: 'local', driver: 'local' } as const satisfies { name: string; driver: DriverName }

type Keys = Record<string, Key>
type TypeOf<K> = K extends { kind: Kind<infer T> } ? T : never
/** What a group of keys is in the program: those without a default may be undefined. */
export type ValuesOf<Group extends Keys> = {
  readonly [K in keyof Group as Group[K]['default'] extends undefined ? never : Group[K]['property']]: TypeOf<Group[K]>
} & {
  readonly [K in keyof Group as Group[K]['default'] extends undefined ? Group[K]['property'] : never]?: TypeOf<Group[K]>
}

export type ClusterConfig = { [D in DriverName]: { readonly driver: D } & ValuesOf<(typeof driverKeys)[D]> }[DriverName]

export type Config = Omit<ValuesOf<typeof topKeys>, 'defaultCluster'> & {
  readonly [S in keyof typeof sections]: ValuesOf<(typeof sections)[S]>
} & {
  readonly clusters: Readonly<Record<string, ClusterConfig>>
  /** Null: several clusters, and a job must name its own. */
  readonly defaultCluster: string | null
  /** 8 hexadecimal digits that differ where hosts of one store are configured differently. */
  readonly digest: string
}

export const isComputed = (value: unknown): value is Computed => typeof value === 'object' && value !== null && 'of' in value

/** Every key outside of clusters by its full name (`limits.frame_bytes`). */
export const plainKeys: ReadonlyMap<string, Key> = new Map<string, Key>([
  ...Object.entries<Key>(topKeys),
  ...Object.entries(sections).flatMap(([section, group]) =>
    Object.entries<Key>(group).map(([name, entry]): [string, Key] => [`${section}.${name}`, entry]),
  ),
])
