import type { RestartPolicy } from '#shared/domain/container.ts'

const FIRST_DELAY_MS = 100
const MAX_DELAY_MS = 60_000
/** A run of this length was a good one: the back-off begins anew (Docker's rule). */
const GOOD_RUN_MS = 10_000

/** Whether a process that ended by itself is to be started again. Pure. */
export function restarts(policy: RestartPolicy, exitCode: number | undefined, attempts: number): boolean {
  switch (policy.kind) {
    case 'always':
    case 'unless-stopped':
      return true
    case 'on-failure':
      return (
        exitCode !== 0 && (policy.maxRetries === undefined || policy.maxRetries === 0 || attempts < policy.maxRetries)
      )
    case 'no':
      return false
  }
}

export function restartDelayMs(attempts: number): number {
  return Math.min(MAX_DELAY_MS, FIRST_DELAY_MS * 2 ** Math.min(attempts, 20))
}

/** Attempts that count after a run: none after a good one. */
export function attemptsAfter(attempts: number, startedAt: number | undefined, finishedAt: number): number {
  return startedAt !== undefined && finishedAt - startedAt >= GOOD_RUN_MS ? 0 : attempts
}
