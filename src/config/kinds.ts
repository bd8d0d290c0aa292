// The kinds of values that a key of the configuration can have: how each is read from TOML and from text, what is
// allowed, and how it is written back. Knows nothing of which keys there are.
import { resolve } from 'node:path'
import { z } from 'zod'

/** What a value looks like in a TOML file. */
export type TomlValue = string | number | boolean | readonly string[]

export interface Kind<T> {
  /** From the TOML value to what the program uses. Its messages are not shown: `allowed` says it better. */
  readonly schema: z.ZodType<T>
  /** Ends the sentence "allowed is …". */
  readonly allowed: string
  /** The same for tables, where it can be said once for all keys of the kind. */
  readonly brief?: string
  /** Environment variables and flags are text: the TOML value that such a text stands for. */
  fromText(text: string): unknown
  /** The TOML value that reads as this value again. */
  show(value: T): TomlValue
  /** Paths: taken from the folder of the file that names them. */
  resolve?(value: T, folder: string): T
}

const asIs = (text: string): unknown => text
const numberOr = (text: string): unknown => (/^[+-]?\d+(\.\d+)?$/.test(text.trim()) ? Number(text) : text)

const numberOrText = z.union([z.number(), z.string()])

/** A number, or text of a number and a unit, as a whole number of the smallest unit; undefined where it is neither. */
const scaled = (given: number | string, units: ReadonlyMap<string, number>, bareFactor: number): number | undefined => {
  const match = typeof given === 'number' ? null : /^\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*$/.exec(given)
  if (typeof given === 'string' && match === null) return undefined
  const factor = match?.[2] ? units.get(match[2]) : bareFactor
  if (factor === undefined) return undefined
  // Rounding takes away what binary fractions add (0.02 s is 20 ms); what is left over beyond that was really given.
  const value = Number(match?.[1] ?? given) * factor
  const whole = Math.round(value)
  return Math.abs(value - whole) < 1e-6 ? whole : undefined
}

const scaledSchema = (units: ReadonlyMap<string, number>, bareFactor: number, min: number, max: number): z.ZodType<number> =>
  numberOrText.transform((given, context) => {
    const value = scaled(given, units, bareFactor)
    if (value !== undefined && value >= min && value <= max) return value
    context.addIssue({ code: 'custom', message: 'out of range or not a number with a unit' })
    return z.NEVER
  })

const msOf = new Map([
  ['ms', 1],
  ['s', 1_000],
  ['min', 60_000],
  ['h', 3_600_000],
  ['d', 86_400_000],
  ['day', 86_400_000],
  ['days', 86_400_000],
])

const largestUnit = (value: number, units: readonly (readonly [string, number])[], smallest: string): string => {
  for (const [name, size] of units) if (value !== 0 && value % size === 0) return `${value / size} ${name}`
  return `${value} ${smallest}`
}

export const showMs = (ms: number): string =>
  ms === 86_400_000
    ? '1 day'
    : largestUnit(
        ms,
        [
          ['days', 86_400_000],
          ['h', 3_600_000],
          ['min', 60_000],
          ['s', 1_000],
        ],
        'ms',
      )

const bytesOf = new Map([
  ['B', 1],
  ['KiB', 2 ** 10],
  ['MiB', 2 ** 20],
  ['GiB', 2 ** 30],
  ['TiB', 2 ** 40],
])

export const showBytes = (bytes: number): string =>
  largestUnit(
    bytes,
    [
      ['TiB', 2 ** 40],
      ['GiB', 2 ** 30],
      ['MiB', 2 ** 20],
      ['KiB', 2 ** 10],
    ],
    'B',
  )

/** In milliseconds. A bare number counts seconds. */
export const duration = (minMs: number, maxMs: number): Kind<number> => ({
  schema: scaledSchema(msOf, 1_000, minMs, maxMs),
  allowed: `${showMs(minMs)} to ${showMs(maxMs)}: a number of seconds, or with its unit (ms, s, min, h, days)`,
  brief: `${showMs(minMs)} to ${showMs(maxMs)}`,
  fromText: numberOr,
  show: showMs,
})

/** In seconds, as drivers take them; otherwise as duration. */
export const seconds = (minMs: number, maxMs: number): Kind<number> => ({
  ...duration(minMs, maxMs),
  schema: scaledSchema(msOf, 1_000, minMs, maxMs).transform((ms) => ms / 1_000),
  show: (value) => showMs(Math.round(value * 1_000)),
})

