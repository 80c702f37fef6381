import { insertContainer } from '#control-plane/store/containers.ts'
import { insertHost } from '#control-plane/store/hosts.ts'
import type { ContainerId, HostId } from '#shared/domain/ids.ts'
import type { RegistryWorld } from './registry-world.ts'

/** A world's only container, named `web`, as the store has it: what the registry must leave alone. */
export async function runContainer(world: RegistryWorld, image: string, imageDigest: string): Promise<void> {
  const hostId = 'aaaaaaaaaaaaaaaa' as HostId
  await insertHost(world.ports.db, { id: hostId, name: 'one', createdAt: 1 }).onConflictDoNothing()
  const spec = { image, imageDigest } as Parameters<typeof insertContainer>[1]['spec']
  const row = { id: 'bbbbbbbbbbbbbbbb' as ContainerId, name: 'web', hostId, spec, addressIndex: 2, createdAt: 1 }
  await insertContainer(world.ports.db, { ...row, goal: { kind: 'created' } })
}
