// Segments for tests of the transform: random jobs, written as XML in all the freedom that XML leaves, and what an
// independent parser (saxes) makes of them. Nothing here knows how the addon works.
import * as fc from 'fast-check'
import { SaxesParser, type SaxesTagNS } from 'saxes'

export const namespace = 'urn:usher:segment:1'

/** An element: attributes in no namespace, and either text or children. */
export interface Node {
  readonly name: string
  readonly attributes: readonly (readonly [string, string])[]
  readonly content: string | readonly Node[]
}

/** Numbers from 0 to below n; the same stream for the same seed (SplitMix32). */
export type Choose = (n: number) => number
export const chooser = (seed: number): Choose => {
  let state = seed | 0
  return n => {
    state = (state + 0x9e3779b9) | 0
    let z = state ^ (state >>> 16)
    z = Math.imul(z, 0x21f0aaad)
    z ^= z >>> 15
    z = Math.imul(z, 0x735a2d97)
    return ((z ^ (z >>> 15)) >>> 0) % n
  }
}

// A code point that XML 1.0 can carry, with those that need escaping far more often than chance would have them.
const character = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(...'abcXYZ019 /._-'.split('')) },
  { weight: 3, arbitrary: fc.constantFrom('&', '<', '>', '"', "'", '\\', ']', '\t', '\n', '\r', '=', '\u007f', '\u0085', '\u2028', '\ufeff', '\ufffd') },
  { weight: 2, arbitrary: fc.integer({ min: 0x20, max: 0xd7ff }).map(code => String.fromCodePoint(code)) },
  { weight: 1, arbitrary: fc.integer({ min: 0xe000, max: 0xfffd }).map(code => String.fromCodePoint(code)) },
  { weight: 1, arbitrary: fc.integer({ min: 0x10000, max: 0x10ffff }).map(code => String.fromCodePoint(code)) },
)
const textOrEmpty = fc.array(character, { maxLength: 40 }).map(all => all.join(''))
const text = textOrEmpty.filter(value => value !== '')
const variableName = text.map(value => value.replaceAll('=', '_'))
const count = fc.oneof(fc.integer({ min: 1, max: 2 ** 31 - 1 }), fc.constantFrom(1, 2 ** 31 - 1)).map(String)
const time = fc.date({ min: new Date('1970-01-01'), max: new Date('2999-12-31'), noInvalidDate: true }).map(date => date.toISOString())
const identity = fc.tuple(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }))
const id = identity.map(([producer, sequence]) => `${producer.toString(16).padStart(16, '0')}-${sequence}`)
const hex = (length: number): fc.Arbitrary<string> =>
  fc.array(fc.constantFrom(...'0123456789abcdef'.split('')), { minLength: length - 1, maxLength: length - 1 }).map(all => `1${all.join('')}`)
const traceparent = fc.tuple(hex(32), hex(16)).map(([trace, parent]) => `00-${trace}-${parent}-01`)

const element = (name: string, content: string | readonly Node[], attributes: Node['attributes'] = []): Node => ({ name, attributes, content })
const simple = (name: string, value: fc.Arbitrary<string>): fc.Arbitrary<Node> => value.map(content => element(name, content))
const boolean = fc.constantFrom('true', 'false')
const pairs = (name: string, item: string, key: fc.Arbitrary<string>): fc.Arbitrary<Node> =>
  fc.uniqueArray(fc.tuple(key, textOrEmpty), { selector: ([first]) => first, maxLength: 5 })
    .map(all => element(name, all.map(([first, value]) => element(item, value, [['name', first]]))))
/** Each of them or not, in this order. */
const optional = (...parts: fc.Arbitrary<Node>[]): fc.Arbitrary<Node[]> =>
  fc.tuple(...parts.map(part => fc.option(part, { nil: undefined, freq: 2 }))).map(all => all.filter(node => node !== undefined))

const resources = optional(
  simple('node_count', count),
  simple('process_count', count),
  simple('processes_per_node', count),
  simple('cpu_cores_per_process', count),
  simple('gpu_cores_per_process', fc.oneof(count, fc.constant('0'))),
  simple('exclusive_node_use', boolean),
  simple('memory', fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }).map(String)),
).map(nodes => element('resources', nodes))

