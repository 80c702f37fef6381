/** The file of a cgroup that keeps a limit; of several, any. Undefined: this version has none of the kind. */
type Keepers = Record<string, readonly string[] | undefined>

const throttles = (v1: string, v2: string) => ({ v1: [`blkio.throttle.${v1}_device`], v2: [v2] })
/** Those that crun writes: of cgroup v1's weights it does not know BFQ's own. */
const KEEPERS: Record<string, { v1: readonly string[]; v2: readonly string[] | undefined }> = {
  memory: { v1: ['memory.limit_in_bytes'], v2: ['memory.max'] },
  memorySwap: { v1: ['memory.memsw.limit_in_bytes'], v2: ['memory.swap.max'] },
  memoryReservation: { v1: ['memory.soft_limit_in_bytes'], v2: ['memory.low'] },
  memorySwappiness: { v1: ['memory.swappiness'], v2: undefined },
  oomKillDisable: { v1: ['memory.oom_control'], v2: undefined },
  cpus: { v1: ['cpu.cfs_quota_us'], v2: ['cpu.max'] },
  cpuQuota: { v1: ['cpu.cfs_quota_us'], v2: ['cpu.max'] },
  cpuPeriod: { v1: ['cpu.cfs_period_us'], v2: ['cpu.max'] },
  cpuShares: { v1: ['cpu.shares'], v2: ['cpu.weight'] },
  cpusetCpus: { v1: ['cpuset.cpus'], v2: ['cpuset.cpus'] },
  cpusetMems: { v1: ['cpuset.mems'], v2: ['cpuset.mems'] },
  pidsLimit: { v1: ['pids.max'], v2: ['pids.max'] },
  blkioWeight: { v1: ['blkio.weight'], v2: ['io.weight', 'io.bfq.weight'] },
  deviceReadBps: throttles('read_bps', 'io.max'),
  deviceWriteBps: throttles('write_bps', 'io.max'),
  deviceReadIops: throttles('read_iops', 'io.max'),
  deviceWriteIops: throttles('write_iops', 'io.max'),
}

const HINTS: Record<string, string> = {
  memorySwap: 'the kernel of this host counts no swap (start it with swapaccount=1); leave it out',
}

/** Limits that a host cannot keep, with why, from the files that its cgroups have. Pure. */
export function lackingLimits(version: 'v1' | 'v2', files: ReadonlySet<string>): Record<string, string> {
  const keepers: Keepers = Object.fromEntries(Object.entries(KEEPERS).map(([name, kept]) => [name, kept[version]]))
  const lacking = Object.entries(keepers).flatMap(([name, kept]) => {
    if (kept === undefined) return [[name, 'cgroup v2, which this host has, knows no such limit; leave it out']]
    if (kept.some(file => files.has(file))) return []
    return [
      [name, HINTS[name] ?? `the kernel of this host keeps no such limit (no ${kept.join(' or ')}); leave it out`],
    ]
  })
  return Object.fromEntries(lacking)
}
