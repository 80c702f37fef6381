import type { DesiredContainer } from '#shared/domain/container.ts'
import type { ContainerId } from '#shared/domain/ids.ts'

/** Everything an agent can do to its host. Each is idempotent; `execute/` has a file for each. */
export type ContainerAction =
  /** Has the image fetched in the background; the container is looked at again when that ends. */
  | { kind: 'fetchImage'; want: DesiredContainer }
  /** Begins a run from its image: snapshot, network, process. */
  | { kind: 'runContainer'; want: DesiredContainer; run: number; attempts: number; restarts: number }
  /** Makes what a container needs without running it. */
  | { kind: 'prepareContainer'; want: DesiredContainer }
  /** Starts a process that a killed agent left created. */
  | { kind: 'startProcess'; id: ContainerId }
  /** Remembers when the end of a run was noticed that nobody saw. */
  | { kind: 'noteEnd'; id: ContainerId }
  /** Remembers that the kernel killed processes of a run for its memory: the next run takes the count away. */
  | { kind: 'noteOutOfMemory'; id: ContainerId }
  /** Makes what changed in the spec hold for the run that goes on. */
  | { kind: 'adoptSpec'; want: DesiredContainer }
  | { kind: 'sendStop'; id: ContainerId; signal: string }
  | { kind: 'sendSignal'; id: ContainerId; signal: string; seq: number }
  | { kind: 'pauseProcess'; id: ContainerId }
  | { kind: 'resumeProcess'; id: ContainerId }
  /** Takes network and mount of an ended run away; log and writable layer stay. */
  | { kind: 'releaseContainer'; id: ContainerId }
  /** Takes the files of a container away that was updated and does not run: it begins anew. */
  | { kind: 'resetContainer'; id: ContainerId; revision: number }
  | { kind: 'removeContainer'; id: ContainerId }

/** What to do now, and when to look again should nothing happen before. */
export interface ContainerPlan {
  actions: ContainerAction[]
  lookAgainAt?: number
}