const jobAttributes = optional(
  simple('duration', count),
  simple('queue_name', text),
  simple('account', text),
  simple('reservation_id', text),
  pairs('custom_attributes', 'attribute', text),
).map(nodes => element('attributes', nodes))

const job = fc.tuple(
  fc.tuple(id, time, text, fc.option(traceparent, { nil: undefined })),
  optional(simple('name', text)),
  simple('executable', text),
  optional(
    fc.array(simple('argument', textOrEmpty), { maxLength: 5 }).map(nodes => element('arguments', nodes)),
    simple('directory', text),
    simple('inherit_environment', boolean),
    pairs('environment', 'variable', variableName),
    simple('stdin_path', text),
    simple('stdout_path', text),
    simple('stderr_path', text),
    resources,
    jobAttributes,
    simple('pre_launch', text),
    simple('post_launch', text),
    simple('launcher', text),
  ),
).map(([[jobId, at, cluster, trace], name, executable, rest]) =>
  element('job', [...name, executable, ...rest], [
    ['id', jobId],
    ['at', at],
    ['cluster', cluster],
    ...(trace === undefined ? [] : [['traceparent', trace] as const]),
  ]))

export const segment: fc.Arbitrary<Node> = fc.tuple(
  fc.tuple(text, text, fc.stringMatching(/^[A-Za-z0-9._-]{1,20}$/), count, text, text, fc.integer({ min: 1, max: 9_999_999_999 }).map(String), time),
  fc.array(job, { maxLength: 6 }),
).map(([[store, host, instance, pid, version, config, number, opened], jobs]) =>
  element('segment', jobs, [
    ['store', store], ['host', host], ['instance', instance], ['pid', pid],
    ['version', version], ['config', config], ['number', number], ['opened', opened],
  ]))

const escapeText = (value: string): string =>
  value.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('\r', '&#13;')
const escapeAttribute = (value: string): string =>
  escapeText(value).replaceAll('"', '&quot;').replaceAll('\t', '&#9;').replaceAll('\n', '&#10;')

/** As usher's own writer has it (without marks): one job a line, nothing to choose. */
export const plainly = (root: Node): string => {
  const write = (node: Node): string => {
    const attributes = node.attributes.map(([name, value]) => ` ${name}="${escapeAttribute(value)}"`).join('')
    const content = typeof node.content === 'string' ? escapeText(node.content) : node.content.map(write).join('')
    return `<${node.name}${attributes}>${content}</${node.name}>`
  }
  const attributes = root.attributes.map(([name, value]) => ` ${name}="${escapeAttribute(value)}"`).join('')
  const jobs = (root.content as readonly Node[]).map(node => `${write(node)}\n`).join('')
  return `<?xml version="1.0" encoding="UTF-8"?>\n<segment xmlns="${namespace}"${attributes}>\n${jobs}</segment>\n`
}

