import { chmodSync, chownSync, existsSync, lstatSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { mkdirInRoot, resolveInRootSync } from '../host/rooted-fs.ts'
import { setMtime } from '../host/set-mtime.ts'
import { MOUNT_POINTS } from '../runtime/mount-points.ts'
import { requireOwnFolders } from '../runtime/own-folders.ts'

const FILE_MODE = 0o644

/**
 * Makes what the runtime will mount over where the image lacks it, with the modes that Docker gives it, and leaves the times
 * of the folders around it: the runtime's own would be mode 0700, and a change. What is there stays as it is.
 */
export async function makeMountPoints(rootfs: string, firstId = 0): Promise<void> {
  requireOwnFolders(rootfs)
  const folder = { uid: firstId, gid: firstId, mode: 0o755 }
  for (const [path, kind] of MOUNT_POINTS) {
    const at = resolveInRootSync(rootfs, path)
    if (existsSync(at)) continue
    const before = lstatSync(dirname(at), { bigint: true, throwIfNoEntry: false })
    if (kind === 'folder') await mkdirInRoot(rootfs, path, folder)
    else {
      await mkdirInRoot(rootfs, dirname(at.slice(rootfs.length)), folder) // Wherever links of the image lead in it.
      writeFileSync(at, '', { flag: 'wx' })
      chownSync(at, firstId, firstId)
      chmodSync(at, FILE_MODE)
    }
    if (before) setMtime(dirname(at), before.mtimeNs)
  }
}
