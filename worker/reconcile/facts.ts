import type { ErrorCode } from '#shared/errors.ts'

/** What is on the host of one container, read from the kernel, the runtime's files and the container's record. */
export interface ContainerFacts {
  /** State of the runtime: the process of the present run. */
  process:
    | { state: 'absent' }
    | { state: 'created'; pid: number }
    | { state: 'running'; pid: number; startedAt: number }
    | { state: 'paused'; pid: number; startedAt: number }
    | { state: 'exited'; exitCode: number | undefined; startedAt: number | undefined; finishedAt: number }
  /** It has a network namespace, and so addresses and published ports. */
  isAttached: boolean
  /** Anything else of it: folder, snapshot, network. */
  hasRemains: boolean
  record: ContainerRecord
}

/** What the agent must remember of a container over its own death; everything else is seen. Kept in the container's folder. */
export interface ContainerRecord {
  /** The run that was begun last; 0 before the first. Written before the run is begun. */
  run: number
  restarts: number
  /** Starts in a row by the restart policy, for its back-off. */
  attempts: number
  /** When the stop signal was sent to this run; undefined when it was not. */
  stopSentAt?: number | undefined
  /** The last `SignalOrder` delivered. */
  signalSeq: number
  /** The present run could not be begun: why, and when to try again (never, when undefined). */
  failure?: { code: ErrorCode; message: string; at: number; retryAt?: number | undefined } | undefined
}

export const NEW_RECORD: ContainerRecord = { run: 0, restarts: 0, attempts: 0, signalSeq: 0 }
