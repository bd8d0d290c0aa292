import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { runProgram, settlesAfterMs } from '../../../src/submit/drivers/program.ts'
import { root, temporaryFolder, until } from './jobs.ts'

const folder = temporaryFolder()
afterAll(() => folder.remove())

const PATH = process.env['PATH'] ?? '/usr/bin:/bin'
const program = (name: string, text: string): string => {
  const file = join(folder.path, name)
  writeFileSync(file, text)
  chmodSync(file, 0o755)
  return file
}

/** Node alone can't run these sources, and what is tested is the death of a process that runs them. */
const compile = (source: string): string => {
  const options = ['--ignoreConfig', '--noCheck', '--rewriteRelativeImportExtensions', '--module', 'nodenext', '--target', 'es2023']
  execFileSync(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), ...options, '--rootDir', root, '--outDir', folder.path, join(root, source)])
  writeFileSync(join(folder.path, 'package.json'), '{"type":"module"}')
  return join(folder.path, source.replace(/\.ts$/, '.js'))
}

const isGone = (pid: string): boolean => {
  try {
    return / Z /.test(readFileSync(`/proc/${pid}/stat`, 'latin1'))
  } catch {
    return true
  }
}

test('a program that hangs is killed, with what it started, when usher is not there any more to do it', async () => {
  const [pids, handedOver] = [join(folder.path, 'pids'), join(folder.path, 'handed-over')]
  // Both would hand the job over late, and neither minds SIGTERM.
  const submit = program(
    'submit',
    `#!/bin/bash\ntrap '' TERM\n(sleep 20; echo child >> ${handedOver}) &\necho "$$ $!" > ${pids}.part; mv ${pids}.part ${pids}\nsleep 20; echo program >> ${handedOver}\n`,
  )
  const timeoutMs = 2000
  const run = JSON.stringify({ argv: [submit], environment: { PATH }, timeoutMs })
  const from = JSON.stringify(compile('src/submit/drivers/program.ts'))
  const usher = spawn(
    process.execPath,
    ['--input-type=module', '-e', `const { runProgram } = await import(${from}); console.log(await runProgram(${run}))`],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  )
  let said = ''
  usher.stdout.on('data', (chunk: Buffer) => (said += chunk.toString()))
  await until('the program runs', () => existsSync(pids))
  const startedMs = performance.now()
  usher.kill('SIGKILL')
  await once(usher, 'close')
  // Usher itself had not come to its end: what follows is not its doing.
  expect(said).toBe('')
  const [one = '', other = ''] = readFileSync(pids, 'utf8').trim().split(' ')
  await until('both are gone', () => isGone(one) && isGone(other))
  expect(performance.now() - startedMs).toBeLessThan(15_000)
  expect(existsSync(handedOver)).toBe(false)
  expect(settlesAfterMs(timeoutMs)).toBeGreaterThanOrEqual(timeoutMs + 2000)
})

test('what can not be run never ran, and the exit statuses of timeout(1) say nothing when a program has them', async () => {
  const run = (argv: string[], environment = { PATH }): ReturnType<typeof runProgram> => runProgram({ argv, environment, timeoutMs: 10_000 })
  const uninterpreted = program('uninterpreted', '#!/nowhere/interpreter\n')
  expect(await run([join(folder.path, 'missing')])).toMatchObject({ kind: 'unstarted' })
  expect(await run(['true'], { PATH: folder.path })).toMatchObject({ kind: 'unstarted' })
  expect(await run([uninterpreted])).toMatchObject({ kind: 'unstarted', reason: expect.stringContaining(uninterpreted) as string })
  for (const code of [124, 125, 126, 127, 137])
    expect(await run(['sh', '-c', `echo 'timeout: sh' >&2; echo more >&2; exit ${code}`])).toMatchObject({ kind: 'exited', code })
  expect(await run(['sh', '-c', `echo 4711; echo 'timeout: sh' >&2; exit 127`])).toMatchObject({ kind: 'exited', code: 127 })
})
