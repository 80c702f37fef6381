import type { ContainerFacts } from './facts.ts'

/** How a run ended. Times are undefined where nobody saw them, the code where nobody kept it. */
export interface RunEnd {
  exitCode: number | undefined
  startedAt: number | undefined
  finishedAt: number | undefined
  /** The kernel killed processes of it for its memory. */
  isOutOfMemory: boolean
}

/** An exit code that nobody kept: the monitor was killed, or the machine went down. */
export const UNKNOWN_EXIT = 137

/**
 * The end of the present run; undefined while it goes on or has not begun. Runtime state is gone after a reboot: a run
 * that was begun and is not there any more has ended, how nobody knows. Pure.
 */
export function runEnd({ process, record }: Pick<ContainerFacts, 'process' | 'record'>): RunEnd | undefined {
  if (record.failure) return undefined // It never began.
  const isOutOfMemory = record.isOutOfMemory ?? false
  if (process.state === 'exited') {
    const { exitCode, startedAt = record.begunAt, finishedAt = record.endedAt } = process
    return { exitCode, startedAt, finishedAt, isOutOfMemory: isOutOfMemory || process.isOutOfMemory === true }
  }
  if (process.state !== 'absent' || record.begunAt === undefined) return undefined
  return { exitCode: undefined, startedAt: record.begunAt, finishedAt: record.endedAt, isOutOfMemory }
}
