import type { BuildId, HostId } from '#shared/domain/ids.ts'
import { BUILD_QUEUE, SUBJECTS } from '#shared/protocol/bus.ts'
import type { Ports } from '../ports.ts'

/** Rings are best effort: whoever misses one polls. A bus that is down never fails or delays a request. */

/** Says to one agent that a build waits; repeats are one message. */
export async function ringBuildQueue({ bus }: Ports, id: BuildId): Promise<void> {
  await bus.enqueue(BUILD_QUEUE, new TextEncoder().encode(id), id).catch(() => {})
}

/** Says no more than "read again": what changed is read from the API. */
export function ringHost(ports: Ports, id: HostId): Promise<void> {
  return ring(ports, SUBJECTS.hostDoorbell(id), '')
}

export async function ringChanged(
  ports: Ports,
  kind: 'container' | 'build' | 'host',
  ids: readonly string[],
): Promise<void> {
  await Promise.all(ids.map(id => ring(ports, SUBJECTS.changed(kind, id), '')))
}

export function ringEvents(ports: Ports): Promise<void> {
  return ring(ports, SUBJECTS.events, '')
}

async function ring(ports: Ports, subject: string, text: string): Promise<void> {
  try {
    await ports.bus.publish(subject, new TextEncoder().encode(text))
  } catch {
    // Not heard: the agent's next poll or the reader's next look finds it.
  }
}
