// The lab for these tests: hosts of their own kernel on one real NFS export (test/lab/nfs-lab), usher on each, and a
// cluster on the outer side of their network that counts. Everything started here is ended with the lab.
import { execFile, spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { closeSync, openSync, readFileSync, readSync } from 'node:fs'
import { cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { StoreStatus } from '../../src/submit/survey.ts'
import type { Trace } from '../../src/submit/trace.ts'
import { root, until } from '../support/usher-process.ts'

const program = join(root, 'test/lab/nfs-lab')
/** The command, as package.json names it. */
export const cli = join(root, (JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { bin: { usher: string } }).bin.usher)
/** Command lines of usher's processes on a host, for pkill and pgrep. The loops that start them again have others. */
export const programs = {
  server: '^[^ ]*node [^ ]*dist/cli/[^ /]* serve',
  submitter: '^[^ ]*node [^ ]*dist/submit/submitter.js',
  producer: '^[^ ]*node [^ ]*test/nfs/producer.mjs',
} as const
const clusterAddress = '10.9.0.254:7500'
const usherPort = 7433
const run = promisify(execFile)

export const mountOptions = process.env['LAB_MOUNT'] ?? 'vers=4.2,hard'
/** What results are called by: 4.2, 3. */
export const nfsVersion = /vers=([0-9.]+)/.exec(mountOptions)?.[1] ?? 'default'
export const store = '/mnt/share/usher'

export const addressOf = (host: number): string => `10.9.0.${host + 1}:${usherPort}`

export interface Ran {
  readonly status: number
  readonly stdout: string
  readonly stderr: string
}

/** One submission, as the cluster took it. */
export interface Submission {
  readonly id: string
  readonly term: number
  readonly host: string
  readonly instance: string
  /** Milliseconds of this machine's wall clock. */
  readonly at: number
}

/** Reads a file that grows, line by line, from where it was read before. */
class Growing {
  readonly #path: string
  #offset = 0
  #rest = ''

  constructor(path: string) {
    this.#path = path
  }

  read(): string[] {
    const chunk = Buffer.alloc(1 << 20)
    let text = this.#rest
    const file = openSync(this.#path, 'a+')
    try {
      for (let got = readSync(file, chunk, 0, chunk.length, this.#offset); got > 0; got = readSync(file, chunk, 0, chunk.length, this.#offset)) {
        text += chunk.toString('latin1', 0, got)
        this.#offset += got
      }
    } finally {
      closeSync(file)
    }
    const lines = text.split('\n')
    this.#rest = lines.pop() ?? ''
    return lines
  }
}

export class Lab {
  readonly folder: string
  readonly hosts: number
  #cluster: ChildProcess | null = null
  readonly #taken: Growing
  readonly #submissions: Submission[] = []

  private constructor(folder: string, hosts: number) {
    this.folder = folder
    this.hosts = hosts
    this.#taken = new Growing(join(folder, 'taken.jsonl'))
  }

  static async up(hosts: number): Promise<Lab> {
    // Not below /tmp's default names: two runs of these tests must not take down each other's lab.
    const folder = await mkdtemp('/tmp/usher-nfs-')
    const lab = new Lab(folder, hosts)
    try {
      await lab.do('up', String(hosts))
    } catch (error) {
      await lab.down()
      throw error
    }
    return lab
  }

  /** A command of the lab, which must succeed. */
  async do(...args: string[]): Promise<void> {
    const { status, stderr } = await this.#run(args)
    if (status !== 0) throw new Error(`nfs-lab ${args.join(' ')} ended with ${status}: ${stderr}`)
  }

  /** Never rejects on the command's status. */
  exec(host: number, command: string, withinSeconds = 60): Promise<Ran> {
    return this.#run(['exec', String(host), command], { LAB_EXEC_S: String(withinSeconds) })
  }

  async spawn(host: number, name: string, command: string): Promise<void> {
    await this.do('spawn', String(host), name, command)
  }

  /** The cluster that all hosts submit to. `seed` decides when its answers dawdle. */
  async startCluster(seed: number): Promise<void> {
    const args = [program, 'outside', process.execPath, join(root, 'test/nfs/cluster.mjs'), clusterAddress, join(this.folder, 'taken.jsonl'), String(seed)]
    const cluster = spawn('bash', args, { env: this.#env(), stdio: ['ignore', 'pipe', 'inherit'] })
    this.#cluster = cluster
    await new Promise<void>((resolve, reject) => {
      cluster.stdout!.once('data', () => resolve())
      cluster.once('exit', (status) => reject(new Error(`the cluster ended with ${status}`)))
    })
  }

  /** All submissions so far, in the order of their arrival. */
  submissions(): readonly Submission[] {
    for (const line of this.#taken.read()) this.#submissions.push(JSON.parse(line) as Submission)
    return this.#submissions
  }

  async configure(host: number, more = ''): Promise<string> {
    const path = join(this.folder, String(host), 'usher.toml')
    const url = `http://${clusterAddress}/jobs`
    const text = `store = "${store}"\nlisten = "${addressOf(host)}"\ninsecure = true\n${more}[log]\nlevel = "info"\nformat = "json"\n[cluster.sink]\ndriver = "http"\nurl = "${url}"\nbatch = 4\nsettle = 3\ntimeout = 3\n`
    await writeFile(path, text)
    return path
  }

  /** `usher serve` on a host, started again when it dies, as a service manager does. */
  async serve(host: number, more = ''): Promise<void> {
    const path = await this.configure(host, more)
    await this.spawn(host, 'usher', `cd /; until node ${cli} serve --config ${path}; do sleep 1; done`)
  }

  /** How far the host's wall clock is ahead of this machine's, and how far off that may be. */
  async clock(host: number): Promise<{ ms: number; within: number }> {
    const { status, stdout } = await this.exec(host, `node ${join(root, 'test/nfs/clock.mjs')} http://${clusterAddress}/time`)
    if (status !== 0) throw new Error(`the clock of host ${host} can't be compared: ${stdout}`)
    return JSON.parse(stdout) as { ms: number; within: number }
  }

  usher(host: number, args: string, withinSeconds = 60): Promise<Ran> {
    return this.exec(host, `node ${cli} ${args}`, withinSeconds)
  }

  async status(host: number): Promise<StoreStatus> {
    const { status, stdout, stderr } = await this.usher(host, `status --json --store ${store}`)
    if (status !== 0) throw new Error(`usher status ended with ${status}: ${stdout}${stderr}`)
    return JSON.parse(stdout) as StoreStatus
  }

  async trace(host: number, id: string): Promise<Trace> {
    const { status, stdout, stderr } = await this.usher(host, `trace ${id} --json --store ${store}`)
    if (status !== 0) throw new Error(`usher trace ended with ${status}: ${stdout}${stderr}`)
    return JSON.parse(stdout) as Trace
  }

  /** Until the host takes connections of producers. */
  accepting(host: number, withinMs = 60_000): Promise<void> {
    const [address, port] = addressOf(host).split(':')
    const connects = `timeout 1 bash -c '</dev/tcp/${address}/${port}'`
    // Twice: a starting usher takes its port for a moment to see that it is free, before it is there for anybody.
    return until(
      `host ${host} accepts`,
      async () => (await this.#run(['outside', 'bash', '-c', `${connects} && sleep 0.3 && ${connects}`])).status === 0,
      withinMs,
    )
  }

  /** Logs and consoles of all hosts, for whoever wants to know why. */
  async keep(name: string): Promise<string> {
    const to = join(root, '.out', name)
    await rm(to, { recursive: true, force: true })
    await mkdir(to, { recursive: true })
    await cp(this.folder, to, { recursive: true, filter: (source) => !/(\.ext4|\/uml|\/pid)$/.test(source) })
    return to
  }

  async down(): Promise<void> {
    this.#cluster?.removeAllListeners('exit')
    await this.do('down')
  }

  #env(): NodeJS.ProcessEnv {
    return { ...process.env, LAB_DIR: this.folder, LAB_MOUNT: mountOptions }
  }

  async #run(args: readonly string[], env: Record<string, string> = {}): Promise<Ran> {
    try {
      const { stdout, stderr } = await run('bash', [program, ...args], { env: { ...this.#env(), ...env }, maxBuffer: 2 ** 28, cwd: root })
      return { status: 0, stdout, stderr }
    } catch (error) {
      const failed = error as { code?: number; stdout?: string; stderr?: string }
      return { status: typeof failed.code === 'number' ? failed.code : -1, stdout: failed.stdout ?? '', stderr: failed.stderr ?? '' }
    }
  }
}

export const quantile = (values: readonly number[], q: number): number => {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(q * sorted.length) - 1))] ?? Number.NaN
}
