import { z } from 'zod'
import type { ContainerSpec } from './container.ts'
import { FURTHER_LIMITS, numbersOf, type Resources } from './resources.ts'
import type { Security } from './security.ts'

/** Limits that a host's kernel may lack, by the names under which they are asked for. */
export const KERNEL_LIMITS = ['memory', 'cpus', 'pidsLimit', ...FURTHER_LIMITS] as const
const kernelLimitSchema = z.string()

/** What a host can do for the containers that it runs, looked at when its agent starts. */
export const hostAbilitiesSchema = z.object({
  lacks: z.record(kernelLimitSchema, z.string()).meta({
    description: 'Limits that this kernel does not keep, with why; containers that ask for one are refused',
  }),
  cpusetCpus: z.string().meta({ description: 'CPUs that containers may use' }),
  cpusetMems: z.string().meta({ description: 'Memory nodes that containers may use' }),
  ulimits: z.record(z.string(), z.int()).meta({ description: 'The highest that containers may have; -1: no limit' }),
  capabilities: z.array(z.string()).meta({ description: 'Those that this host has to give' }),
  devices: z.array(z.string()).meta({ description: 'SLIPWAY_DEVICES of its agent: devices that containers may have' }),
  isPrivilegedAllowed: z.boolean().meta({ description: 'SLIPWAY_PRIVILEGED of its agent' }),
  apparmor: z.boolean(),
  /** Left out: it has none, or its agent could load none; then the host's own rules hold. */
  apparmorProfile: z.string().optional().meta({ description: 'The default profile of containers' }),
  /** Left out: it can. */
  usernsRefusal: z.string().optional().meta({ description: 'Why no container has ids of its own here' }),
})
export type HostAbilities = z.infer<typeof hostAbilitiesSchema>

/**
 * Why this host cannot run a container as it was asked for: a field and what is the matter. Undefined: it can, as far as its facts
 * tell. Pure.
 */
export function refusalOf(
  { resources, security = {} }: Pick<ContainerSpec, 'resources' | 'security'>,
  can: HostAbilities,
): string | undefined {
  return (
    lackOf(resources, can) ??
    cpusetRefusal(resources, can) ??
    ulimitRefusal(resources, can) ??
    securityRefusal(security, can) ??
    oomScoreRefusal(resources, can)
  )
}

/** A process may go below the score that it inherited with this capability alone (proc_pid_oom_score_adj(5)). */
function oomScoreRefusal({ oomScoreAdj = 0 }: Resources, { capabilities }: HostAbilities): string | undefined {
  if (oomScoreAdj >= 0 || capabilities.includes('CAP_SYS_RESOURCE')) return undefined
  return 'oomScoreAdj: the agent of this host lacks CAP_SYS_RESOURCE, without which nothing is below 0; leave it out'
}

function lackOf(resources: Resources, { lacks }: HostAbilities): string | undefined {
  const { memoryBytes: memory, pids: pidsLimit, ...others } = resources
  const asked = { memory, pidsLimit, ...others }
  const lacking = Object.entries(asked).find(([name, value]) => value !== undefined && name in lacks)
  return lacking && `${lacking[0]}: ${lacks[lacking[0]]}`
}

function cpusetRefusal(resources: Resources, can: HostAbilities): string | undefined {
  for (const field of ['cpusetCpus', 'cpusetMems'] as const) {
    const there = numbersOf(can[field])
    const missing = [...numbersOf(resources[field] ?? '')].find(number => !there.has(number))
    if (missing !== undefined) return `${field}: this host has no ${missing}, but ${can[field]}; name some of those`
  }
  return undefined
}

function ulimitRefusal({ ulimits = {} }: Resources, can: HostAbilities): string | undefined {
  for (const [name, { hard }] of Object.entries(ulimits)) {
    const most = can.ulimits[name] ?? -1
    if (most !== -1 && (hard === -1 || hard > most)) {
      const asked = hard === -1 ? 'unlimited' : hard
      return `ulimits.${name}: ${asked} is above this host's own hard limit, ${most}; ask for at most that, or raise the limit of its agent`
    }
  }
  return undefined
}

function securityRefusal(security: Security, can: HostAbilities): string | undefined {
  const { privileged, apparmor, userns, devices = [], deviceCgroupRules = [] } = security
  if (privileged && !can.isPrivilegedAllowed) return `privileged: ${NOT_PRIVILEGED}`
  if (deviceCgroupRules.length > 0 && !can.isPrivilegedAllowed) return `deviceCgroupRules: ${NOT_PRIVILEGED}`
  if (apparmor !== undefined && apparmor !== 'unconfined' && !can.apparmor) {
    return 'apparmor: this host has none (its kernel was built or started without); leave it out'
  }
  if (userns === 'auto' && can.usernsRefusal !== undefined) return `userns: ${can.usernsRefusal}`
  const lost = (security.capAdd ?? []).find(name => name !== 'ALL' && !can.capabilities.includes(name))
  if (lost !== undefined) return `capAdd: this host has no ${lost} to give`
  const refused = privileged ? undefined : devices.find(({ hostPath }) => !isAllowed(hostPath, can.devices))
  return (
    refused &&
    `devices: this host does not give ${refused.hostPath} away; its operator may, with SLIPWAY_DEVICES of its agent`
  )
}

const NOT_PRIVILEGED = 'this host runs no privileged containers (SLIPWAY_PRIVILEGED of its agent)'

/** `/dev/dri/*` is each device directly in that folder. */
function isAllowed(path: string, patterns: readonly string[]): boolean {
  return patterns.some(pattern => {
    if (!pattern.endsWith('/*')) return pattern === path
    const folder = pattern.slice(0, -1)
    return path.startsWith(folder) && !path.slice(folder.length).includes('/')
  })
}
