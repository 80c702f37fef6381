import { closeSync } from 'node:fs'
import { attachLoop } from './loop-device.ts'
import { contextValue, withLog } from './mount.ts'
import { fsconfig, fsmount, fsopen, MOUNT_ATTR, moveMount } from './syscalls.ts'

export interface ErofsMount {
  /** The metadata image: only one that this program wrote itself. */
  index: string
  /** Its second device. */
  tar: string
  target: string
}

/** How the kernel reads the two files: as they are (Linux 6.12), or each through a loop device. */
export type ErofsBacking = 'file' | 'loop'

/** Mounts a layer's index with its tar, read-only, without devices or set-user-ID. Errors: `host.kernel-refused`. */
export function mountErofs({ index, tar, target }: ErofsMount, backing: ErofsBacking): void {
  using files = new DisposableStack()
  const own = (fd: number) => {
    files.defer(() => closeSync(fd))
    return fd
  }
  // The mount holds its devices; each goes with its last user.
  const open = (path: string) => (backing === 'file' ? contextValue(path, files) : files.use(attachLoop(path)).path)
  const context = own(fsopen('erofs'))
  try {
    fsconfig(context, 'source', open(index))
    fsconfig(context, 'device', open(tar))
    fsconfig(context, 'ro') // The kernel opens a read-only device for nothing else.
    const attributes = MOUNT_ATTR.RDONLY | MOUNT_ATTR.NODEV | MOUNT_ATTR.NOSUID
    moveMount(own(fsmount(context, attributes)), target)
  } catch (error) {
    throw withLog(error, context)
  }
}
