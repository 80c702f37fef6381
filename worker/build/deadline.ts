import { SlipwayError } from '#shared/errors.ts'

const MINUTE_MS = 60_000

/** What outlives its deadline ends as a failure of the step that names it; a cancel stays a cancel. */
export async function withinDeadline<T>(
  deadlineMs: number,
  signal: AbortSignal,
  work: (over: AbortSignal) => Promise<T>,
): Promise<T> {
  const deadline = AbortSignal.timeout(deadlineMs)
  try {
    return await work(AbortSignal.any([signal, deadline]))
  } catch (cause) {
    if (signal.aborted || !deadline.aborted) throw cause
    const message = `The command was ended after ${deadlineMs / MINUTE_MS} minutes: no RUN may take longer.`
    throw new SlipwayError('build.step-failed', message, { cause, facts: { deadlineMs } })
  }
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
