import { SlipwayError, toFault } from '../errors.ts'
import type { Clock } from '../ports/clock.ts'
import type { Message, MessageBus } from '../ports/message-bus.ts'
import { STREAM_FRAME_BYTES, STREAM_IDLE_MS, STREAM_WINDOW } from './bus.ts'
import { decodeFrame, encodeFrame, type StreamFrame } from './stream-frame.ts'

/**
 * One way of a stream over the bus: frames on one subject, on the other how far the reader is. Whoever sends never runs
 * ahead by more than a window, and either side notices within `STREAM_IDLE_MS` that the other is gone.
 */
export interface FramedWay {
  bus: MessageBus
  clock: Clock
  /** Subject of the frames. */
  frames: string
  /** Subject of the acknowledgements. */
  acks: string
  signal: AbortSignal
  /** The signal is an end like any other, and is sent: otherwise what was cut off is not said to be whole. */
  endsWithSignal?: boolean
}

const IDLE_FRAME_MS = STREAM_IDLE_MS / 3
/** Without a reason each abort would make an error with its stack, 0.1 ms a frame. */
const DONE = 'done'

type Pieces = AsyncGenerator<Uint8Array, void>
type Sent<T> = T extends StreamFrame ? Omit<T, 'seq'> : never

/**
 * Sends what `open` yields, pieces of any size, until its end, which is sent too, with its reason where it failed. Returns
 * early, and ends `open`'s signal, when the reader has gone or the signal says so.
 */
export async function sendFrames(way: FramedWay, open: (over: AbortSignal) => Pieces): Promise<void> {
  const { bus, clock, frames, signal } = way
  const over = new AbortController()
  const ended = AbortSignal.any([signal, over.signal])
  await using window = await acknowledgements(way, over)
  let seq = 0
  let isToldEnd = false
  const send = (frame: Sent<StreamFrame>) => bus.publish(frames, encodeFrame({ ...frame, seq: ++seq } as StreamFrame))
  let pieces: Pieces | undefined
  try {
    await send({ kind: 'idle' }) // The reader waits for the rest with more patience than for a side that may be away.
    pieces = inFrames(open(ended))
    let next = ask(pieces)
    while (!ended.aborted) {
      if (!(await window.hasRoom(seq, ended))) return
      const first = (await ready(next)) ?? (await orSilence(clock, next, ended))
      if (ended.aborted) return
      if (first === 'quiet') {
        await send({ kind: 'idle' })
        continue
      }
      if (first.done) {
        isToldEnd = true
        return await send({ kind: 'end' })
      }
      await send({ kind: 'data', bytes: first.value })
      next = ask(pieces)
    }
  } catch (error) {
    isToldEnd = true
    await send({ kind: 'end', error: toFault(error) })
  } finally {
    if (way.endsWithSignal && signal.aborted && !isToldEnd) await send({ kind: 'end' }).catch(() => {})
    over.abort()
    await pieces?.return(undefined)
  }
}

function ask(from: Pieces) {
  const piece = from.next()
  piece.catch(() => {}) // Met when its turn comes, which a slow reader may put off.
  return piece
}

/** What is there already, without a timer: those are much of the work of a stream that is fast. */
const ready = <T>(work: Promise<T>): Promise<T | undefined> => Promise.race([work, Promise.resolve(undefined)])

async function orSilence<T>(clock: Clock, work: Promise<T>, signal: AbortSignal): Promise<T | 'quiet'> {
  const met = new AbortController()
  const silence = clock.sleep(IDLE_FRAME_MS, AbortSignal.any([signal, met.signal])).then(() => 'quiet' as const)
  try {
    return await Promise.race([work, silence])
  } finally {
    met.abort(DONE)
  }
}

/** Cuts what is too large for one frame. */
async function* inFrames(pieces: Pieces): Pieces {
  for await (const piece of pieces) {
    for (let at = 0; at < piece.length; at += STREAM_FRAME_BYTES) yield piece.subarray(at, at + STREAM_FRAME_BYTES)
  }
}

