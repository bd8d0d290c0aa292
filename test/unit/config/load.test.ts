import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { parse } from 'smol-toml'
import { codes, UsherError } from '../../../src/base/errors.ts'
import { type Flags, showOrigin } from '../../../src/config/sources.ts'
import { type LoadedConfig, loadConfig } from '../../../src/config/load.ts'
import { renderConfig } from '../../../src/config/render.ts'
import type { ClusterConfig } from '../../../src/config/table.ts'
import type { DriverConfig } from '../../../src/submit/drivers/registry.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'usher-config-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

const write = (name: string, text: string): string => {
  const file = join(folder, name)
  writeFileSync(file, text)
  return file
}

const load = (given: { config?: string; system?: string; flags?: Flags; env?: Record<string, string> } = {}): LoadedConfig => {
  const config = given.config === undefined ? undefined : write('usher.toml', given.config)
  const systemFile = given.system === undefined ? join(folder, 'none.toml') : write('system.toml', given.system)
  return loadConfig({
    flags: { ...(config === undefined ? {} : { config }), ...given.flags },
    env: given.env ?? {},
    cwd: folder,
    systemFile,
  })
}

const failure = (given: Parameters<typeof load>[0]): UsherError => {
  try {
    load(given)
  } catch (error) {
    if (error instanceof UsherError) return error
    throw error
  }
  throw new Error('it was accepted')
}

const originOf = ({ origins }: LoadedConfig, key: string): string => {
  const origin = origins.get(key)
  return origin === undefined ? 'none' : showOrigin(origin).replace(`${folder}/`, '')
}

// Checked by tsc: what the table makes is what the drivers take.
const accepts: (cluster: ClusterConfig) => DriverConfig = (cluster) => cluster