/** In one of the ways that other tools might write it. */
export const freely = (root: Node, choose: Choose): string => {
  const pick = <T>(...all: T[]): T => all[choose(all.length)] as T
  const prefix = pick('', '', 'u:', 'ä-1:')
  const space = (): string => Array.from({ length: 1 + choose(3) }, () => pick(' ', '\n', '\t', '\r\n', '\r')).join('')
  const maybeSpace = (): string => (choose(3) === 0 ? space() : '')
  const aside = (): string =>
    pick('', '', '', '', '<!---->', '<!-- a - b <job> &amp; &x; ]]> -->', '<?p?>', '<?p-i x="?" <b> &c; ?>', '<!-- \u{1f600}\r\n -->')
  const between = (): string => maybeSpace() + aside() + maybeSpace()

  const reference = (code: number): string =>
    pick(`&#${code};`, `&#x${code.toString(16)};`, `&#x00${code.toString(16).toUpperCase()};`, `&#000${code};`)
  const entities: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&apos;' }
  const escaped = (letter: string): string => {
    const entity = entities[letter]
    return entity !== undefined && choose(2) === 0 ? entity : reference(letter.codePointAt(0) as number)
  }
  const writeText = (value: string): string => {
    let out = ''
    const letters = Array.from(value)
    for (let i = 0; i < letters.length; i++) {
      const letter = letters[i] as string
      if (choose(12) === 0) out += aside()
      if (choose(15) === 0) {
        // A CDATA section over what follows, unless it holds what would end it or what it can't say.
        const run = letters.slice(i, i + 1 + choose(6)).join('')
        if (!run.includes(']]>') && !run.includes('\r') && !run.endsWith(']')) {
          out += `<![CDATA[${run}]]>`
          i += Array.from(run).length - 1
          continue
        }
      }
      if (letter === '&' || letter === '<' || letter === '\r' || choose(10) === 0) out += escaped(letter)
      else if (letter === '>') out += out.endsWith(']') || choose(2) === 0 ? escaped(letter) : letter
      // A line feed may be written as any line end.
      else if (letter === '\n') out += pick('\n', '\n', '\r\n')
      else out += letter
    }
    return out + aside()
  }
  const writeAttribute = (value: string): string => {
    const quote = pick('"', "'")
    let out = ''
    for (const letter of value) {
      const must = letter === '&' || letter === '<' || letter === quote || letter === '\t' || letter === '\n' || letter === '\r'
      if (must || choose(10) === 0) out += escaped(letter)
      else if (letter === ' ') out += pick(' ', '\n', '\t', '\r\n')
      else out += letter
    }
    return quote + out + quote
  }
  // White space around numbers, booleans and times means nothing to XML Schema.
  const collapsing = new Set(['node_count', 'process_count', 'processes_per_node', 'cpu_cores_per_process', 'gpu_cores_per_process',
    'exclusive_node_use', 'memory', 'duration', 'inherit_environment', 'pid', 'number', 'at', 'opened'])
  const padded = (name: string, value: string): string => (collapsing.has(name) && choose(4) === 0 ? ` \n${value}\t ` : value)
  const write = (node: Node, extra: readonly string[] = []): string => {
    const attributes = [...node.attributes.map(([name, value]) =>
      `${name}${maybeSpace()}=${maybeSpace()}${writeAttribute(padded(name, value))}`), ...extra]
    // Any order will do.
    for (let i = attributes.length - 1; i > 0; i--) {
      const j = choose(i + 1);
      [attributes[i], attributes[j]] = [attributes[j] as string, attributes[i] as string]
    }
    const tag = prefix + node.name
    const start = `<${tag}${attributes.map(attribute => space() + attribute).join('')}${maybeSpace()}`
    if (node.content.length === 0 && choose(2) === 0) return `${start}/>`
    const content = typeof node.content === 'string'
      ? writeText(padded(node.name, node.content))
      : between() + node.content.map(child => write(child) + between()).join('')
    return `${start}>${content}</${tag}${maybeSpace()}>`
  }
  const declaration = pick('', '<?xml version="1.0"?>', `<?xml${space()}version = '1.0'${space()}encoding="utf-8" standalone='yes' ?>`,
    '<?xml version="1.0" encoding="UTF-8"?>')
  const declared = prefix === '' ? `xmlns="${namespace}"` : `xmlns:${prefix.slice(0, -1)}='${namespace}'`
  const hints = choose(3) === 0
    ? ['xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"', `xsi:schemaLocation="${namespace} segment.xsd"`] : []
  return pick('', '\ufeff') + declaration + between() + write(root, [declared, ...hints]) + between()
}

const integers = new Set(['node_count', 'process_count', 'processes_per_node', 'cpu_cores_per_process', 'gpu_cores_per_process', 'memory'])

interface Open { readonly tag: SaxesTagNS; text: string; readonly children: Parsed[] }
interface Parsed { readonly local: string; readonly attributes: Record<string, string>; readonly text: string; readonly children: readonly Parsed[] }

