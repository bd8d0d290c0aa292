// A cluster that counts, on the outer side of the lab's network: it takes every job as often as it is sent, writes each
// taking to a file before it answers, and says which ids it has, and what time it is. Now and then an answer is slow, so that faults find
// submissions under way.
//
//   node cluster.mjs HOST:PORT FILE SEED
import { openSync, writeSync } from 'node:fs'
import { createServer } from 'node:http'

const [listen, path, seed] = process.argv.slice(2)
const [host, port] = listen.split(':')
const file = openSync(path, 'a')
const counts = new Map()

let state = Number(seed) >>> 0
const random = () => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0
  return state / 2 ** 32
}

const take = (line) => {
  const { id, term, host: by, instance } = JSON.parse(line)
  counts.set(id, (counts.get(id) ?? 0) + 1)
  return { id, term, host: by, instance, at: Date.now() }
}

const server = createServer((request, response) => {
  // A sender that dies in the middle of its request has submitted nothing.
  request.on('error', () => undefined)
  if (request.url === '/time') return response.end(String(Date.now()))
  if (request.method === 'GET') {
    const id = decodeURIComponent(request.url.replace(/^\/jobs\/?/, ''))
    const there = id === '' || counts.has(id)
    response.writeHead(there ? 200 : 404, { 'content-type': 'application/json' })
    response.end(there ? JSON.stringify({ jobId: `lab-${id}` }) : '{}')
    return
  }
  const parts = []
  request.on('data', (part) => parts.push(part))
  request.on('end', () => {
    const taken = Buffer.concat(parts).toString('utf8').trim().split('\n').map(take)
    writeSync(file, taken.map((one) => `${JSON.stringify(one)}\n`).join(''))
    const answer = () => response.end(taken.map(({ id }) => JSON.stringify({ jobId: `lab-${id}` })).join('\n'))
    if (random() < 0.1) setTimeout(answer, random() * 60)
    else answer()
  })
})
server.listen(Number(port), host, () => process.stdout.write('ready\n'))