/** In bytes. */
export const bytes = (min: number, max: number): Kind<number> => ({
  schema: scaledSchema(bytesOf, 1, min, max),
  allowed: `${showBytes(min)} to ${showBytes(max)}: a number of bytes, or with its unit (KiB, MiB, GiB, TiB)`,
  brief: `${showBytes(min)} to ${showBytes(max)}`,
  fromText: numberOr,
  show: showBytes,
})

export const count = (min: number, max: number): Kind<number> => ({
  schema: z.number().int().min(min).max(max),
  allowed: `a whole number from ${min} to ${max}`,
  brief: `${min} to ${max}`,
  fromText: numberOr,
  show: (value) => value,
})

export const flag: Kind<boolean> = {
  schema: z.boolean(),
  allowed: 'true or false',
  fromText: (text) => (text === 'true' || text === '1' ? true : text === 'false' || text === '0' ? false : text),
  show: (value) => value,
}

export const choice = <const Values extends readonly [string, ...string[]]>(...values: Values): Kind<Values[number]> => ({
  schema: z.enum(values) as z.ZodType<Values[number]>,
  allowed: `one of ${values.map((value) => `"${value}"`).join(', ')}`,
  fromText: asIs,
  show: (value) => value,
})

export const matching = (pattern: RegExp, allowed: string): Kind<string> => ({
  schema: z.string().regex(pattern),
  allowed,
  fromText: asIs,
  show: (value) => value,
})

/** A path of the file system, made absolute. */
export const path: Kind<string> = {
  schema: z
    .string()
    .min(1)
    .regex(/^[^\0]*$/),
  allowed: 'a path; a relative one starts at the folder of the file that holds it, or else at the working directory',
  brief: 'a path',
  fromText: asIs,
  show: (value) => value,
  resolve: (value, folder) => resolve(folder, value),
}

/** A program with its arguments, never given to a shell. */
export const program: Kind<readonly string[]> = {
  schema: z
    .array(z.string().regex(/^[^\0]*$/))
    .min(1)
    .refine((parts) => parts[0] !== ''),
  allowed: 'a list of texts: the program (a path, or a name to be found in PATH) and its arguments',
  brief: 'a program and its arguments, as a list',
  fromText: (text) => {
    try {
      return JSON.parse(text) as unknown
    } catch {
      // Not a list: the schema refuses the text itself, and so it is shown as it was given.
      return text
    }
  },
  show: (value) => value,
  resolve: ([name = '', ...rest], folder) => [name.includes('/') ? resolve(folder, name) : name, ...rest],
}

export interface ListenAddress {
  readonly host: string
  /** 0: any free one. */
  readonly port: number
}

const listenPattern = /^(?:\[([0-9A-Fa-f:.%a-z]+)\]|([^[\]:\s]+)):(\d{1,5})$/

/** HOST:PORT, an IPv6 address in brackets. */
export const listenAddress: Kind<ListenAddress> = {
  schema: z.string().transform((text, context): ListenAddress => {
    const match = listenPattern.exec(text)
    const port = Number(match?.[3])
    const host = match?.[1] ?? match?.[2]
    if (host !== undefined && port <= 65_535) return { host, port }
    context.addIssue({ code: 'custom', message: 'not HOST:PORT' })
    return z.NEVER
  }),
  allowed: 'HOST:PORT, such as "127.0.0.1:7433" or "[::1]:7433"',
  fromText: asIs,
  show: ({ host, port }) => (host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`),
}

/** Whether only this machine can connect to a listener on that address. */
export const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || /^(::ffff:)?127(\.\d{1,3}){3}$/i.test(host)

const exampleOf = (protocol: string): string => (protocol === 'unix' ? 'unix:/path/of/a/socket' : `${protocol}://HOST…`)

/** Without a name or password in it: those belong into files, where nothing that shows a configuration shows them. */
export const url = (...protocols: readonly string[]): Kind<string> => ({
  schema: z.string().refine((text) => {
    if (!URL.canParse(text)) return false
    const { protocol, username, password } = new URL(text)
    if (username !== '' || password !== '' || !protocols.includes(protocol.slice(0, -1))) return false
    return protocol !== 'unix:' || /^unix:\/[^\0]/.test(text)
  }),
  allowed: `${protocols.map(exampleOf).join(' or ')}, without a password`,
  fromText: asIs,
  show: (value) => value,
})