describe('the configuration', () => {
  it('is complete without a single setting: the embedded cluster on loopback', () => {
    const { config, origins, files } = load()
    expect(config.store).toBe(join(folder, 'usher-store'))
    expect(config.listen).toEqual({ host: '127.0.0.1', port: 7433 })
    expect(config.insecure).toBe(false)
    expect(config.leaseMs).toBe(3_000)
    expect(config.acceptLeaseMs).toBe(3_000)
    expect(config.retentionMs).toBe(7 * 86_400_000)
    expect(config.limits).toMatchObject({
      frameBytesMax: 1_048_576,
      jobBytesMax: 131_072,
      connectionsMax: 10_000,
      idleTimeoutMs: 120_000,
    })
    expect(config.segments).toEqual({ bytesMax: 8_388_608, ageMs: 100, sealIntervalMs: 20, reserveBytes: 67_108_864, directIo: true })
    expect(config.submit).toEqual({ windowBytesMax: 16_777_216, retryMinMs: 200, retryMaxMs: 60_000 })
    expect(Object.keys(config.clusters)).toEqual(['local'])
    expect(config.clusters['local']).toMatchObject({ driver: 'local', grace: 5, keep_runs: 86_400 })
    expect(config.defaultCluster).toBe('local')
    expect(config.digest).toMatch(/^[0-9a-f]{8}$/)
    expect(new Set([...origins.values()].map(({ kind }) => kind))).toEqual(new Set(['default']))
    expect(files).toEqual([])
    expect(accepts(config.clusters['local']!).driver).toBe('local')
  })

  it('prefers a flag to a variable, that to the file named, that to the system file, key by key', () => {
    const system = 'store = "/a"\nlisten = "127.0.0.1:1"\nlease = 1\nretention = "1 h"\nhost = "sys"\n'
    const config = 'store = "/b"\nlisten = "127.0.0.1:2"\nlease = 2\n\nretention = "2 h"\n'
    const env = { USHER_STORE: '/c', USHER_LISTEN: '127.0.0.1:3', USHER_LEASE: '3' }
    const all = load({ system, config, env, flags: { store: '/d', listen: '127.0.0.1:4' } })
    expect(all.config).toMatchObject({ store: '/d', listen: { port: 4 }, leaseMs: 3_000, retentionMs: 7_200_000, host: 'sys' })
    const origins = ['store', 'listen', 'lease', 'retention', 'host', 'log.level'].map((key) => originOf(all, key))
    expect(origins).toEqual(['--store', '--listen', 'USHER_LEASE', 'usher.toml:5', 'system.toml:5', 'default'])
    expect(load({ system, config, env }).config).toMatchObject({ store: '/c', listen: { port: 3 } })
    expect(load({ system, config }).config).toMatchObject({ store: '/b', leaseMs: 2_000 })
    expect(load({ system }).config).toMatchObject({ store: '/a', leaseMs: 1_000 })
  })

  it.each([
    ['lease = 0.25', 250],
    ['lease = 3', 3_000],
    ['lease = "250 ms"', 250],
    ['lease = "2s"', 2_000],
    ['lease = "1.5 s"', 1_500],
    ['lease = "1 min"', 60_000],
  ])('reads %s as %i milliseconds', (config, ms) => {
    expect(load({ config }).config.leaseMs).toBe(ms)
  })

  it.each([
    ['8192', 8_192],
    ['"8 KiB"', 8_192],
    ['"1.5MiB"', 1_572_864],
  ])('reads a frame size of %s as %i bytes', (text, size) => {
    expect(load({ config: `[limits]\njob_bytes = 4000\nframe_bytes = ${text}` }).config.limits.frameBytesMax).toBe(size)
  })

  it.each([
    'lease = "soon"',
    'lease = -1',
    'lease = 0',
    'lease = true',
    'lease = "3 weeks"',
    'lease = "301 s"',
    'lease = "0.05 ms"',
    'lease = nan',
    'lease = [3]',
    'lease = 2026-11-23',
    'insecure = "yes"',
    'insecure = 1',
    'listen = "7433"',
    'listen = ":7433"',
    'listen = "127.0.0.1:65536"',
    'listen = "::1:7433"',
    'host = "a b"',
    'host = ""',
    'store = ""',
    'store = 3',
    'limits = 3',
    'limits.frame_bytes = "1 MB"',
    'limits.frame_bytes = 1.5',
    'limits.connections = 0',
    'limits.connections = 1.5',
    'log.level = "loud"',
    'cluster = 3',
    'cluster.main = 3',
    'cluster.main.driver = "pbs"',
    'cluster."Main".driver = "discard"',
  ])('refuses %s and says where, what was given and what is allowed', (config) => {
    const error = failure({ config: `# first line\n${config}\n` })
    expect(error.code).toBe('config_invalid')
    expect(codes[error.code].exit).toBe(78)
    expect(error.message).toMatch(
      /^\S*usher\.toml:2: [a-z_.A-Z]+ (is .*; allowed is .+|.*write \[.*|is no name .*allowed are.*)$/,
    )
  })

  it('names the variable or the flag that is wrong', () => {
    expect(failure({ env: { USHER_LEASE: 'soon' } }).message).toMatch(
      /^USHER_LEASE: lease is "soon"; allowed is 100 ms to 1 min: /,
    )
    expect(failure({ flags: { listen: 'nowhere' } }).message).toMatch(/^--listen: listen is "nowhere"; allowed is HOST:PORT/)
  })

  it.each([
    ['leese = 3', 'leese is not known; did you mean lease?'],
    ['frame_bytes = 3', 'frame_bytes is not known; did you mean limits.frame_bytes?'],
    ['[limit]\nframe_bytes = 3', 'limit is not known; did you mean limits?'],
    ['[limits]\nframe_byte = 5000', 'limits.frame_byte is not known; did you mean limits.frame_bytes?'],
    [
      '[cluster.main]\ndriver = "slurm"\ntokenfile = "x"',
      'cluster.main.tokenfile is not known to driver slurm; did you mean token_file?',
    ],
    ['[cluster.main]\ndriver = "discard"\nslots = 3', 'cluster.main.slots is not known to driver discard'],
    ['zzzzzzzzzzz = 3', 'zzzzzzzzzzz is not known'],
  ])('refuses the unknown key in %j', (config, says) => {
    const error = failure({ config })
    expect(error.code).toBe('config_invalid')
    expect(error.message.endsWith(`: ${says}`)).toBe(true)
  })

  it('refuses an unknown USHER_ variable, but not those that Kubernetes sets', () => {
    expect(failure({ env: { USHER_LEASSE: '3' } }).message).toBe(
      'USHER_LEASSE is no key of the configuration; did you mean USHER_LEASE?',
    )
    const env = {
      USHER_SERVICE_HOST: '10.0.0.1',
      USHER_SERVICE_PORT: '7433',
      USHER_PORT: 'tcp://10.0.0.1:7433',
      USHER_PORT_7433_TCP_ADDR: '10.0.0.1',
    }
    expect(load({ env }).config.listen.port).toBe(7433)
  })

  it('reports all mistakes at once', () => {
    const error = failure({ config: 'lease = 0\nlisten = "x"\nfoo = 1\n', env: { USHER_HOST: '' } })
    expect(error.message.split('\n')).toHaveLength(5)
    expect(error.details['problems']).toHaveLength(4)
  })

  it('says line and column of what is not TOML, and which file cannot be read', () => {
    const error = failure({ config: 'lease = 3\nstore = \n' })
    expect(error.message).toMatch(/usher\.toml:2:\d+: not valid TOML: /)
    expect(error.details).toMatchObject({ line: 2 })
    expect(failure({ flags: { config: 'missing.toml' } }).message).toBe(
      `${folder}/missing.toml can't be read: there is no such file`,
    )
    mkdirSync(join(folder, 'dir'))
    expect(failure({ flags: { config: 'dir' } }).message).toContain("can't be read: it is a directory")
  })

  it('reads nested keys and clusters from variables', () => {
    const env = {
      USHER_LIMITS_CONNECTIONS: '12',
      USHER_INSECURE: 'true',
      USHER_LISTEN: '0.0.0.0:0',
      USHER_LIMITS_FRAME_BYTES: '2 MiB',
      USHER_CLUSTER_MAIN_DRIVER: 'command',
      USHER_CLUSTER_MAIN_SUBMIT: '["./submit", "-x"]',
    }
    const { config } = load({ env })
    expect(config).toMatchObject({
      insecure: true,
      listen: { host: '0.0.0.0', port: 0 },
      limits: { connectionsMax: 12, frameBytesMax: 2_097_152 },
    })
    expect(config.clusters).toEqual({
      main: { driver: 'command', submit: [join(folder, 'submit'), '-x'], timeout: 60, in_flight: 4, settle: 60 },
    })
    expect(config.defaultCluster).toBe('main')
    expect(load({ env: { USHER_CLUSTER_LOCAL_SLOTS: '3' } }).config.clusters['local']).toMatchObject({
      driver: 'local',
      slots: 3,
    })
    expect(load({ config: '[cluster.a-b]\ndriver = "discard"', env: { USHER_CLUSTER_A_B_PAUSE: '1' } }).config.clusters).toEqual({
      'a-b': { driver: 'discard', pause: true },
    })
  })

  it('takes relative paths from the folder of the file that names them', () => {
    const { config } = load({
      config: 'store = "shared"\n[cluster.main]\ndriver = "slurm"\ntoken_file = "secrets/token"\n',
      flags: {},
    })
    expect(config.store).toBe(join(folder, 'shared'))
    expect(config.clusters['main']).toMatchObject({ token_file: join(folder, 'secrets/token') })
  })

  it('checks each driver with its own keys', () => {
    const config = `
[cluster.batch]
driver = "slurm"
url = "unix:/run/slurmrestd.sock"
hold = true
[cluster.web]
driver = "http"
url = "https://example.org/jobs"
batch = 100
timeout = "5 s"
[cluster.own]
driver = "command"
submit = ["qsub"]
`
    const loaded = load({ config })
    expect(loaded.config.clusters).toMatchObject({
      batch: {
        driver: 'slurm',
        url: 'unix:/run/slurmrestd.sock',
        hold: true,
        in_flight: 8,
        timeout: 30,
        settle: 30,
        min_job_age: 300,
      },
      web: { driver: 'http', url: 'https://example.org/jobs', batch: 100, timeout: 5 },
      own: { driver: 'command', submit: ['qsub'] },
    })
    expect(loaded.config.defaultCluster).toBeNull()
    expect(originOf(loaded, 'cluster.web.timeout')).toBe('usher.toml:10')
    expect(originOf(loaded, 'cluster.web.settle')).toBe('default')
    expect(load({ config: `default_cluster = "web"\n${config}` }).config.defaultCluster).toBe('web')
    expect(failure({ config: `default_cluster = "wob"\n${config}` }).message).toContain('configured are: batch, web, own')
  })

  it.each([
    ['driver = "http"', 'cluster.c.url is required; allowed is http://HOST… or https://HOST…, without a password'],
    ['driver = "http"\nurl = "http://me:secret@host/"', 'without a password'],
    ['driver = "http"\nurl = "unix:/x"', 'allowed is http'],
    ['driver = "slurm"\nurl = "unix:relative"', 'allowed is unix:/path'],
    ['driver = "command"\nsubmit = []', 'allowed is a list of texts'],
    ['driver = "command"\nsubmit = "qsub"', 'allowed is a list of texts'],
    ['url = "http://x"', 'cluster.c.driver is missing; allowed is one of "local", "slurm", "http", "command", "discard"'],
  ])('refuses a cluster with %j', (keys, says) => {
    expect(failure({ config: `[cluster.c]\n${keys}\n` }).message).toContain(says)
  })

  it('does not mix the clusters of two files', () => {
    const system = '[cluster.production]\ndriver = "slurm"\n'
    expect(Object.keys(load({ system, config: '[cluster.trial]\ndriver = "discard"\n' }).config.clusters)).toEqual(['trial'])
    expect(Object.keys(load({ system, config: 'lease = 2\n' }).config.clusters)).toEqual(['production'])
  })

  it('refuses a listener beyond loopback unless that is allowed, and says what to do', () => {
    for (const address of ['0.0.0.0:7433', '10.1.2.3:7433', '[::]:7433', 'node7:7433']) {
      expect(failure({ flags: { listen: address } }).message).toMatch(
        /^--listen: listen is .* set insecure = true where the network is trusted$/,
      )
      expect(load({ flags: { listen: address }, env: { USHER_INSECURE: '1' } }).config.insecure).toBe(true)
    }
    for (const address of ['127.0.0.1:0', '127.3.2.1:1', '[::1]:7433', 'localhost:7433'])
      expect(load({ flags: { listen: address } }).config.listen.port).toBeLessThan(7_434)
  })

  it.each([
    ['limits.credit_bytes', '[limits]\ncredit_bytes = "1 MiB"'],
    ['limits.partial_bytes', '[limits]\nframe_bytes = "2 MiB"\npartial_bytes = "1 MiB"'],
    ['limits.job_bytes', '[limits]\njob_bytes = "1 MiB"'],
    ['submit.retry_min', '[submit]\nretry_min = 90'],
  ])('refuses %s where it contradicts another key', (key, config) => {
    expect(failure({ config }).message).toContain(`: ${key} is `)
  })

  it('has a digest that differs where hosts would do different things, and only there', () => {
    const digest = (given: Parameters<typeof load>[0]): string => load(given).config.digest
    const base = digest({})
    for (const env of [
      { USHER_STORE: '/x' },
      { USHER_HOST: 'y' },
      { USHER_LOG_LEVEL: 'debug' },
      { USHER_LISTEN: '[::1]:1' },
      { USHER_CLUSTER_LOCAL_SLOTS: '77' },
    ]) {
      expect(digest({ env })).toBe(base)
    }
    expect(digest({ config: 'lease = "3000 ms"\n[submit]\nretry_max = 60\n' })).toBe(base)
    const others = [
      'lease = 4',
      '[limits]\nconnections = 5',
      '[cluster.local]\ndriver = "discard"',
      '[cluster.other]\ndriver = "local"',
    ].map((config) => digest({ config }))
    expect(new Set([base, ...others]).size).toBe(5)
    expect(digest({ config: '[cluster.a]\ndriver="local"\n[cluster.b]\ndriver="discard"' })).toBe(
      digest({ config: '[cluster.b]\ndriver="discard"\n[cluster.a]\ndriver="local"' }),
    )
  })

  it('shows itself as a file that configures the same', () => {
    const config =
      '[limits]\nidle_timeout = "90 s"\n[cluster.own]\ndriver = "command"\nsubmit = ["sub mit", "\\"\\u007f"]\n[cluster.web]\ndriver = "http"\nurl = "http://h/"\n'
    const first = load({ config, flags: { store: '/s' }, env: { USHER_LEASE: '0.7' } })
    const text = renderConfig(first)
    expect(text).toMatch(/^lease = "700 ms" +# USHER_LEASE$/m)
    expect(text).toMatch(/^store = "\/s" +# --store$/m)
    expect(() => parse(text)).not.toThrow()
    expect(load({ config: text }).config).toEqual(first.config)
  })
})
