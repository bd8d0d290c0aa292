// Takes commands on a host of the NFS lab: the body of a request is run with bash in the directory that its header
// x-directory names; the answer is the output as it comes, and a last line `status=N`. A command whose caller has gone
// is ended, with all of its process group.
import { spawn } from 'node:child_process'
import { createServer } from 'node:http'
import { constants } from 'node:os'

const lineFeed = 10
/** What is still in the pipes when the command ends may take a moment; a background child would keep them open for ever. */
const drainMs = 20

const server = createServer((request, response) => {
  const parts = []
  request.on('data', (part) => parts.push(part))
  request.on('end', () => {
    const child = spawn('bash', ['-c', Buffer.concat(parts).toString()], {
      cwd: request.headers['x-directory'] ?? '/',
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    })
    let last = lineFeed
    let ended = false
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk) => {
        last = chunk.at(-1)
        response.write(chunk)
      })
    }
    const end = (status) => {
      ended = true
      setTimeout(() => response.end(`${last === lineFeed ? '' : '\n'}status=${status}\n`), drainMs)
    }
    child.on('error', (error) => {
      response.write(`${error.message}\n`)
      end(127)
    })
    child.on('exit', (status, signal) => end(status ?? 128 + constants.signals[signal]))
    response.on('close', () => {
      if (ended || child.pid === undefined) return
      try {
        process.kill(-child.pid, 'SIGKILL')
      } catch (error) {
        console.error(`can't end ${child.pid}: ${error.message}`)
      }
    })
  })
})

server.requestTimeout = 0
server.listen(9, '0.0.0.0', () => console.log('the host takes commands'))
