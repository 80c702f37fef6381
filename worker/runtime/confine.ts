import type { Security } from '#shared/domain/security.ts'
import { IDS } from '#worker/host/userns.ts'
import type { OciDevice, OciMount, OciRuntimeConfig, OciSeccomp } from './oci-config.ts'

/** What a host has found for a container's wishes. */
export interface Confinement {
  security: Security
  /** What its first process may have at most. */
  capabilities: readonly string[]
  /** Undefined: no filter at all. */
  seccomp: OciSeccomp | undefined
  /** Undefined where the host has no AppArmor. */
  apparmor: string | undefined
  devices: readonly ResolvedDevice[]
  groups: readonly number[]
  /** The user namespace to enter; undefined: the host's. */
  userns: { path: string; firstId: number } | undefined
  /** The folder on the host that holds its secrets; undefined: it has none. */
  secretsFolder: string | undefined
}

export interface ResolvedDevice extends OciDevice {
  /** Of `r`, `w` and `m`. */
  access: string
}

const TMPFS_OPTIONS = ['nosuid', 'nodev', 'noexec']
/** Of groups there are no more in a range of its own. */
const OWN_IDS_SYSCTL = { 'net.ipv4.ping_group_range': '0 65535' }
const OPPOSITE: Record<string, string> = { suid: 'nosuid', dev: 'nodev', exec: 'noexec' }

/** A container's configuration with what it asked for of its confinement. Pure. */
export function confined(config: OciRuntimeConfig, given: Confinement): OciRuntimeConfig {
  const { security } = given
  const { process, linux } = config
  const { privileged = false } = security
  const isOpen = privileged || security.systemPaths === 'unconfined'
  const { seccomp: _default, ...restOfLinux } = linux
  return {
    ...config,
    process: {
      ...process,
      user: { ...process.user, additionalGids: [...new Set([...process.user.additionalGids, ...given.groups])] },
      capabilities: capabilitySets(given, process.user.uid === 0),
      noNewPrivileges: security.noNewPrivileges ?? !privileged,
      ...(given.apparmor === undefined ? {} : { apparmorProfile: given.apparmor }),
    },
    mounts: [...(privileged ? config.mounts.map(writable) : config.mounts), ...furtherMounts(given)],
    linux: {
      ...restOfLinux,
      ...(given.userns ? ownIds(linux.namespaces, given.userns) : {}),
      ...(given.devices.length > 0 ? { devices: given.devices.map(({ access: _, ...device }) => device) } : {}),
      resources: { ...linux.resources, devices: [...linux.resources.devices, ...deviceRules(given)] },
      sysctl: { ...linux.sysctl, ...(given.userns ? OWN_IDS_SYSCTL : {}), ...security.sysctls },
      maskedPaths: isOpen ? [] : linux.maskedPaths,
      readonlyPaths: isOpen ? [] : linux.readonlyPaths,
      ...(given.seccomp ? { seccomp: given.seccomp } : {}),
    },
  }
}

/**
 * A user other than root has none, as with Docker; but those that were asked for by name would be worth nothing to it then, so it
 * gets them as ambient ones (capabilities(7)).
 */
function capabilitySets({ capabilities, security }: Confinement, isRoot: boolean) {
  const named = security.capAdd?.includes('ALL') ? capabilities : (security.capAdd ?? [])
  const asked = isRoot ? [] : named.filter(name => capabilities.includes(name))
  const own = isRoot ? capabilities : asked
  return {
    ...{ bounding: capabilities, effective: own, permitted: own },
    ...(asked.length > 0 ? { inheritable: asked, ambient: asked } : {}),
  }
}

/** runc wants the ranges of a namespace that it enters, too. */
function ownIds(
  namespaces: OciRuntimeConfig['linux']['namespaces'],
  { path, firstId }: NonNullable<Confinement['userns']>,
) {
  const ranges = [{ containerID: 0, hostID: firstId, size: IDS }]
  return { namespaces: [...namespaces, { type: 'user', path }], uidMappings: ranges, gidMappings: ranges }
}

const writable = (mount: OciMount): OciMount =>
  mount.destination.startsWith('/sys') ? { ...mount, options: mount.options.filter(option => option !== 'ro') } : mount

function furtherMounts({ security, secretsFolder }: Confinement): OciMount[] {
  const folders = Object.entries(security.tmpfs ?? {}).map(([destination, options]) => ({
    ...{ destination, source: 'tmpfs', type: 'tmpfs' },
    options: tmpfsOptions(options.split(',').filter(Boolean)),
  }))
  folders.sort((a, b) => a.destination.length - b.destination.length) // One may lie in another.
  if (secretsFolder === undefined) return folders
  const options = ['bind', 'rprivate', 'ro', 'nosuid', 'nodev', 'noexec']
  return [...folders, { destination: SECRETS_PATH, source: secretsFolder, type: 'bind', options }]
}

export const SECRETS_PATH = '/run/secrets'

/** As options say it; left out: everyone's, as Docker's. Pure. */
export function tmpfsMode(options: string): number {
  const asked = options.split(',').findLast(option => /^mode=/i.test(option))
  return Number.parseInt(asked?.slice('mode='.length) ?? '1777', 8)
}

function tmpfsOptions(asked: readonly string[]): string[] {
  const lifted = asked.map(option => OPPOSITE[option])
  return [...TMPFS_OPTIONS.filter(option => !lifted.includes(option)), ...asked]
}

function deviceRules({ security, devices }: Confinement) {
  if (security.privileged) return [{ allow: true, access: 'rwm' }]
  const rules = (security.deviceCgroupRules ?? []).map(rule => {
    const [type = '', numbers = '', access = ''] = rule.split(' ')
    const [major, minor] = numbers.split(':').map(text => (text === '*' ? undefined : Number(text)))
    return { ...{ allow: true, type, access }, ...(major === undefined ? {} : { major }), ...minorOf(minor) }
  })
  return [...devices.map(({ type, major, minor, access }) => ({ allow: true, type, major, minor, access })), ...rules]
}

const minorOf = (minor: number | undefined) => (minor === undefined ? {} : { minor })
