import type { Digest } from '#shared/digest.ts'
import type { ContainerSpec, ObservedContainer } from '#shared/domain/container.ts'
import type { HealthPlan } from '#shared/domain/health.ts'
import type { ErrorCode } from '#shared/errors.ts'
import type { DependencyFacts } from './dependencies.ts'
import type { HealthState } from './health.ts'

/** What is on the host of one container, read from the kernel, the runtime's files and the container's record. */
export interface ContainerFacts {
  /** State of the runtime: the process of the present run. */
  process:
    | { state: 'absent' }
    | { state: 'created'; pid: number }
    | { state: 'running'; pid: number; startedAt: number }
    | { state: 'paused'; pid: number; startedAt: number }
    /** `finishedAt` is undefined where nobody saw the end: the monitor died before its container. */
    | {
        state: 'exited'
        exitCode: number | undefined
        startedAt: number | undefined
        finishedAt: number | undefined
        /** The kernel killed processes of it for its memory. */
        isOutOfMemory?: boolean
      }
  /** It stands still for a build that reads its files. */
  isHeld: boolean
  /** Somebody reads its files, a build or whoever asked for them: no update takes them meanwhile. */
  isRead: boolean
  image: ImageFacts
  /** It has a network namespace, and so addresses and published ports. */
  isAttached: boolean
  /** Anything else of it: folder, snapshot, network. */
  hasRemains: boolean
  record: ContainerRecord
  /** What its next run waits for. */
  dependencies?: readonly DependencyFacts[]
  /** Its last run was begun before the machine started. */
  isNewBoot?: boolean
  /** Of its process, where that is checked. */
  health?: HealthState | undefined
  /** What an update is to replace, as it was begun; undefined where it cannot be begun again: its image is gone. */
  replaced?: ContainerSpec | undefined
}

/** `fetching`: on its way in the background; the container is looked at again when that ends. */
export type ImageFacts =
  | { state: 'present' }
  | { state: 'absent' }
  | { state: 'fetching' }
  | { state: 'failed'; failure: Failure }

/** Why something could not be begun, and when to try again (never, when undefined). */
export interface Failure {
  code: ErrorCode
  message: string
  at: number
  /** Failures in a row, this one included. */
  tries: number
  retryAt?: number | undefined
}

/** What the agent must remember of a container over its own death; everything else is seen. Kept in the container's folder. */
export interface ContainerRecord {
  /** Of the spec whose files are here (`ContainerSpec.revision`). */
  revision?: number | undefined
  /** Of the present run, for as long as its files are here. */
  spec?: ContainerSpec | undefined
  /** The image of the present run, whose own stop signal counts. */
  imageDigest?: Digest | undefined
  /** The run that was begun last; 0 before the first. Written before the run is begun. */
  run: number
  restarts: number
  /** Starts in a row by the restart policy, for its back-off. Those that could not be begun are counted by `failure`. */
  attempts: number
  /** Written between making the process and letting it go: from here on, a process that is not there has ended. */
  begunAt?: number | undefined
  /** When the agent noticed the end of this run, should nobody have seen it: after a reboot, say. */
  endedAt?: number | undefined
  /** How the run before ended, told along with the present one. */
  lastEnd?: ObservedContainer['lastEnd']
  /** Of the machine's start in which the present run was begun. */
  bootId?: string | undefined
  /** Its host began the present run by itself, after a reboot (`revival.ts`). */
  isRevived?: boolean | undefined
  /** How the process of the present run is checked, with what its image says; undefined: not at all. */
  health?: HealthPlan | undefined
  /** As `process.isOutOfMemory` was, over a reboot. */
  isOutOfMemory?: boolean | undefined
  /** The limits asked for that the present run could not be given, and why. */
  limitsFailure?: (Failure & { limits: string }) | undefined
  /** When the stop signal was sent to this run; undefined when it was not. */
  stopSentAt?: number | undefined
  /** The last `SignalOrder` delivered. */
  signalSeq: number
  /** The present run could not be begun; whatever process is there is of an earlier one. */
  failure?: Failure | undefined
}

/** Whether the container was updated since its files were made. Pure. */
export function isStale({ revision = 0 }: Pick<ContainerSpec, 'revision'>, record: ContainerRecord): boolean {
  return (record.revision ?? 0) < revision
}

export const NEW_RECORD: ContainerRecord = { run: 0, restarts: 0, attempts: 0, signalSeq: 0 }
