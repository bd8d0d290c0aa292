import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { gzipSync } from 'node:zlib'
import { Command } from 'commander'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { readLines } from '../../../src/cli/send-lines.ts'
import { SendReport } from '../../../src/cli/send-report.ts'
import { SwfReader } from '../../../src/cli/send-swf.ts'
import { registerSend, send, type SendOptions } from '../../../src/cli/send.ts'
import { formatJobId, producerOfName } from '../../../src/protocol/job-id.ts'
import { ScriptedServer } from './scripted-server.ts'

let folder = ''
let server: ScriptedServer

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'usher-send-'))
  server = await new ScriptedServer().listen()
})

afterEach(async () => {
  rmSync(folder, { recursive: true })
  await server.close()
  expect(server.violations).toEqual([])
  expect(process.listenerCount('SIGINT')).toBe(0)
})

const run = async (input: string | Buffer | Readable, options: Partial<SendOptions> = {}, out: string[] = []) => {
  const err: string[] = []
  const stdin = input instanceof Readable ? input : Readable.from([Buffer.from(input)], { objectMode: false })
  const status = await send(
    '-',
    { to: options.to ?? server.address, format: 'ndjson', timeout: 5, executable: '/bin/true', json: true, ...options },
    { stdin, stdout: { write: (text) => out.push(text) }, stderr: { write: (text) => err.push(text) }, env: {} },
  )
  return { status, lines: out.join('').trimEnd().split('\n').map((line) => (options.json === false ? line : JSON.parse(line))), err: err.join('') }
}

const good = '{"executable":"/bin/true"}'

