import { toFault } from '#shared/errors.ts'
import { BUILD_LOG_LINES, type BuildLogLine } from '#shared/protocol/agent.ts'
import type { LogSender } from './log-sender.ts'

/** Where lines go: to the build as a whole, or to one step of it. */
export interface LogLines {
  write(stream: BuildLogLine['stream'], text: string): void
}

export interface BuildLog extends LogLines {
  /**
   * Runs a step, with its beginning and its end in the log: how long it took, that it was cached, its error, or that it was
   * canceled, which is any error once `signal` says so.
   * `isOwnFault`: the error is this step's, which ended the others, too; else what fails after `signal` was canceled.
   */
  step<T>(
    label: string,
    signal: AbortSignal,
    work: (log: StepLog) => Promise<T>,
    isOwnFault?: (error: unknown) => boolean,
  ): Promise<T>
}

export interface StepLog extends LogLines {
  /** Nothing was to be done: its result was known. */
  cached(): void
  /** For what is brought from or to somewhere; says it once a second at most, and more seldom the longer it takes. */
  progress(soFar: Progress): void
  /**
   * It waits for others (a stage, a pull, its turn) until what is returned is called: that is no part of how long it took. Waits may
   * overlap, and end with the step.
   */
  waits(): () => void
  /** Whether more output would not be kept. */
  isFull(): boolean
}

export interface Progress {
  bytes: number
  /** Undefined where it is not known. */
  total?: number | undefined
}

/** As BuildKit has it. */
const STEP_OUTPUT_CHARS = 2 * 1024 * 1024
/** What is left of the build's own bound is for the beginnings and ends of steps. */
const OUTPUT_LINES = BUILD_LOG_LINES - 5000
const PROGRESS_MS = 1000
/** Of the time that it took so far. */
const PROGRESS_PART = 0.1

/** Numbers steps, from the one after `stepFrom` on, and says of each line which it belongs to: steps run side by side. */
export function openBuildLog({ send }: Pick<LogSender, 'send'>, now: () => number, stepFrom = 0): BuildLog {
  let steps = stepFrom
  let outputLines = 0
  const outputOf = (line: Pick<BuildLogLine, 'step'>) => {
    let chars = 0
    let isClipped = false
    const clip = (bound: string) => {
      isClipped = true
      send({ ...line, at: now(), stream: 'step', text: `[output clipped: ${bound} are kept]` })
    }
    return {
      isFull: () => isClipped,
      write: (stream: BuildLogLine['stream'], text: string) => {
        if (isClipped) return
        if (chars + text.length > STEP_OUTPUT_CHARS) clip('2 MiB of a step')
        else if (outputLines >= OUTPUT_LINES) clip(`${OUTPUT_LINES} lines of a build`)
        else send({ ...line, at: now(), stream, text })
        chars += text.length
        outputLines++
      },
    }
  }
  return {
    write: (stream, text) => send({ at: now(), stream, text }),
    step: async (label, signal, work, isOwnFault = () => false) => {
      const step = ++steps
      const begin = now()
      const own = ownTime(now)
      const say = (mark: NonNullable<BuildLogLine['mark']>, text: string, more?: Partial<BuildLogLine>) =>
        send({ at: now(), stream: 'step', step, mark, text, ...more })
      const end = (mark: NonNullable<BuildLogLine['mark']>, text: string) =>
        say(mark, text, { durationMs: own.soFarMs() })
      let isCached = false
      say('begin', label)
      try {
        const result = await work({
          ...outputOf({ step }),
          cached: () => {
            isCached = true
          },
          waits: own.waits,
          progress: seldom(begin, now, soFar => say('progress', amountOf(soFar), inBytes(soFar))),
        })
        if (isCached) end('cached', 'CACHED')
        else end('done', `DONE ${(own.soFarMs() / 1000).toFixed(1)}s`)
        return result
      } catch (error) {
        if (signal.aborted && !isOwnFault(error)) end('canceled', 'CANCELED')
        else end('failed', `ERROR: ${toFault(error).message}`)
        throw error
      }
    },
  }
}

/** What goes by from now on without the time in which one or more waits are under way. */
function ownTime(now: () => number) {
  const begin = now()
  const waits = new Set<symbol>()
  let waitedMs = 0
  let waitsSince = 0
  const waitedSoFar = () => (waits.size === 0 ? waitedMs : waitedMs + now() - waitsSince)
  return {
    soFarMs: () => Math.max(0, now() - begin - waitedSoFar()),
    waits: () => {
      const wait = Symbol('wait')
      if (waits.size === 0) waitsSince = now()
      waits.add(wait)
      return () => {
        const waited = waitedSoFar()
        if (waits.delete(wait) && waits.size === 0) waitedMs = waited
      }
    },
  }
}

function seldom(begin: number, now: () => number, say: (soFar: Progress) => void) {
  let last = begin
  return (soFar: Progress) => {
    const at = now()
    if (at - last < Math.max(PROGRESS_MS, (at - begin) * PROGRESS_PART)) return
    last = at
    say(soFar)
  }
}

function inBytes({ bytes, total }: Progress): Pick<BuildLogLine, 'bytes' | 'totalBytes'> {
  return { bytes, ...(total === undefined ? {} : { totalBytes: total }) }
}

const MEGABYTE = 1_000_000

function amountOf({ bytes, total }: Progress): string {
  const shown = (count: number) => `${(count / MEGABYTE).toFixed(1)} MB`
  return total === undefined ? shown(bytes) : `${shown(bytes)} of ${shown(total)}`
}
