import { readFile } from 'node:fs/promises'
import { z } from 'zod'
import { SlipwayError } from '#shared/errors.ts'
import type { OciSeccomp, OciSyscall } from './oci-config.ts'

/** The default profile is Debian's (golang-github-containers-common), in the form that Docker and Podman share. */
export const DEFAULT_PROFILE = '/usr/share/containers/seccomp.json'

const conditionSchema = z.object({
  caps: z.array(z.string()).optional(),
  arches: z.array(z.string()).optional(),
  minKernel: z.string().optional(),
})
const profileSchema = z.object({
  defaultAction: z.string(),
  defaultErrnoRet: z.int().optional(),
  archMap: z.array(z.object({ architecture: z.string(), subArchitectures: z.array(z.string()).nullish() })),
  syscalls: z.array(
    z.object({
      names: z.array(z.string()),
      action: z.string(),
      errnoRet: z.int().optional(),
      args: z
        .array(z.object({ index: z.int(), value: z.number(), valueTwo: z.number().default(0), op: z.string() }))
        .nullish(),
      includes: conditionSchema.optional(),
      excludes: conditionSchema.optional(),
    }),
  ),
})
export type SeccompProfile = z.infer<typeof profileSchema>

const ARCHITECTURES: Record<string, string> = { amd64: 'SCMP_ARCH_X86_64', arm64: 'SCMP_ARCH_AARCH64' }

export async function readSeccompProfile(path: string): Promise<SeccompProfile> {
  try {
    return profileSchema.parse(JSON.parse(await readFile(path, 'utf8')))
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
  const family = profile.archMap.find(entry => entry.architecture === native)
  const matches = (condition: z.infer<typeof conditionSchema> | undefined, every: boolean) => {
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
      ...(errnoRet === undefined ? {} : { errnoRet }),
      ...(args?.length ? { args } : {}),
    }))
  return {
    defaultAction: profile.defaultAction,
    ...(profile.defaultErrnoRet === undefined ? {} : { defaultErrnoRet: profile.defaultErrnoRet }),
    architectures: family ? [family.architecture, ...(family.subArchitectures ?? [])] : [],
    syscalls,
  }
}
