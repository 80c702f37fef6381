import { ALL_CAPABILITIES } from '#shared/domain/capabilities.ts'
import type { RunStep } from '../dockerfile/step.ts'
import type { OciMount, OciRuntimeConfig } from '../runtime/oci-config.ts'

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
