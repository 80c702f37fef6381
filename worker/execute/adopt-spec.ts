import { join } from 'node:path'
import type { DesiredContainer } from '#shared/domain/container.ts'
import { cgroupRoot } from '#worker/host/cgroup.ts'
import { setLimits } from '#worker/host/live-limits.ts'
import { readRecord, writeRecord } from '../observe/container-record.ts'
import { limitsKey } from '../reconcile/live-spec.ts'
import { limitsOf } from '../runtime/resources.ts'
import { failureAfter } from './failure.ts'
import type { HostPorts } from './ports.ts'

/**
 * Makes what changed in a container's spec hold for the run that goes on: its limits in the kernel, all else by the record, from
 * which it is begun again should it end before an update. Limits that cannot be had yet are remembered, and tried again.
 */
export async function adoptSpec(ports: HostPorts, { id, spec }: DesiredContainer): Promise<void> {
  const folder = join(ports.containersFolder, id)
  const record = await readRecord(folder)
  const { limitsFailure, ...rest } = record
  const key = limitsKey(spec)
  try {
    if (!record.spec || limitsKey(record.spec) !== key) {
      await setLimits(`${cgroupRoot(ports.instance)}/${id}`, limitsOf(spec.resources))
    }
  } catch (error) {
    const last = limitsFailure?.limits === key ? limitsFailure : undefined
    const failure = { ...failureAfter(last, error, ports.clock.now()), limits: key }
    return writeRecord(folder, { ...rest, limitsFailure: failure })
  }
  await writeRecord(folder, { ...rest, spec })
}
