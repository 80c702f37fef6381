import type { RunStep } from '../dockerfile/step.ts'
import type { OciMount, OciRuntimeConfig } from '../runtime/oci-config.ts'

/** capabilities(7), all of them. */
const ALL_CAPABILITIES = [
  ...['CHOWN', 'DAC_OVERRIDE', 'DAC_READ_SEARCH', 'FOWNER', 'FSETID', 'KILL', 'SETGID', 'SETUID', 'SETPCAP'],
  ...['LINUX_IMMUTABLE', 'NET_BIND_SERVICE', 'NET_BROADCAST', 'NET_ADMIN', 'NET_RAW', 'IPC_LOCK', 'IPC_OWNER'],
  ...['SYS_MODULE', 'SYS_RAWIO', 'SYS_CHROOT', 'SYS_PTRACE', 'SYS_PACCT', 'SYS_ADMIN', 'SYS_BOOT', 'SYS_NICE'],
  ...['SYS_RESOURCE', 'SYS_TIME', 'SYS_TTY_CONFIG', 'MKNOD', 'LEASE', 'AUDIT_WRITE', 'AUDIT_CONTROL', 'SETFCAP'],
  ...['MAC_OVERRIDE', 'MAC_ADMIN', 'SYSLOG', 'WAKE_ALARM', 'BLOCK_SUSPEND', 'AUDIT_READ', 'PERFMON', 'BPF'],
  'CHECKPOINT_RESTORE',
].map(name => `CAP_${name}`)

interface Around {
  mounts: readonly OciMount[]
  network: RunStep['network']
  security: RunStep['security']
}

/** A command's configuration with its mounts, and with what it was allowed to ask for besides. Pure. */
export function withAround(config: OciRuntimeConfig, { mounts, network, security }: Around): OciRuntimeConfig {
  const { namespaces } = config.linux
  const kept = network === 'host' ? namespaces.filter(({ type }) => type !== 'network') : namespaces
  // Of the host's network a container may not change these.
  const sysctl = network === 'host' ? {} : config.linux.sysctl
  const whole = {
    ...config,
    mounts: [...config.mounts, ...mounts],
    linux: { ...config.linux, namespaces: kept, sysctl },
  }
  return security === 'insecure' ? insecure(whole) : whole
}

/** As BuildKit has it: all capabilities and devices, nothing hidden and no call refused. */
function insecure(config: OciRuntimeConfig): OciRuntimeConfig {
  const { linux, process } = config
  const capabilities = { bounding: ALL_CAPABILITIES, effective: ALL_CAPABILITIES, permitted: ALL_CAPABILITIES }
  return {
    ...config,
    process: { ...process, capabilities, noNewPrivileges: false },
    linux: {
      ...linux,
      maskedPaths: [],
      readonlyPaths: [],
      seccomp: { defaultAction: 'SCMP_ACT_ALLOW', architectures: [], syscalls: [] },
      resources: { ...linux.resources, devices: [{ allow: true, access: 'rwm' }] },
    },
  }
}
