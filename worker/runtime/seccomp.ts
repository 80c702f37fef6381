import { readFile } from 'node:fs/promises'
import { type SeccompProfile, seccompProfileSchema } from '#shared/domain/seccomp-profile.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { OciSeccomp, OciSyscall } from './oci-config.ts'

/** The default profile is Debian's (golang-github-containers-common), in the form that Docker and Podman share. */
export const DEFAULT_PROFILE = '/usr/share/containers/seccomp.json'

const ARCHITECTURES: Record<string, string> = { amd64: 'SCMP_ARCH_X86_64', arm64: 'SCMP_ARCH_AARCH64' }

export async function readSeccompProfile(path: string): Promise<SeccompProfile> {
  try {
    return seccompProfileSchema.parse(JSON.parse(await readFile(path, 'utf8')))
  } catch (cause) {
    throw new SlipwayError(
      'host.kernel-refused',
      `The seccomp profile ${path} cannot be read: apt-get install golang-github-containers-common.`,
      { cause },
    )
  }
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
