import { once } from 'node:events'
import { WebSocket } from 'ws'
import { type AttachStatus, CHANNEL, CHANNEL_PROTOCOL, channelMessage, textMessage } from '#shared/protocol/channels.ts'
import type { TestSlipway } from './slipway.ts'

export interface AttachClient extends AsyncDisposable {
  /** What came so far, as text. */
  stdout(): string
  stderr(): string
  /** Sends stdin; with flow control it waits for room. */
  write(bytes: Uint8Array | string): Promise<void>
  endInput(): void
  resize(columns: number, rows: number): void
  /** No more is read from the socket until the other. */
  pause(): void
  resume(): void
  /** Leaves without a word, as a client that dies. */
  vanish(): void
  /** How it ended: the status, and how the socket closed. */
  ended: Promise<{ status: AttachStatus | undefined; code: number; reason: string }>
}

export interface AttachClientOptions {
  /** Gets stdout in place of `stdout()`. */
  onStdout?: (bytes: Uint8Array) => void
  hasFlow?: boolean
}

/** As large as the API's window, or smaller. */
const WINDOW = 2 * 1024 * 1024
const TELL_BYTES = 256 * 1024

/** A client of exec and attach, as Kubernetes' clients are. Rejects with the status of an answer that is no WebSocket. */
export async function attachTo(
  slipway: Pick<TestSlipway, 'api' | 'operatorToken'>,
  path: string,
  { onStdout, hasFlow = false }: AttachClientOptions = {},
): Promise<AttachClient> {
  const url = `${slipway.api.url.replace('http', 'ws')}${path}${hasFlow ? '?flow=true' : ''}`
  const headers = { authorization: `Bearer ${slipway.operatorToken}` }
  const socket = new WebSocket(url, CHANNEL_PROTOCOL, { headers, perMessageDeflate: false })
  const texts = { [CHANNEL.stdout]: '', [CHANNEL.stderr]: '' }
  const counts = { sent: 0, theirs: 0, taken: 0, told: 0 }
  let status: AttachStatus | undefined
  let wake = () => {}
  const take = (channel: 1 | 2, bytes: Uint8Array) => {
    if (channel === CHANNEL.stdout && onStdout) onStdout(bytes)
    else texts[channel] += Buffer.from(bytes).toString()
    counts.taken += bytes.length
    if (!hasFlow || counts.taken - counts.told < TELL_BYTES) return
    counts.told = counts.taken
    socket.send(textMessage(CHANNEL.taken, String(counts.taken)))
  }
  socket.on('message', (data: Buffer) => {
    const [channel] = data
    const bytes = data.subarray(1)
    if (channel === CHANNEL.stdout || channel === CHANNEL.stderr) take(channel, bytes)
    if (channel === CHANNEL.status) status = JSON.parse(bytes.toString())
    if (channel === CHANNEL.taken) counts.theirs = Number(bytes.toString())
    wake()
  })
  const ended = once(socket, 'close').then(([code, reason]) => {
    wake()
    return { status, code: Number(code), reason: String(reason) }
  })
  ended.catch(() => {})
  await once(socket, 'open')
  socket.on('error', () => {}) // The close says it.
  const hasRoom = () => socket.readyState !== socket.OPEN || !hasFlow || counts.sent - counts.theirs <= WINDOW
  return {
    stdout: () => texts[CHANNEL.stdout],
    stderr: () => texts[CHANNEL.stderr],
    write: async bytes => {
      const sent = typeof bytes === 'string' ? Buffer.from(bytes) : bytes
      while (!hasRoom()) await new Promise<void>(resolve => (wake = resolve))
      counts.sent += sent.length
      await new Promise<void>(resolve => socket.send(channelMessage(CHANNEL.stdin, sent), () => resolve()))
    },
    endInput: () => socket.send(channelMessage(CHANNEL.close, Uint8Array.of(CHANNEL.stdin))),
    resize: (Width, Height) => socket.send(textMessage(CHANNEL.resize, JSON.stringify({ Width, Height }))),
    pause: () => socket.pause(),
    resume: () => socket.resume(),
    vanish: () => socket.terminate(),
    ended,
    [Symbol.asyncDispose]: async () => {
      socket.resume()
      socket.close()
      await ended
    },
  }
}
