import type { BuildLimits } from '#shared/domain/build-needs.ts'
import { formatDuration } from '#shared/domain/duration.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { Clock } from '#shared/ports/clock.ts'
import { sizeInWords } from '#shared/size-in-words.ts'

/** What the whole build may take, and how that is found out. */
export interface WholeLimits extends Pick<BuildLimits, 'timeoutMs' | 'diskBytes'> {
  /** Bytes on the disk that are the build's now; walks files. */
  measure(): Promise<number>
  /** Throws where the host's disk has no more to give, whoever filled it. Cheap. */
  requireReserve(): void
  clock: Clock
}

/** Walking takes its time: no more than a tenth of the build's. */
const MEASURE_EVERY_MS = 1000
const SHARE_OF_MEASURING = 10
/** A disk takes a gigabyte or two a second. */
const LOOK_EVERY_MS = 200

/**
 * Ends work that goes over a limit of its build, with the error that says which: `build.timed-out` at the deadline,
 * `build.disk-exceeded` when what it keeps on the disk is seen to be more, `host.disk-full` before the host has nothing left. That is measured (du) once a second at most, so a build
 * may go over by what it writes between two measures; whoever keeps a layer counts that at once. A cancel stays a cancel.
 */
export async function withinLimits<T>(
  limits: WholeLimits,
  signal: AbortSignal,
  work: (over: AbortSignal) => Promise<T>,
): Promise<T> {
  const ended = new AbortController()
  const exceeded = new AbortController()
  const until = AbortSignal.any([signal, ended.signal])
  const watching = [watchTime(limits, until), watchDisk(limits, until), watchHost(limits, until)]
  for (const watch of watching) watch.then(error => error && exceeded.abort(error)).catch(() => {})
  try {
    return await work(AbortSignal.any([signal, exceeded.signal]))
  } catch (error) {
    throw exceeded.signal.aborted && !signal.aborted ? exceeded.signal.reason : error
  } finally {
    ended.abort()
    await Promise.allSettled(watching)
  }
}

async function watchTime({ timeoutMs, clock }: WholeLimits, until: AbortSignal): Promise<SlipwayError | undefined> {
  if (timeoutMs === undefined) return undefined
  await clock.sleep(timeoutMs, until)
  if (until.aborted) return undefined
  const message = `The build was ended after the ${formatDuration(timeoutMs)} that it may take: ask for more with "timeout", or make it faster.`
  return new SlipwayError('build.timed-out', message, { facts: { timeoutMs } })
}

async function watchDisk(
  { diskBytes, measure, clock }: WholeLimits,
  until: AbortSignal,
): Promise<SlipwayError | undefined> {
  if (diskBytes === undefined) return undefined
  for (let sleepMs = MEASURE_EVERY_MS; ; ) {
    await clock.sleep(sleepMs, until)
    if (until.aborted) return undefined
    const startedAt = clock.now()
    const bytes = await measure().catch(() => 0) // Files come and go under the walk.
    if (bytes > diskBytes) return diskExceeded(bytes, diskBytes)
    sleepMs = Math.max(MEASURE_EVERY_MS, (clock.now() - startedAt) * SHARE_OF_MEASURING)
  }
}

async function watchHost(
  { requireReserve, clock }: WholeLimits,
  until: AbortSignal,
): Promise<SlipwayError | undefined> {
  for (;;) {
    await clock.sleep(LOOK_EVERY_MS, until)
    if (until.aborted) return undefined
    try {
      requireReserve()
    } catch (error) {
      if (error instanceof SlipwayError) return error
      throw error
    }
  }
}

export function diskExceeded(bytes: number, diskBytes: number): SlipwayError {
  const message = `The build has written ${sizeInWords(bytes)}, and may write ${sizeInWords(diskBytes)}: ask for more with "disk", or keep less.`
  return new SlipwayError('build.disk-exceeded', message, { facts: { bytes, diskBytes } })
}

/** Rejects as soon as `signal` says so; the work itself goes on unseen, since others may wait for it too. */
export async function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const aborted = Promise.withResolvers<never>()
  const stop = () => aborted.reject(signal.reason)
  signal.addEventListener('abort', stop, { once: true })
  if (signal.aborted) stop()
  try {
    return await Promise.race([aborted.promise, work])
  } finally {
    signal.removeEventListener('abort', stop)
  }
}
