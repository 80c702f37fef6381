import type { HostAbilities } from '#shared/domain/host-abilities.ts'
import type { SeccompProfile } from '#shared/domain/seccomp-profile.ts'
import type { Clock } from '#shared/ports/clock.ts'
import type { ImageStore } from '../image/image-store.ts'
import type { HostNetwork, NetworkDriver } from '../network/network-driver.ts'
import type { ExecRuntime } from '../runtime/exec-runtime.ts'
import type { OciRuntime } from '../runtime/oci-runtime.ts'
import type { Snapshotter } from '../snapshot/snapshotter.ts'
import type { ImageFetches } from './image-fetches.ts'
import type { SecretFiles } from './secret-files.ts'
import type { SnapshotHolds } from './snapshot-holds.ts'

/** What executors need of the host. `main.ts` makes it once. */
export interface HostPorts {
  runtime: OciRuntime
  execs: ExecRuntime
  snapshots: Snapshotter
  holds: SnapshotHolds
  images: ImageStore
  fetches: ImageFetches
  network: NetworkDriver
  clock: Clock
  /** Holds a folder for each container. */
  containersFolder: string
  /** Holds a folder for each container that had processes run in it, and there one for each. A reboot may take it. */
  execFolder: string
  instance: string
  architecture: string
  seccomp: SeccompProfile
  maxOpenFiles: number
  abilities: HostAbilities
  /** Of processes that ask for none of their own. */
  oomScoreAdj: number
  secrets: SecretFiles
  /** Of this start of the machine. */
  bootId: string
  /** Path of the program that containers may have as their first; undefined where the host has none. */
  initProgram: string | undefined
  /** Throws `host.disk-full` where the disk is too full for new work (`disk-room.ts`). */
  requireRoom(): void
  /** Throws `host.disk-full` where it is so full that what runs must end. */
  requireReserve(): void
  /** Resolvers for containers, read anew at each start: hosts move between networks. */
  readResolvConf(): Promise<string>
}

export type { HostNetwork }
