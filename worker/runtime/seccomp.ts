import { readFile } from 'node:fs/promises'
import { type SeccompProfile, seccompProfileSchema } from '#shared/domain/seccomp-profile.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { OciSeccomp, OciSyscall } from './oci-config.ts'

/** The default profile is Debian's (golang-github-containers-common), in the form that Docker and Podman share. */
export const DEFAULT_PROFILE = '/usr/share/containers/seccomp.json'

const ARCHITECTURES: Record<string, string> = { amd64: 'SCMP_ARCH_X86_64', arm64: 'SCMP_ARCH_AARCH64' }

export async function readSeccompProfile(path: string): Promise<SeccompProfile> {
  try {
    return asStrictAsDockers(seccompProfileSchema.parse(JSON.parse(await readFile(path, 'utf8'))))
  } catch (cause) {
    throw new SlipwayError(
      'host.kernel-refused',
      `The seccomp profile ${path} cannot be read: apt-get install golang-github-containers-common.`,
      { cause },
    )
  }
}

const SYS_ADMIN = { caps: ['CAP_SYS_ADMIN'] }
/** Calls that Docker's default profile allows whoever has CAP_SYS_ADMIN, and nobody else. */
const ADMIN_CALLS = [
  ...['bpf', 'fanotify_init', 'fsconfig', 'fsmount', 'fsopen', 'fspick', 'lookup_dcookie', 'mount', 'mount_setattr'],
  ...['move_mount', 'open_tree', 'perf_event_open', 'quotactl', 'quotactl_fd', 'setdomainname', 'sethostname', 'setns'],
  ...['syslog', 'umount', 'umount2', 'unshare'],
]
/** Those that it allows nobody: keys of the kernel know no containers, and io_uring passes by what looks at calls. */
const NOBODYS_CALLS = [
  ...['add_key', 'keyctl', 'request_key', 'io_uring_enter', 'io_uring_register', 'io_uring_setup'],
  ...['userfaultfd', 'pivot_root', 'kexec_load', 'kexec_file_load', 'nfsservctl', 'swapon', 'swapoff'],
]
/** Flags of clone(2) that make a namespace. */
const NEW_NAMESPACES = 0x7e020000
const EPERM = 1
const ENOSYS = 38

/**
 * Debian's profile is Podman's, which lets a container make user namespaces, and so reach what of the kernel only root of a
 * namespace reaches. Docker's does not (docs.docker.com, "Significant syscalls blocked by the default profile"). Pure.
 */
export function asStrictAsDockers(profile: SeccompProfile): SeccompProfile {
  const taken = new Set([...ADMIN_CALLS, ...NOBODYS_CALLS, 'clone', 'clone3'])
  const kept = profile.syscalls
    .map(rule => ({ ...rule, names: rule.names.filter(name => !taken.has(name)) }))
    .filter(({ names }) => names.length > 0)
  const withoutNamespaces = { index: 0, value: NEW_NAMESPACES, valueTwo: 0, op: 'SCMP_CMP_MASKED_EQ' }
  const rules: SeccompProfile['syscalls'] = [
    { names: [...ADMIN_CALLS, 'clone', 'clone3'], action: 'SCMP_ACT_ALLOW', includes: SYS_ADMIN },
    { names: ADMIN_CALLS, action: 'SCMP_ACT_ERRNO', errnoRet: EPERM, excludes: SYS_ADMIN },
    { names: NOBODYS_CALLS, action: 'SCMP_ACT_ERRNO', errnoRet: EPERM },
    { names: ['clone'], action: 'SCMP_ACT_ALLOW', args: [withoutNamespaces], excludes: SYS_ADMIN },
    // Its flags are behind a pointer, where no filter looks: C libraries fall back to clone.
    { names: ['clone3'], action: 'SCMP_ACT_ERRNO', errnoRet: ENOSYS, excludes: SYS_ADMIN },
  ]
  return { ...profile, syscalls: [...kept, ...rules] }
}

/** The profile as one architecture and one set of capabilities need it (runtime-spec, config-linux.md "Seccomp"). Pure. */
export function seccompFor(profile: SeccompProfile, architecture: string, capabilities: readonly string[]): OciSeccomp {
  const native = ARCHITECTURES[architecture]
  const family = profile.archMap?.find(entry => entry.architecture === native)
  const matches = (condition: SeccompProfile['syscalls'][number]['includes'], every: boolean) => {
    const checks = [
      ...(condition?.caps?.length ? [condition.caps.every(cap => capabilities.includes(cap))] : []),
      ...(condition?.arches?.length ? [condition.arches.includes(architecture)] : []),
    ]
    return every ? checks.every(Boolean) : checks.some(Boolean)
  }
  const syscalls: OciSyscall[] = profile.syscalls
    .filter(rule => matches(rule.includes, true) && !matches(rule.excludes, false))
    .map(({ names, action, errnoRet, args }) => ({
      names,
      action,
      ...(errnoRet == null ? {} : { errnoRet }),
      ...(args?.length ? { args } : {}),
    }))
  return {
    defaultAction: profile.defaultAction,
    ...(profile.defaultErrnoRet == null ? {} : { defaultErrnoRet: profile.defaultErrnoRet }),
    architectures: family ? [family.architecture, ...(family.subArchitectures ?? [])] : (profile.architectures ?? []),
    syscalls,
  }
}
