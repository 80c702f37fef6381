import { lstatSync } from 'node:fs'
import { join } from 'node:path'
import { SlipwayError } from '#shared/errors.ts'

/**
 * crun 1.8 makes the nodes of /dev by their path before the root is the container's own: where an image has a link in its place,
 * they would come to lie wherever that leads on the host. Errors: `container.files-unsafe`. Costs three lstat(2).
 */
export function requireOwnFolders(rootfs: string): void {
  for (const name of ['dev', 'proc', 'sys']) {
    const stat = lstatSync(join(rootfs, name), { throwIfNoEntry: false })
    if (stat === undefined || stat.isDirectory()) continue
    const what = stat.isSymbolicLink() ? 'a link' : 'no folder'
    const message = `/${name} is ${what} in these files, and the kernel's own has to lie over it: make it a folder.`
    throw new SlipwayError('container.files-unsafe', message)
  }
}