describe('usher send', () => {
  it('numbers jobs by their lines and ends with the summary', async () => {
    const ids = join(folder, 'ids')
    const { status, lines } = await run(`${good}\n\n${good}\n${good}`, { clientId: 'nightly', ids })
    expect(status).toBe(0)
    expect(lines).toEqual([{ sent: 3, accepted: 3, refused: 0, inDoubt: 0, seconds: expect.any(Number) }])
    expect(Object.keys(lines[0])).toEqual(['sent', 'accepted', 'refused', 'inDoubt', 'seconds'])
    expect(server.sequences).toEqual([1, 3, 4])
    expect(server.peers[0]).toMatchObject({ producer: producerOfName('nightly'), name: 'nightly', saidGoodbye: true })
    expect(readFileSync(ids, 'utf8')).toBe([1, 3, 4].map((line) => `${formatJobId(producerOfName('nightly'), line)}\n`).join(''))
  })

  it('sends the same bytes when it is repeated with a client id', async () => {
    for (let i = 0; i < 2; i++) await run(`${good}\n${good}`, { clientId: 'again' })
    expect(server.peers).toHaveLength(2)
    expect(server.peers[1]!.frames.flatMap((frame) => frame.jobs)).toEqual(server.peers[0]!.frames.flatMap((frame) => frame.jobs))
  })

  it('reports what is no job by line, field and reason, and sends the rest', async () => {
    const input = Buffer.concat([
      Buffer.from(`${good}\n{"executable":"x","resources":{"memory":"1G"}}\nnot json\n`),
      Buffer.from([0x22, 0xff, 0x22, 0x0a]),
      Buffer.from(`{"executable":"x","arguements":[]}\n[]\n${good}\n`),
    ])
    const { status, lines, err } = await run(input)
    expect(status).toBe(65)
    expect(lines.slice(0, -1).map(({ line, outcome, code, field }) => [line, outcome, code, field]).sort()).toEqual([
      [2, 'refused', 'field_invalid', 'resources.memory'], [3, 'refused', 'job_malformed', ''], [4, 'refused', 'job_malformed', ''],
      [5, 'refused', 'field_unknown', 'arguements'], [6, 'refused', 'job_malformed', ''],
    ])
    expect(lines.at(-1)).toMatchObject({ sent: 7, accepted: 2, refused: 5, inDoubt: 0 })
    expect(server.sequences).toEqual([1, 7])
    expect(err).toContain('line 2: field_invalid')
  })

  it('reports refusals of the host, and which can pass', async () => {
    server.script = { onJobs: (peer, frame) => (peer.refuse('cluster_unknown', frame.sequences, 1), peer.credit(frame.size)) }
    const { status, lines } = await run(`${good}\n`, { cluster: 'nowhere' })
    expect(status).toBe(65)
    expect(lines[0]).toMatchObject({ line: 1, outcome: 'refused', code: 'cluster_unknown', field: 'cluster' })
    expect(server.frames[0]!.jobs[0]!.bytes).toContain(Buffer.from('nowhere').toString('hex'))
  })

  it('ends with 75 when answers stay away', async () => {
    server.script = { onJobs: () => undefined }
    const { status, lines } = await run(`${good}\n`, { timeout: 0.1 })
    expect(status).toBe(75)
    expect(lines[0]).toMatchObject({ line: 1, outcome: 'inDoubt', code: 'in_doubt' })
    expect(lines.at(-1)).toMatchObject({ sent: 1, accepted: 0, inDoubt: 1 })
  })

  it('throws `disconnected` when no host is there, which ends with 69', async () => {
    const { address } = server
    await server.close()
    await expect(run(good, { to: address, timeout: 0.1 })).rejects.toMatchObject({ code: 'disconnected' })
  })

  it('ends its JSON with the summary also where nothing or not all could be sent', async () => {
    const summaryAfter = async (ending: (out: string[]) => Promise<unknown>): Promise<unknown> => {
      const out: string[] = []
      await ending(out)
      return JSON.parse(out.join('').trimEnd().split('\n').at(-1) ?? '')
    }
    const nothing = { sent: 0, accepted: 0, refused: 0, inDoubt: 0, seconds: expect.any(Number) }
    const input = Buffer.from(`${good}\n${good}\n`)
    const damaged = gzipSync(input).subarray(0, -4)
    // The two jobs are unpacked before the end of the gzip is missed: what was taken has its answer.
    expect(
      await summaryAfter((out) => expect(run(damaged, {}, out)).rejects.toMatchObject({ code: 'input_invalid' })),
    ).toMatchObject({ accepted: server.sequences.length, refused: 0 })
    const ids = join(folder, 'no-such-folder', 'ids')
    expect(
      await summaryAfter((out) => expect(run(input, { ids }, out)).rejects.toMatchObject({ code: 'unavailable' })),
    ).toMatchObject({ sent: 2, accepted: 2 })
    const { address } = server
    await server.close()
    const unreachable = (out: string[]) => expect(run(good, { to: address, timeout: 0.1 }, out)).rejects.toMatchObject({ code: 'disconnected' })
    expect(await summaryAfter(unreachable)).toEqual(nothing)
    const interrupted = async (out: string[]): Promise<void> => {
      const running = run(good, { to: address }, out)
      process.emit('SIGINT')
      expect((await running).status).toBe(130)
    }
    expect(await summaryAfter(interrupted)).toEqual(nothing)
    const nonsense = (out: string[]) => expect(run(good, { to: 'a:b:c' }, out)).rejects.toMatchObject({ code: 'usage' })
    expect(await summaryAfter(nonsense)).toEqual(nothing)
    const people: string[] = []
    await expect(run(good, { to: address, timeout: 0.1, json: false }, people)).rejects.toMatchObject({ code: 'disconnected' })
    expect(people).toEqual([])
  })

  it('throws for a file that is not there and an address that is none', async () => {
    const options: SendOptions = { to: server.address, format: 'ndjson', timeout: 1, executable: 'x' }
    await expect(send(join(folder, 'none'), options)).rejects.toMatchObject({ code: 'input_invalid' })
    await expect(send(folder, options)).rejects.toMatchObject({ code: 'input_invalid' })
    await expect(run(good, { to: 'a:b:c' })).rejects.toMatchObject({ code: 'usage' })
  })

  it('unpacks gzip, whatever the name, and refuses damaged gzip', async () => {
    const packed = gzipSync(`${good}\n`.repeat(2000))
    expect((await run(packed)).lines.at(-1)).toMatchObject({ accepted: 2000 })
    await expect(run(packed.subarray(0, packed.length - 9))).rejects.toMatchObject({ code: 'input_invalid' })
  })

  it('stops reading at the first Ctrl-C, waits for what is sent, and ends with 130', async () => {
    const held: (() => void)[] = []
    server.script = { onJobs: (peer, frame) => held.push(() => peer.acceptAll(frame)) }
    const input = new Readable({ read: () => undefined })
    input.push(`${good}\n`)
    const running = run(input)
    await vi.waitFor(() => expect(held).toHaveLength(1))
    process.emit('SIGINT')
    held[0]!()
    const { status, lines } = await running
    expect(status).toBe(130)
    expect(lines.at(-1)).toMatchObject({ sent: 1, accepted: 1 })
  })

  it('gives up at the second Ctrl-C and says what is in doubt', async () => {
    server.script = { onJobs: () => undefined }
    const input = new Readable({ read: () => undefined })
    input.push(`${good}\n`)
    const running = run(input)
    await vi.waitFor(() => expect(server.sequences).toEqual([1]))
    process.emit('SIGINT')
    process.emit('SIGINT')
    const { status, lines } = await running
    expect(status).toBe(130)
    expect(lines.at(-1)).toMatchObject({ sent: 1, accepted: 0, inDoubt: 1 })
  })

  it('prints one line for people', async () => {
    const { lines } = await run(`${good}\n{}\n`, { json: false })
    expect(lines).toHaveLength(1)
    expect(lines[0]).toMatch(/^2 sent: 1 accepted, 1 refused, 0 in doubt, [0-9.]+ s$/)
  })

  it('is registered with the options that others script against', () => {
    const program = new Command()
    registerSend(program)
    const [command] = program.commands
    expect(command!.options.map((option) => option.long)).toEqual([
      '--to', '--format', '--client-id', '--ids', '--cluster', '--timeout', '--executable', '--json',
    ])
  })

  it('runs from the command line and sets the exit status', async () => {
    const file = join(folder, 'jobs.ndjson')
    writeFileSync(file, `${good}\n{}\n`)
    const out = vi.spyOn(process.stdout, 'write').mockReturnValue(true)
    const err = vi.spyOn(process.stderr, 'write').mockReturnValue(true)
    const before = process.exitCode
    try {
      const program = new Command().exitOverride()
      registerSend(program)
      await program.parseAsync(['send', file, '--to', server.address, '--json', '--timeout', '3'], { from: 'user' })
      expect(process.exitCode).toBe(65)
      expect(JSON.parse(String(out.mock.calls.at(-1)![0]))).toMatchObject({ sent: 2, accepted: 1, refused: 1 })
      await expect(program.parseAsync(['send', file, '--timeout', 'soon'], { from: 'user' })).rejects.toMatchObject({ code: 'usage' })
    } finally {
      process.exitCode = before
      out.mockRestore()
      err.mockRestore()
    }
    expect(server.sequences).toEqual([1])
  })

  it('reads a workload, with the names that its header gives', async () => {
    const file = join(folder, 'w.swf')
    writeFileSync(file, '; Version: 2.2\n; Partition:  2 lancs.ac.uk   \n60 228 -1 194 1 -1 -1 -1 172800 -1 -1 2 2 -1 -1 2 -1 -1\n1 2 3\n')
    const { status, lines } = await run(readFileSync(file), { format: 'swf' })
    expect(status).toBe(65)
    expect(lines.at(-1)).toMatchObject({ sent: 2, accepted: 1, refused: 1 })
    expect(server.sequences).toEqual([3])
    expect(Buffer.from(server.frames[0]!.jobs[0]!.bytes, 'hex').toString('latin1')).toContain('lancs.ac.uk')
  })
})

