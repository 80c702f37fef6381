import { join } from 'node:path'
import type { DesiredContainer } from '#shared/domain/container.ts'
import type { ContainerId } from '#shared/domain/ids.ts'
import { readRecord, writeRecord } from '../observe/container-record.ts'
import { isStale } from '../reconcile/facts.ts'
import type { HostPorts } from './ports.ts'

/**
 * Tells a run to end, and remembers when, so that its timeout survives the agent. In this order: an agent that dies in
 * between tells it twice, which ends it all the same, and a full disk keeps nothing from being told.
 */
export async function sendStop(ports: HostPorts, want: DesiredContainer, signal: string): Promise<void> {
  const { id } = want
  const folder = join(ports.containersFolder, id)
  const begun = await readRecord(folder)
  // An update may name another image and another signal than those of what runs.
  const spec = isStale(want.spec, begun) ? begun.spec : want.spec
  const running = begun.imageDigest ?? want.spec.imageDigest
  const ofImage = async () => (await ports.images.find(running))?.config.config?.StopSignal
  const own = signal || spec?.stopSignal || (await ofImage()) || 'SIGTERM'
  await ports.runtime.kill(id, /^SIG/.test(own) || /^\d+$/.test(own) ? own : `SIG${own}`)
  const record = await readRecord(folder)
  if (record.stopSentAt === undefined) await writeRecord(folder, { ...record, stopSentAt: ports.clock.now() })
}

/** At most once: remembered before it is sent, since a signal such as SIGHUP or SIGUSR1 twice may do harm. */
export async function sendSignal(ports: HostPorts, id: ContainerId, signal: string, seq: number): Promise<void> {
  const folder = join(ports.containersFolder, id)
  await writeRecord(folder, { ...(await readRecord(folder)), signalSeq: seq })
  await ports.runtime.kill(id, signal)
}
