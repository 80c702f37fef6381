import type { Resources } from '#shared/domain/resources.ts'
import type { CgroupLimits } from '#worker/host/live-limits.ts'
import { DEVICE_RULES } from './isolation.ts'
import type { OciBlockIo, OciResources, OciRlimit } from './oci-config.ts'

/** A block device of the host by its numbers. */
export interface BlockDevice {
  major: number
  minor: number
}

const DEFAULT_PIDS = 4096
const CPU_PERIOD_US = 100_000
const MOST_SOFT_FILES = 1024 * 1024

/**
 * Limits as runtime-spec 1.0 has them (config-linux.md, "Control groups"): cgroup v1's units, which runtimes convert for v2.
 * `blockDevices` has every device that they name. `limitsSwap` is false where the kernel counts no swap. Pure.
 */
export function ociResources(
  resources: Resources,
  blockDevices: ReadonlyMap<string, BlockDevice>,
  limitsSwap: boolean,
): OciResources {
  const memory = given({ ...memoryLimits(resources, limitsSwap) })
  const cpu = given({ ...cpuTime(resources), cpus: resources.cpusetCpus, mems: resources.cpusetMems })
  const blockIO = given(blockIo(resources, blockDevices))
  return {
    devices: DEVICE_RULES,
    pids: { limit: resources.pids ?? DEFAULT_PIDS },
    ...(memory ? { memory } : {}),
    ...(cpu ? { cpu } : {}),
    ...(blockIO ? { blockIO } : {}),
  }
}

/** Those that change while a container runs. Pure. */
export function limitsOf(resources: Resources): CgroupLimits {
  const { memoryBytes: limit, memorySwap: swap = limit } = resources
  const { period = CPU_PERIOD_US, quota } = cpuTime(resources)
  return {
    pids: { limit: resources.pids ?? DEFAULT_PIDS },
    ...(limit === undefined || swap === undefined ? {} : { memory: { limit, swap } }),
    ...(quota === undefined ? {} : { cpu: { period, quota } }),
  }
}

/** Swap counts in: unless it says otherwise, memory that may not be had as memory may not be had as swap either. */
function memoryLimits(resources: Resources, limitsSwap: boolean) {
  const { memoryBytes: limit, memorySwap = limit, memoryReservation, memorySwappiness, oomKillDisable } = resources
  return {
    limit,
    swap: limitsSwap ? memorySwap : undefined,
    reservation: memoryReservation,
    swappiness: memorySwappiness,
    disableOOMKiller: oomKillDisable || undefined,
  }
}

function cpuTime({ cpus, cpuShares: shares, cpuPeriod, cpuQuota }: Resources) {
  if (cpus === undefined) return { shares, period: cpuPeriod, quota: cpuQuota }
  return { shares, period: CPU_PERIOD_US, quota: Math.max(1000, Math.round(cpus * CPU_PERIOD_US)) }
}

function blockIo(resources: Resources, devices: ReadonlyMap<string, BlockDevice>): OciBlockIo {
  const rates = (asked: Record<string, number> | undefined) =>
    asked && Object.entries(asked).flatMap(([path, rate]) => ({ ...(devices.get(path) ?? []), rate }) as OciRate)
  return {
    weight: resources.blkioWeight,
    throttleReadBpsDevice: rates(resources.deviceReadBps),
    throttleWriteBpsDevice: rates(resources.deviceWriteBps),
    throttleReadIOPSDevice: rates(resources.deviceReadIops),
    throttleWriteIOPSDevice: rates(resources.deviceWriteIops),
  }
}
type OciRate = BlockDevice & { rate: number }

/** The block devices that limits name. Pure. */
export function blockDevicesOf(resources: Resources): string[] {
  const { deviceReadBps, deviceWriteBps, deviceReadIops, deviceWriteIops } = resources
  const records = [deviceReadBps, deviceWriteBps, deviceReadIops, deviceWriteIops]
  return [...new Set(records.flatMap(record => Object.keys(record ?? {})))]
}

/** -1 is unlimited: `config-text.ts` writes it as runtimes read it. */
export function rlimits({ ulimits = {} }: Resources, maxOpenFiles: number): OciRlimit[] {
  const files = { soft: Math.min(MOST_SOFT_FILES, maxOpenFiles), hard: maxOpenFiles }
  return Object.entries({ nofile: files, ...ulimits }).map(([name, { soft, hard }]) => ({
    type: `RLIMIT_${name.toUpperCase()}`,
    hard,
    soft,
  }))
}

function given<T extends object>(record: T): T | undefined {
  const entries = Object.entries(record).filter(([, value]) => value !== undefined)
  return entries.length > 0 ? (Object.fromEntries(entries) as T) : undefined
}
