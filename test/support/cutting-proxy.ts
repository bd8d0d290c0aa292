// Stands between a producer and a host. While it is told to, it cuts the line at the worst moment: the host has said that jobs
// are accepted, and the producer never hears it. Until then whatever comes is passed on, frame by frame.
import { connect, createServer } from 'node:net'
import type { AddressInfo, Server, Socket } from 'node:net'
import { encodeFrame, encodePreamble, FrameDecoder } from '../../src/protocol/frame.ts'
import { decodeMessage } from '../../src/protocol/messages.ts'

export class CuttingProxy {
  readonly #server: Server
  readonly #target: string
  readonly #sockets = new Set<Socket>()
  /** Asked at every acknowledgement. True: nobody hears it, and the line is cut. */
  cuts: () => boolean = () => true
  /** Jobs that the host acknowledged to nobody. */
  swallowed = 0

  private constructor(target: string) {
    this.#target = target
    this.#server = createServer((socket) => this.#join(socket))
  }

  static async start(target: string): Promise<CuttingProxy> {
    const proxy = new CuttingProxy(target)
    await new Promise<void>((resolve) => proxy.#server.listen(0, '127.0.0.1', resolve))
    return proxy
  }

  get address(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve))
    for (const socket of this.#sockets) socket.destroy()
    await closed
  }

  #join(producer: Socket): void {
    const at = this.#target.lastIndexOf(':')
    const host = connect({ host: this.#target.slice(0, at), port: Number(this.#target.slice(at + 1)), noDelay: true })
    let cut = false
    const end = (): void => {
      producer.destroy()
      host.destroy()
    }
    for (const socket of [producer, host]) {
      this.#sockets.add(socket)
      // Whichever side goes, and however: the other sees the line break.
      socket.on('error', () => undefined)
      socket.on('close', () => {
        this.#sockets.delete(socket)
        end()
      })
    }
    const decoder = new FrameDecoder({
      payloadBytesMax: 2 ** 26,
      onPreamble: ({ first, highest }) => producer.write(encodePreamble(first, highest)),
      onFrame: (frame) => {
        const message = decodeMessage(frame)
        if (!cut && (message.type !== 'ACK' || !this.cuts())) {
          producer.write(encodeFrame(frame.type, frame.count, frame.payload))
          return
        }
        cut = true
        if (message.type === 'ACK') for (const { jobs } of message.ranges) this.swallowed += jobs
        end()
      },
    })
    producer.on('data', (bytes: Buffer) => void host.write(bytes))
    host.on('data', (bytes: Buffer) => decoder.push(bytes))
  }
}
