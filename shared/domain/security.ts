import { z } from 'zod'
import { capabilitiesOf, DEFAULT_CAPABILITIES } from './capabilities.ts'
import { seccompProfileSchema } from './seccomp-profile.ts'
import { secretNameSchema } from './secret.ts'

const LAST_ID = 2 ** 31 - 1
const idNumber = z.int().min(0).max(LAST_ID)

export const deviceSchema = z.object({
  hostPath: z.string(),
  path: z.string(),
  /** Of `r`, `w` and `m` (make a node of it). */
  access: z.string(),
})
export type Device = z.infer<typeof deviceSchema>

/** A secret of the store as a file of /run/secrets. */
export const secretFileSchema = z.object({
  name: secretNameSchema,
  file: secretNameSchema,
  uid: idNumber,
  gid: idNumber,
  mode: z.int().min(0).max(0o777),
})
export type SecretFile = z.infer<typeof secretFileSchema>

/** How a container is confined, as it was asked for; what is left out is the default. Capabilities with `CAP_`. */
export const securitySchema = z.object({
  capAdd: z.array(z.string()).optional(),
  capDrop: z.array(z.string()).optional(),
  seccomp: z.union([z.literal('unconfined'), seccompProfileSchema]).optional(),
  /** Left out: true. */
  noNewPrivileges: z.boolean().optional(),
  privileged: z.boolean().optional(),
  /** Nothing of /proc and /sys hidden or write-protected. */
  systemPaths: z.literal('unconfined').optional(),
  /** `unconfined`, or a profile that the host has loaded. */
  apparmor: z.string().optional(),
  /** `auto`: a range of ids of its own. Left out: the host's. */
  userns: z.literal('auto').optional(),
  groupAdd: z.array(z.string()).optional(),
  devices: z.array(deviceSchema).optional(),
  /** `c 1:3 rwm`, checked. */
  deviceCgroupRules: z.array(z.string()).optional(),
  sysctls: z.record(z.string(), z.string()).optional(),
  /** Path → mount options. */
  tmpfs: z.record(z.string(), z.string()).optional(),
  secrets: z.array(secretFileSchema).optional(),
})
export type Security = z.infer<typeof securitySchema>
export const SECURITY_FIELDS = Object.keys(securitySchema.shape) as (keyof Security)[]

/**
 * What of it lets a container out of its confinement, or near: the fields by name, for `containers:privileged`. Kubernetes' Pod
 * Security Standards draw the line of "baseline" there, too. Pure.
 */
export function privilegesOf(security: Security, oomScoreAdj = 0): string[] {
  const added = capabilitiesOf({ ...security, privileged: false }).filter(name => !DEFAULT_CAPABILITIES.includes(name))
  return [
    ...(security.privileged ? ['privileged'] : []),
    ...(added.length > 0 ? ['capAdd'] : []),
    // One that is brought along may allow everything.
    ...(security.seccomp === undefined ? [] : ['seccomp']),
    ...(security.apparmor === undefined ? [] : ['apparmor']),
    ...(security.systemPaths === undefined ? [] : ['systemPaths']),
    ...((security.devices ?? []).length > 0 ? ['devices'] : []),
    ...((security.deviceCgroupRules ?? []).length > 0 ? ['deviceCgroupRules'] : []),
    ...(oomScoreAdj < 0 ? ['oomScoreAdj'] : []),
  ]
}
