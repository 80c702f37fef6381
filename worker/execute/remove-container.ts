import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { HostPorts } from './ports.ts'
import { unmountUnlessHeld } from './snapshot-holds.ts'

/** Network and mount of an ended run go, the mount when nobody reads it any more; log and writable layer stay. */
export async function releaseContainer(ports: HostPorts, id: string): Promise<void> {
  await ports.network.detach(id)
  await unmountUnlessHeld(ports, id)
}

/** Everything of an id, in the order in which one holds the other; each step passes when there is nothing. */
export async function removeContainer(ports: HostPorts, id: string): Promise<void> {
  ports.fetches.forget(id)
  using _ = ports.holds.close(id) // Whoever came to read them now would make new ones, and find them empty.
  await ports.runtime.delete(id)
  await ports.network.detach(id)
  await ports.snapshots.remove(id)
  await ports.secrets.remove(id)
  // The folder last: while it is there, the container is not gone. A health check may be at its last word in it.
  await rm(join(ports.containersFolder, id), { recursive: true, force: true, maxRetries: 3 })
}