/** Throws where saxes finds the document malformed. */
export const parsedBySaxes = (xml: string): Parsed => {
  const parser = new SaxesParser({ xmlns: true })
  const open: Open[] = []
  let root: Parsed | undefined
  parser.on('error', error => { throw error })
  parser.on('doctype', () => { throw new Error('a document type') })
  parser.on('opentag', tag => open.push({ tag, text: '', children: [] }))
  const addText = (more: string): void => {
    const last = open.at(-1)
    if (last !== undefined) last.text += more
  }
  parser.on('text', addText)
  parser.on('cdata', addText)
  parser.on('closetag', () => {
    const { tag, text: own, children } = open.pop() as Open
    const attributes = Object.fromEntries(Object.values(tag.attributes).filter(a => a.uri === '').map(a => [a.local, a.value]))
    const parsed = { local: tag.local, attributes, text: own, children }
    const parent = open.at(-1)
    if (parent === undefined) root = parsed
    else parent.children.push(parsed)
  })
  // A byte order mark belongs to the encoding, not to the text.
  parser.write(xml.startsWith('\ufeff') ? xml.slice(1) : xml).close()
  if (root === undefined) throw new Error('no root element')
  return root
}

type Json = string | number | boolean | readonly Json[] | { readonly [key: string]: Json }

const specOf = (parent: Parsed): Record<string, Json> => {
  const spec: Record<string, Json> = {}
  for (const child of parent.children) {
    const { local } = child
    if (local === 'arguments') {
      if (child.children.length > 0) spec[local] = child.children.map(argument => argument.text)
    } else if (local === 'environment' || local === 'custom_attributes') {
      const entries = child.children.map(item => [item.attributes['name'] as string, item.text] as const)
      // In the order of their UTF-8 bytes, which is not that of UTF-16.
      entries.sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
      if (entries.length > 0) spec[local] = new Map(entries) as unknown as Json
    } else if (local === 'resources' || local === 'attributes') {
      const inside = specOf(child)
      if (Object.keys(inside).length > 0) spec[local] = local === 'resources' ? { __version: 1, ...inside } : inside
    } else if (integers.has(local)) {
      spec[local] = Number(child.text.trim())
    } else if (local === 'duration') {
      spec[local] = `${child.text.trim()} s`
    } else if (local === 'inherit_environment' || local === 'exclusive_node_use') {
      const value = child.text.trim() === 'true'
      if (value !== (local === 'inherit_environment')) spec[local] = value
    } else {
      spec[local] = child.text
    }
  }
  return spec
}

// JSON.stringify, but maps keep their order even where keys look like numbers, and __proto__ is a key like any other.
const stringify = (value: Json | Map<string, string>): string => {
  if (value instanceof Map) {
    return `{${[...value].map(([key, inner]) => `${JSON.stringify(key)}:${JSON.stringify(inner)}`).join(',')}}`
  }
  if (Array.isArray(value)) return `[${value.map(stringify).join(',')}]`
  if (typeof value === 'object') {
    return `{${Object.entries(value).map(([key, inner]) => `${JSON.stringify(key)}:${stringify(inner as Json)}`).join(',')}}`
  }
  return JSON.stringify(value)
}

/** The lines that docs/store.md asks for, by way of saxes. `hash` is XXH64. */
export const linesBySaxes = (xml: string, hash: (bytes: Uint8Array) => bigint): string => {
  const root = parsedBySaxes(xml)
  const { store, host, instance, pid, version, config, number } = root.attributes as Record<string, string>
  const lines = root.children.map((child, index) => {
    const { id: jobId, at, cluster, traceparent: trace } = child.attributes
    const hashed = `"cluster":${JSON.stringify(cluster)},"spec":${stringify(specOf(child))}`
    const digest = hash(Buffer.from(hashed)).toString(16).padStart(16, '0')
    const provenance = { store, host, instance, pid: Number(pid), version, config, segment: Number(number), index }
    const traced = trace === undefined ? '' : `"traceparent":"${trace}",`
    return `{"id":"${jobId}","digest":"${digest}","accepted":"${(at as string).trim()}",${traced}${hashed},"provenance":${JSON.stringify(provenance)}}\n`
  })
  return lines.join('')
}
