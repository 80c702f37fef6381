import { dirname } from 'node:path'
import { capabilitiesOf } from '#shared/domain/capabilities.ts'
import type { ContainerSpec } from '#shared/domain/container.ts'
import { refusalOf } from '#shared/domain/host-abilities.ts'
import type { Security } from '#shared/domain/security.ts'
import { SlipwayError } from '#shared/errors.ts'
import { allDeviceNodes, blockDeviceNode, deviceNode } from '../host/device-nodes.ts'
import { hasSysctl } from '../host/own-limits.ts'
import { mkdirInRoot } from '../host/rooted-fs.ts'
import { type Confinement, type ResolvedDevice, SECRETS_PATH, tmpfsMode } from '../runtime/confine.ts'
import type { OciSeccomp } from '../runtime/oci-config.ts'
import { type BlockDevice, blockDevicesOf } from '../runtime/resources.ts'
import { seccompFor } from '../runtime/seccomp.ts'
import { groupIds } from '../runtime/user.ts'
import type { HostPorts } from './ports.ts'

type Wishes = Pick<ContainerSpec, 'resources' | 'security'>

const FOLDER_MODE = 0o755

/**
 * A host may be another than the one that the API knew: what it cannot do is said, and not left out. Errors: `host.unable`,
 * `container.user-not-found`.
 */
export function confinementOf(
  spec: Wishes,
  ports: Pick<HostPorts, 'abilities' | 'seccomp' | 'architecture'>,
  around: { groupFile: string } & Pick<Confinement, 'secretsFolder' | 'userns'>,
): Confinement {
  const { security = {} } = spec
  const { abilities } = ports
  const refusal = refusalOf(spec, abilities) ?? unknownSysctl(security)
  if (refusal !== undefined) throw new SlipwayError('host.unable', `This host cannot run the container: ${refusal}.`)
  const capabilities = capabilitiesOf(security).filter(name => abilities.capabilities.includes(name))
  return {
    ...{ security, capabilities, secretsFolder: around.secretsFolder, userns: around.userns },
    seccomp: seccompOf(security, capabilities, ports),
    apparmor: abilities.apparmor ? apparmorOf(security, abilities.apparmorProfile) : undefined,
    devices: devicesOf(security),
    groups: groupIds(security.groupAdd ?? [], around.groupFile),
  }
}

function unknownSysctl({ sysctls = {} }: Security): string | undefined {
  const unknown = Object.keys(sysctls).find(name => !hasSysctl(name))
  return unknown && `sysctls: its kernel has no ${unknown}; leave it out`
}

function seccompOf(
  { seccomp, privileged }: Security,
  capabilities: readonly string[],
  ports: Pick<HostPorts, 'seccomp' | 'architecture'>,
): OciSeccomp | undefined {
  if (seccomp === 'unconfined' || (privileged && seccomp === undefined)) return undefined
  return seccompFor(seccomp ?? ports.seccomp, ports.architecture, capabilities)
}

/** Without a profile of ours the host's own rules for what the agent starts hold. */
function apparmorOf({ apparmor, privileged }: Security, ofAll: string | undefined): string | undefined {
  return apparmor ?? (privileged ? 'unconfined' : ofAll)
}

function devicesOf({ devices = [], privileged }: Security): ResolvedDevice[] {
  const named = devices.map(({ hostPath, path, access }) => ({ ...deviceNode(hostPath, 'devices'), path, access }))
  if (!privileged) return named
  const isNamed = new Set(named.map(({ path }) => path))
  const others = allDeviceNodes().filter(({ path }) => !isNamed.has(path) && !OWN_NODES.has(path))
  return [...named, ...others.map(node => ({ ...node, access: 'rwm' }))]
}

/** The runtime makes these itself (runtime-spec, config-linux.md "Default Devices"). */
const OWN_NODES = new Set(['null', 'zero', 'full', 'random', 'urandom', 'tty', 'ptmx'].map(name => `/dev/${name}`))

/** The disks that limits name. Errors: `host.unable`. */
export function blockDevices({ resources }: Wishes): Map<string, BlockDevice> {
  return new Map(
    blockDevicesOf(resources).map(path => {
      const { major, minor } = blockDeviceNode(path, 'device limits')
      return [path, { major, minor }] as const
    }),
  )
}

/**
 * The runtime would make them with mode 0700, and follow links that others may change meanwhile. runc 1.1 gives a tmpfs the mode of
 * what it lies over, whatever its options say.
 */
export async function makeFurtherMountPoints(rootfs: string, { security = {} }: Wishes, firstId = 0): Promise<void> {
  const owner = { uid: firstId, gid: firstId }
  for (const [path, options] of Object.entries(security.tmpfs ?? {})) {
    await mkdirInRoot(rootfs, dirname(path), { ...owner, mode: FOLDER_MODE })
    await mkdirInRoot(rootfs, path, { ...owner, mode: tmpfsMode(options) })
  }
  if (security.secrets) await mkdirInRoot(rootfs, SECRETS_PATH, { ...owner, mode: FOLDER_MODE })
}
