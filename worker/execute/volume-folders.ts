import type { ImageDefaults } from '#shared/domain/image.ts'
import { mkdirInRoot } from '../host/rooted-fs.ts'

const OWNER = { uid: 0, gid: 0, mode: 0o755 }

/**
 * Programs count on the folders that their image declares as volumes. Here they are folders of the container's writable
 * layer: they live as long as the container does, and are not yet volumes of their own. What the image has stays as it is.
 */
export async function makeVolumeFolders(rootfs: string, { Volumes }: ImageDefaults, firstId = 0): Promise<void> {
  for (const path of Object.keys(Volumes ?? {}))
    await mkdirInRoot(rootfs, path, { ...OWNER, uid: firstId, gid: firstId })
}
