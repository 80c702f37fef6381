import { realpath } from 'node:fs/promises'
import { relative } from 'node:path'
import { MOUNT_SOURCE, unmount } from './mount.ts'
import { type Mount, readMounts } from './mount-table.ts'

const OWN_TYPES = new Set(['overlay', 'erofs', 'fuse.fuse-overlayfs'])
/** As the driver names its datasets. */
const OWN_DATASET = /(^|\/)slipway-/

/**
 * Unmounts what this program mounted in a data folder, the innermost first. A filesystem that somebody else mounted there,
 * or on which the folder lies, stays.
 */
export async function unmountOwn(folder: string): Promise<void> {
  const place = await realpath(folder)
  const mounts = await readMounts()
  const around = mounts.findLast(
    ({ target }) => place === target || place.startsWith(target === '/' ? '/' : `${target}/`),
  )
  const rootOfFolder = around && inFilesystem(around, place)
  const isOwn = ({ type, source, device, root }: Mount) =>
    OWN_TYPES.has(type) ||
    source === MOUNT_SOURCE ||
    (type === 'zfs' && OWN_DATASET.test(source)) ||
    (device === around?.device && root.startsWith(`${rootOfFolder}/`)) // A folder of ours, shown at another place.
  const own = mounts.filter(mount => mount.target.startsWith(`${place}/`) && isOwn(mount))
  for (const { target } of own.reverse()) await unmount(target)
}

/** Where the filesystem of a mount has what is seen at this path below it. */
function inFilesystem({ root, target }: Mount, path: string): string {
  const inside = relative(target, path)
  return `${root === '/' ? '' : root}${inside === '' ? '' : `/${inside}`}`
}
