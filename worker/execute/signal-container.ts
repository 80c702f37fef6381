import { join } from 'node:path'
import type { Digest } from '#shared/digest.ts'
import type { ContainerId } from '#shared/domain/ids.ts'
import { readRecord, writeRecord } from '../observe/container-record.ts'
import type { HostPorts } from './ports.ts'

/**
 * Tells a run to end. When it was told first is remembered, so that its timeout survives the agent; but only after it was
 * told: an agent that dies in between tells it twice, one that remembered too early would let it be killed untold.
 */
export async function sendStop(ports: HostPorts, id: ContainerId, signal: string, imageDigest: Digest): Promise<void> {
  const folder = join(ports.containersFolder, id)
  const record = await readRecord(folder)
  const own = signal || (await ports.images.find(imageDigest))?.config.config?.StopSignal || 'SIGTERM'
  await ports.runtime.kill(id, /^SIG/.test(own) || /^\d+$/.test(own) ? own : `SIG${own}`)
  if (record.stopSentAt === undefined) await writeRecord(folder, { ...record, stopSentAt: ports.clock.now() })
}

/** At most once: remembered before it is sent, since a signal such as SIGHUP or SIGUSR1 twice may do harm. */
export async function sendSignal(ports: HostPorts, id: ContainerId, signal: string, seq: number): Promise<void> {
  const folder = join(ports.containersFolder, id)
  await writeRecord(folder, { ...(await readRecord(folder)), signalSeq: seq })
  await ports.runtime.kill(id, signal)
}
