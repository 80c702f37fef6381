import { ALL_CAPABILITIES } from '#shared/domain/capabilities.ts'
import type { HostAbilities } from '#shared/domain/host-abilities.ts'
import { cgroupVersion } from '../host/cgroup.ts'
import { cgroupFiles, cpusets } from '../host/cgroup-limits.ts'
import { boundingSet, hardLimits, hasApparmor, ownOomScore } from '../host/own-limits.ts'
import { lackingLimits } from '../runtime/lacking-limits.ts'

export interface AllowedHere {
  /** Paths below /dev; one that ends in `/*` means each device directly in that folder. */
  devices: readonly string[]
  isPrivilegedAllowed: boolean
}

/** No more than what each container has anyway. */
export const HARMLESS_DEVICES = ['null', 'zero', 'full', 'random', 'urandom', 'tty'].map(name => `/dev/${name}`)

/** What this host can do for containers: its kernel, what its agent has, what its operator allows. A few small reads. */
export function hostAbilities(
  instance: string,
  allowed: AllowedHere,
  found: Pick<HostAbilities, 'apparmorProfile' | 'usernsRefusal'>,
): HostAbilities {
  const bits = new Set(boundingSet())
  return {
    lacks: lackingLimits(cgroupVersion(), cgroupFiles(instance)),
    ...cpusets(),
    ulimits: hardLimits(),
    capabilities: ALL_CAPABILITIES.filter((_, bit) => bits.has(bit)),
    devices: [...new Set([...HARMLESS_DEVICES, ...allowed.devices])],
    isPrivilegedAllowed: allowed.isPrivilegedAllowed,
    apparmor: hasApparmor(),
    ...found,
  }
}

/**
 * The score of processes that ask for none: 0, whatever the agent's own is. Only who has CAP_SYS_RESOURCE may go below what
 * was inherited.
 */
export function defaultOomScore({ capabilities }: Pick<HostAbilities, 'capabilities'>): number {
  return capabilities.includes('CAP_SYS_RESOURCE') ? 0 : Math.max(0, ownOomScore())
}
