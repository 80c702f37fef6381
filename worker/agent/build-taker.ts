import type { Logger } from 'pino'
import type { BuildId } from '#shared/domain/ids.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { Clock } from '#shared/ports/clock.ts'
import type { MessageBus, QueuedMessage } from '#shared/ports/message-bus.ts'
import { BUILD_QUEUE } from '#shared/protocol/bus.ts'
import type { BuildRunner } from './builds.ts'

export interface BuildTakerOptions {
  bus: Pick<MessageBus, 'isConnected' | 'take'>
  clock: Clock
  log: Logger
  builds: Pick<BuildRunner, 'take' | 'hasRoom' | 'onEnd'>
  /** This host can begin something now: it knows its network, and its disk has room. */
  isReady(): boolean
  signal: AbortSignal
}

const POLL_MS = 5000
/** For another host to take what does not fit here. */
const PASS_ON_MS = 1000

/**
 * Takes builds from the queue while this host has room: it asks the API, and then waits for a message that there is one, or
 * for a while; the end of a build makes it ask again. With the bus away it asks all the same. Runs until the signal.
 */
export async function takeBuilds({ bus, clock, log, builds, isReady, signal }: BuildTakerOptions): Promise<void> {
  let failures = 0
  /** Until a build ends, this long at most. Leaves nothing behind: there are many of them while a build goes on. */
  const sleep = async (ms: number) => {
    if (signal.aborted) return
    const awake = new AbortController()
    const wake = () => awake.abort()
    using _end = builds.onEnd(wake)
    signal.addEventListener('abort', wake)
    await clock.sleep(ms, awake.signal)
    signal.removeEventListener('abort', wake)
  }
  const attempt = async (id?: BuildId): Promise<boolean> => {
    try {
      const isTaken = await builds.take(id)
      failures = 0
      return isTaken
    } catch (error) {
      if (id !== undefined && error instanceof SlipwayError && !error.retry) throw error
      failures++
      if (failures === 1) log.warn({ err: error }, 'no build can be asked for; trying again')
      return false
    }
  }
  while (!signal.aborted) {
    if (!builds.hasRoom() || !isReady()) await sleep(POLL_MS / 5)
    else if (!(await attempt())) {
      const waitMs = POLL_MS * (0.75 + Math.random() / 2)
      const bell = await nextBell(bus, waitMs)
      if (bell === 'none') await sleep(waitMs)
      else if (bell !== undefined) await answer(bell, attempt)
    }
  }
}

/** `none`: there is no queue to listen to. Undefined: nothing came. */
async function nextBell(bus: BuildTakerOptions['bus'], waitMs: number): Promise<QueuedMessage | 'none' | undefined> {
  if (!bus.isConnected()) return 'none'
  return bus.take(BUILD_QUEUE, waitMs).catch(() => 'none' as const)
}

async function answer(bell: QueuedMessage, attempt: (id: BuildId) => Promise<boolean>): Promise<void> {
  const id = new TextDecoder().decode(bell.body) as BuildId
  try {
    if (await attempt(id)) bell.done()
    else bell.passOn(PASS_ON_MS)
  } catch {
    bell.done() // Somebody has it, or it is over.
  }
}
