import type { Random } from '#shared/domain/ids.ts'
import type { BlobStore } from '#shared/ports/blob-store.ts'
import type { Clock } from '#shared/ports/clock.ts'
import type { ForgeApi } from '#shared/ports/forge-api.ts'
import type { MessageBus } from '#shared/ports/message-bus.ts'
import type { Upstreams } from '#shared/ports/upstreams.ts'
import type { BuildPolicy } from './intent/build-limits.ts'
import type { DeliveryRoom } from './intent/delivery-room.ts'
import type { SecretBox } from './intent/secret-box.ts'
import type { BuildCacheBounds } from './registry/build-cache-bounds.ts'
import type { Share } from './registry/share.ts'
import type { Database } from './store/database.ts'

/** What the app needs of the world. `main.node.ts` makes one for the process, `main.workers.ts` one a request. */
export interface Ports {
  db: Database
  blobs: BlobStore
  bus: MessageBus
  clock: Clock
  random: Random
  config: Config
  upstreams: Upstreams
  forges: ForgeApi
  secrets: SecretBox
  share: Share
  deliveries: DeliveryRoom
  /** Before work that may as well begin later. Errors: `host.disk-full` where the records have room for what ends work alone. */
  requireRoom(): void
  /** Work that the answer does not wait for: it gets some seconds, and its failure is noted. */
  later(work: () => Promise<void>): void
  /** A line for whoever runs this, of something that went another way than it should and was not a failure. */
  note(what: string, facts: Record<string, unknown>): void
}

export interface Config {
  /** Where clients and agents reach this API, without a slash at the end. */
  publicUrl: string
  /** IPv4 pool that hosts' /24 subnets are cut from, such as `10.86.0.0/16`. */
  addressPool: string
  /** What the registry said is here stays for so long, whether or not anything needs it yet. */
  registryGraceMs: number
  /** Slices of the registry that one request goes through, a few statements each: an edge function may ask only so often. */
  registrySteps: number
  builds: BuildPolicy
  /** Bounds of the build cache that hosts share. */
  buildCache: BuildCacheBounds
}