/** How far the reader is; a reader that says nothing for too long ends the stream. */
async function acknowledgements({ bus, clock, acks }: FramedWay, over: AbortController) {
  const subscription = await bus.subscribe(acks)
  let taken = 0
  let heardAt = clock.now()
  let wake = () => {}
  const listen = async () => {
    for await (const { body } of subscription) {
      const said = parse(body)
      if (typeof said !== 'object' || said === null || !('seq' in said)) continue
      taken = Math.max(taken, Number(said.seq))
      heardAt = clock.now()
      wake()
    }
  }
  listen().catch(() => {})
  return {
    hasRoom: async (seq: number, signal: AbortSignal): Promise<boolean> => {
      while (seq - taken >= STREAM_WINDOW && !signal.aborted) {
        const ringing = new AbortController()
        wake = () => ringing.abort(DONE)
        await clock.sleep(1000, AbortSignal.any([signal, ringing.signal]))
        if (clock.now() - heardAt > STREAM_IDLE_MS) over.abort()
      }
      // Idle frames are acknowledged too: silence over several of them means that nobody reads.
      if (seq > taken && clock.now() - heardAt > STREAM_IDLE_MS) over.abort()
      return !signal.aborted
    },
    [Symbol.asyncDispose]: () => subscription[Symbol.asyncDispose](),
  }
}

export interface ReadOptions extends FramedWay {
  /** For the first frame; for each later one it is `STREAM_IDLE_MS`. */
  firstMs: number
  /** The error of a side that says nothing, or of which something was lost. */
  silent(why: string): SlipwayError
  /** Called at the first frame. */
  onHeard?(): void
  /** Says again and again that we are here, however long we take for a piece: a person may read it. */
  isPatient?: boolean
}

/**
 * The bytes that come in frames, each acknowledged once the next one is asked for. `incoming` is the subscription to
 * `frames`, made before anything could be sent. Errors: what the sender failed of, or `silent`.
 */
export async function* readFrames(incoming: AsyncIterable<Message>, options: ReadOptions): Pieces {
  const { bus, clock, acks, signal, firstMs, silent } = options
  const messages = incoming[Symbol.asyncIterator]()
  using over = aborted()
  let taken = 0
  const acknowledge = () => bus.publish(acks, encode({ seq: taken }))
  if (options.isPatient) repeat(clock, over.signal, acknowledge).catch(() => {})
  for (let expected = 1; !signal.aborted; expected++) {
    const message = await within(clock, messages.next(), expected === 1 ? firstMs : STREAM_IDLE_MS, signal)
    if (message === 'late') throw silent('does not answer')
    if (message === 'aborted' || message.done) return
    const frame = decodeFrame(message.value.body)
    if (frame?.seq !== expected) throw silent('lost a part of the answer on its way')
    if (expected === 1) options.onHeard?.()
    if (frame.kind === 'data') yield frame.bytes
    if (frame.kind === 'end' && frame.error) throw new SlipwayError(frame.error.code, frame.error.message)
    if (frame.kind === 'end') return
    taken = frame.seq
    await acknowledge()
  }
}

function aborted(): AbortController & Disposable {
  const controller = new AbortController()
  return Object.assign(controller, { [Symbol.dispose]: () => controller.abort() })
}

async function repeat(clock: Clock, signal: AbortSignal, work: () => Promise<void>): Promise<void> {
  for (;;) {
    await clock.sleep(IDLE_FRAME_MS, signal)
    if (signal.aborted) return
    await work()
  }
}

async function within<T>(
  clock: Clock,
  work: Promise<T>,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<T | 'aborted' | 'late'> {
  const timer = new AbortController()
  const timeout = clock.sleep(timeoutMs, AbortSignal.any([signal, timer.signal])).then(() => 'late' as const)
  try {
    const first = await Promise.race([work, timeout])
    return first === 'late' && signal.aborted ? 'aborted' : first
  } finally {
    timer.abort(DONE)
  }
}

const encode = (value: unknown) => new TextEncoder().encode(JSON.stringify(value))

function parse(body: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(body))
  } catch {
    return undefined
  }
}
