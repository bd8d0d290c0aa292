// HTTP as tests speak it: bytes on a socket, for what no client library would send, and a plain request for the rest.
import { request as httpRequest } from 'node:http'
import type { Agent } from 'node:http'
import { connect } from 'node:net'

export interface Reply {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly body: string
}

export const ask = (
  port: number,
  path: string,
  options: { readonly method?: string; readonly headers?: Record<string, string>; readonly body?: string; readonly agent?: Agent } = {},
): Promise<Reply> =>
  new Promise((resolve, reject) => {
    const { method = 'GET', headers = {}, body, agent } = options
    const request = httpRequest({ host: '127.0.0.1', port, path, method, headers, ...(agent === undefined ? {} : { agent }) }, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (part: string) => (text += part))
      response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body: text }))
      response.on('error', reject)
    })
    request.on('error', reject)
    request.end(body)
  })

/** Sends bytes and resolves with whatever came until the other side closed. */
export const sendRaw = (port: number, text: string): Promise<string> =>
  new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port }, () => socket.write(text))
    let reply = ''
    socket.setEncoding('latin1').on('data', (part: string) => (reply += part))
    socket.on('close', () => resolve(reply))
    socket.on('error', (error: NodeJS.ErrnoException) => (error.code === 'ECONNRESET' || error.code === 'EPIPE' ? resolve(reply) : reject(error)))
  })
