import { join } from 'node:path'
import type { ContainerSpec } from '#shared/domain/container.ts'
import { SlipwayError } from '#shared/errors.ts'
import { readRecord, writeRecord } from '../observe/container-record.ts'
import { isStale } from '../reconcile/facts.ts'
import type { HostPorts } from './ports.ts'

/**
 * Takes the files of what an updated container was before; its log stays. The record says so afterwards: whoever dies in between
 * does it again, and before that no run begins. Idempotent. Errors: `container.files-in-use` while somebody reads them.
 */
export async function resetContainer(ports: HostPorts, id: string, revision: number): Promise<void> {
  const folder = join(ports.containersFolder, id)
  requireUnread(ports, id)
  using _ = ports.holds.close(id)
  await ports.network.detach(id)
  await ports.snapshots.remove(id)
  await writeRecord(folder, { ...(await readRecord(folder)), revision, spec: undefined, failure: undefined })
}

/** Errors: `container.files-in-use`. */
export function requireUnread({ holds }: Pick<HostPorts, 'holds'>, id: string): void {
  if (!holds.isHeld(id)) return
  throw new SlipwayError('container.files-in-use', `The files of ${id} are being read: its update waits for that.`)
}

/** `resetContainer` where an update is to begin. */
export async function resetStale(
  ports: HostPorts,
  { id, spec }: { id: string; spec: Pick<ContainerSpec, 'revision'> },
): Promise<void> {
  const record = await readRecord(join(ports.containersFolder, id))
  if (isStale(spec, record)) await resetContainer(ports, id, spec.revision ?? 0)
}
