/** capabilities(7), all of Linux 6. */
export const ALL_CAPABILITIES = [
  ...['CHOWN', 'DAC_OVERRIDE', 'DAC_READ_SEARCH', 'FOWNER', 'FSETID', 'KILL', 'SETGID', 'SETUID', 'SETPCAP'],
  ...['LINUX_IMMUTABLE', 'NET_BIND_SERVICE', 'NET_BROADCAST', 'NET_ADMIN', 'NET_RAW', 'IPC_LOCK', 'IPC_OWNER'],
  ...['SYS_MODULE', 'SYS_RAWIO', 'SYS_CHROOT', 'SYS_PTRACE', 'SYS_PACCT', 'SYS_ADMIN', 'SYS_BOOT', 'SYS_NICE'],
  ...['SYS_RESOURCE', 'SYS_TIME', 'SYS_TTY_CONFIG', 'MKNOD', 'LEASE', 'AUDIT_WRITE', 'AUDIT_CONTROL', 'SETFCAP'],
  ...['MAC_OVERRIDE', 'MAC_ADMIN', 'SYSLOG', 'WAKE_ALARM', 'BLOCK_SUSPEND', 'AUDIT_READ', 'PERFMON', 'BPF'],
  'CHECKPOINT_RESTORE',
].map(name => `CAP_${name}`)

/** What a container may do unless it asks for more: Docker's documented defaults (docs.docker.com, "Runtime privilege and Linux capabilities"). */
export const DEFAULT_CAPABILITIES: readonly string[] = [
  'CAP_AUDIT_WRITE',
  'CAP_CHOWN',
  'CAP_DAC_OVERRIDE',
  'CAP_FOWNER',
  'CAP_FSETID',
  'CAP_KILL',
  'CAP_MKNOD',
  'CAP_NET_BIND_SERVICE',
  'CAP_NET_RAW',
  'CAP_SETFCAP',
  'CAP_SETGID',
  'CAP_SETPCAP',
  'CAP_SETUID',
  'CAP_SYS_CHROOT',
]

export const ALL = 'ALL'

/** `net_admin` and `CAP_NET_ADMIN` are one; `ALL` is every one. Undefined: there is none of this name. Pure. */
export function capabilityOf(name: string): string | undefined {
  const upper = name.toUpperCase()
  if (upper === ALL || upper === `CAP_${ALL}`) return ALL
  const full = upper.startsWith('CAP_') ? upper : `CAP_${upper}`
  return ALL_CAPABILITIES.includes(full) ? full : undefined
}

export interface CapabilityWishes {
  capAdd?: string[] | undefined
  capDrop?: string[] | undefined
  privileged?: boolean | undefined
}

/**
 * The capabilities of a container's first set, as Docker computes them: `ALL` is taken first, then the names of the other list.
 * What is in both lists is there. Pure.
 */
export function capabilitiesOf({ capAdd = [], capDrop = [], privileged }: CapabilityWishes): string[] {
  const dropsAll = capDrop.includes(ALL)
  const base = privileged || (capAdd.includes(ALL) && !dropsAll) ? ALL_CAPABILITIES : DEFAULT_CAPABILITIES
  const kept = dropsAll ? [] : base.filter(name => !capDrop.includes(name))
  const added = capAdd.includes(ALL) && dropsAll ? ALL_CAPABILITIES : capAdd.filter(name => name !== ALL)
  return [...new Set([...kept, ...added])].sort()
}
