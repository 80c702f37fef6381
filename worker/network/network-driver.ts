import type { Endpoint } from '#shared/domain/container.ts'
import type { PublishedPort } from '#shared/domain/port.ts'

/**
 * Networks of one host: a bridge, a network namespace per container and one nftables table of our own. Names are made
 * from the owner's id, so everything is found again in the kernel: no state in memory.
 * All drivers pass `network-driver.contract.ts`.
 */
export interface NetworkDriver {
  /** The bridge, its address, forwarding, NAT and the empty tables. Idempotent; run before any attach and at each full pass. */
  ensureHost(network: HostNetwork): Promise<void>
  /**
   * The namespace of container `id` with an interface at `endpoint`, its ports published. Idempotent.
   * `firstId`: it belongs to a user namespace with the ids from there on. Errors: `port.taken-on-host` when a process of the host holds
   * a port.
   */
  attach(id: string, endpoint: Endpoint, ports: readonly PublishedPort[], firstId?: number): Promise<Attachment>
  /** Takes ports, interface and namespace away. One that is not there is no error. */
  detach(id: string): Promise<void>
  /** Whether a namespace of this id is there: one look, no list. */
  isAttached(id: string): boolean
  /** Every id that owns a namespace, an interface or a published port of ours. */
  list(): Promise<AttachmentInfo[]>
  /** Removes everything of this driver from the host: all attachments, bridge and table. */
  removeHost(): Promise<void>
}

/** The last part of addresses at the end of a host's /24, which the API gives to no container: RUN steps and fetches of builds have them. */
export const BUILD_ADDRESSES = { first: 240, last: 254 }

/** Where builds may go: `public` is the Internet alone. */
export type BuildReach = 'public' | 'private'

export interface HostNetwork {
  subnet: string
  gateway: string
  prefixLength: number
}

export interface Attachment {
  /** Path of the network namespace, as a runtime joins it. */
  netns: string
}

export interface AttachmentInfo {
  id: string
  netns: string | undefined
  ports: PublishedPort[]
}
