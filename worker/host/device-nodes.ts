import { lstatSync, readdirSync, realpathSync, type Stats, statSync } from 'node:fs'
import { join } from 'node:path'
import { SlipwayError } from '#shared/errors.ts'
import { errnoOf } from './kernel-error.ts'

export interface DeviceNode {
  path: string
  /** As runtime-spec names them: character and block. */
  type: 'c' | 'b'
  major: number
  minor: number
  fileMode: number
  uid: number
  gid: number
}

/**
 * The device file at a path of the host, links followed. A link that leaves /dev is none: who allowed its name did not allow
 * what it leads to. Errors: `host.unable`, naming `field`.
 */
export function deviceNode(path: string, field: string): DeviceNode {
  const node = nodeAt(realPath(path, field))
  if (node) return { ...node, path }
  throw new SlipwayError('host.unable', `${field}: ${path} of this host is not a device: name one of its /dev.`)
}

/** As `deviceNode`, of a disk. */
export function blockDeviceNode(path: string, field: string): DeviceNode {
  const node = deviceNode(path, field)
  if (node.type === 'b') return node
  throw new SlipwayError('host.unable', `${field}: ${path} of this host is not a block device: lsblk lists them.`)
}

function realPath(path: string, field: string): string {
  try {
    const real = realpathSync(path)
    if (real.startsWith('/dev/')) return real
  } catch (error) {
    if (!['ENOENT', 'ENOTDIR', 'ELOOP'].includes(errnoOf(error) ?? '')) throw error
  }
  throw new SlipwayError('host.unable', `${field}: this host has no device ${path}: name one of its /dev.`)
}

/** What every container has anyway, or what is a mount of its own there. */
const OWN = new Set(['pts', 'shm', 'mqueue', 'fd', 'console', '.udev', '.lxc', '.lxd-mounts', 'core', 'hugepages'])

/** Every device file below /dev. Costs a look at each. */
export function allDeviceNodes(): DeviceNode[] {
  return nodesBelow('/dev')
    .map(path => nodeAt(path))
    .filter(node => node !== undefined)
}

function nodesBelow(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap(entry => {
    const path = join(folder, entry.name)
    if (folder === '/dev' && OWN.has(entry.name)) return []
    if (entry.isDirectory()) return statSync(path).dev === statSync('/dev').dev ? nodesBelow(path) : []
    return entry.isCharacterDevice() || entry.isBlockDevice() ? [path] : []
  })
}

function nodeAt(path: string): DeviceNode | undefined {
  const stat = lstatSync(path, { throwIfNoEntry: false })
  if (!stat?.isCharacterDevice() && !stat?.isBlockDevice()) return undefined
  const { major, minor } = numbersOf(stat)
  const { uid, gid, mode } = stat
  return { path, type: stat.isBlockDevice() ? 'b' : 'c', major, minor, fileMode: mode & 0o777, uid, gid }
}

/** gnu_dev_makedev's layout (sys/sysmacros.h). */
function numbersOf({ rdev }: Stats): { major: number; minor: number } {
  const number = BigInt(rdev)
  return {
    major: Number(((number >> 8n) & 0xfffn) | ((number >> 32n) & ~0xfffn)),
    minor: Number((number & 0xffn) | ((number >> 12n) & 0xffffff00n)),
  }
}
