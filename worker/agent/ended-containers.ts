import { type DesiredContainer, expiresAt } from '#shared/domain/container.ts'
import { logBytes, type StorePorts } from '../observe/store-facts.ts'
import type { ContainerFacts } from '../reconcile/facts.ts'
import type { EndedContainers } from '../reconcile/plan-reclaim.ts'
import { observedState } from '../reconcile/status.ts'

export interface EndedPorts {
  ports: Pick<StorePorts, 'snapshots' | 'containersFolder'>
  wanted(): readonly DesiredContainer[]
  observe(want: DesiredContainer): Promise<ContainerFacts>
}

/**
 * Containers that have ended, were kept for their time and are read by nobody, and what is leaving already. Walks what
 * they wrote: for when room is needed.
 */
export async function endedContainers(options: EndedPorts, now: number): Promise<EndedContainers> {
  const { ports, wanted, observe } = options
  const bytesOf = async ({ id }: DesiredContainer) => {
    const size = await ports.snapshots.snapshotSize(id).catch(() => undefined) // It may be gone meanwhile.
    return (size?.takenBytes ?? 0) + (await logBytes(ports, id))
  }
  const found: EndedContainers = { expired: [], leavingBytes: 0 }
  for (const want of wanted()) {
    if (want.goal.kind === 'removed') found.leavingBytes += await bytesOf(want)
    if (want.spec.keepForMs === undefined) continue
    const facts = await observe(want)
    const status = observedState(want, facts)
    const at = expiresAt(want.spec, want.goal, status)
    if (at === undefined || at > now || facts.isRead || status.state !== 'exited') continue
    found.expired.push({ id: want.id, finishedAt: status.finishedAt, bytes: await bytesOf(want) })
  }
  return found
}
