import { SlipwayError, toFault } from '#shared/errors.ts'
import type { Failure } from '../reconcile/facts.ts'
import { restartDelayMs } from '../reconcile/restart.ts'

const FIRST_DELAY_MS = 1000

/** A failure that may pass is tried again after a growing delay; one that cannot is the end. Pure. */
export function failureAfter(last: Failure | undefined, error: unknown, now: number): Failure {
  const { code, message } = toFault(error)
  const tries = (last?.tries ?? 0) + 1
  const mayPass = error instanceof SlipwayError ? error.retry && code !== 'container.start-failed' : true
  const delayMs = Math.max(FIRST_DELAY_MS, restartDelayMs(tries))
  return { code, message, at: now, tries, ...(mayPass ? { retryAt: now + delayMs } : {}) }
}