describe('SWF', () => {
  const read = (line: string) => new SwfReader().read(line)

  it('maps what was requested', () => {
    expect(read('7 0 5 100 4 -1 1000 8 3600 2048 1 12 3 9 1 2 -1 -1')).toEqual({
      job: {
        name: 'swf-7', executable: '/bin/true', resources: { process_count: 8, memory: 2048 * 1024 * 8 },
        attributes: {
          duration: '3600 s', queue_name: 'queue1', account: 'user12',
          custom_attributes: { 'swf.job': 7, 'swf.user': 12, 'swf.group': 3, 'swf.application': 9, 'swf.queue': 'queue1', 'swf.partition': 'partition2' },
        },
      },
    })
  })

  it('falls back on what was used, and leaves out what nobody knows', () => {
    expect(read('7 0 5 100 4 -1 -1 -1 -1 -1 1 -1 -1 -1 -1 -1 -1 -1')).toMatchObject({
      job: { resources: { process_count: 4, memory: null }, attributes: { duration: '100 s', queue_name: null, account: null } },
    })
  })

  it.each([['1 2 3', /18 numbers/], ['x 0 5 100 4 -1 -1 -1 -1 -1 1 -1 -1 -1 -1 -1 -1 -1', /column 1/]])('says what is wrong with %j', (line, problem) => {
    expect(read(line)).toEqual({ problem: expect.stringMatching(problem) })
  })
})

describe('lines', () => {
  const collect = async (chunks: readonly Buffer[]) => {
    const lines = []
    for await (const batch of readLines(Readable.from(chunks, { objectMode: false }))) lines.push(...batch)
    return lines.map((line) => line.text)
  }

  it('are the same wherever the stream is cut', async () => {
    const bytes = Buffer.from('\ufeffa\r\nß😀\n\nlast')
    for (let at = 1; at < bytes.length; at++) expect(await collect([bytes.subarray(0, at), bytes.subarray(at)])).toEqual(['a', 'ß😀', '', 'last'])
  })

  it('are none in an empty stream', async () => expect(await collect([])).toEqual([]))
})

describe('the progress bar', () => {
  const draw = (terminal: boolean, env: Record<string, string> = {}) => {
    const err: string[] = []
    const report = new SendReport(false, { stdout: { write: () => true }, stderr: { write: (text) => err.push(text), isTTY: terminal, columns: 100 }, env }, 0)
    report.totalBytes = 100
    report.readBytes = 50
    report.accepted = 10
    report.refused = 1
    report.progress(1000)
    report.progress(1010)
    report.finish(2000)
    return err.join('')
  }

  it('is drawn on a terminal only, in colour only where that is wanted', () => {
    expect(draw(false)).toBe('')
    expect(draw(true)).toContain('50 %  10 accepted  11/s  \u001b[31m1 refused')
    expect(draw(true, { NO_COLOR: '1' })).not.toContain('\u001b[31m')
    expect(draw(true, { TERM: 'dumb' })).toBe('')
  })
})
