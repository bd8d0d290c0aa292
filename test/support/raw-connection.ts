// A connection without any manners: writes bytes as they are and keeps what comes back.
import { connect } from 'node:net'
import type { Socket } from 'node:net'
import { FrameDecoder } from '../../src/protocol/frame.ts'
import { decodeMessage } from '../../src/protocol/messages.ts'
import type { Message } from '../../src/protocol/messages.ts'

export class RawConnection {
  readonly socket: Socket
  received: Buffer = Buffer.alloc(0)
  closed = false
  error: Error | null = null

  constructor(address: string) {
    const at = address.lastIndexOf(':')
    this.socket = connect({ host: address.slice(0, at), port: Number(address.slice(at + 1)), noDelay: true })
    this.socket.on('data', (bytes: Buffer) => (this.received = Buffer.concat([this.received, bytes])))
    this.socket.on('error', (error) => (this.error = error))
    this.socket.on('close', () => (this.closed = true))
    this.socket.on('end', () => (this.closed = true))
  }

  write(bytes: Uint8Array): void {
    if (!this.socket.destroyed) this.socket.write(bytes)
  }

  get messages(): Message[] {
    const messages: Message[] = []
    const decoder = new FrameDecoder({ payloadBytesMax: 2 ** 26, onPreamble: () => undefined, onFrame: (frame) => messages.push(decodeMessage(frame)) })
    decoder.push(this.received)
    return messages
  }

  destroy(): void {
    this.socket.destroy()
  }
}
