import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { asKernelError } from './kernel-error.ts'
import type { OverlayMount } from './mount.ts'
import { runOnDisk } from './run-on-disk.ts'

/**
 * Mounts an overlay by Debian's fuse-overlayfs, without device files. Its daemon leaves this process's session, lives as
 * long as the mount and ends with it. Errors: `host.disk-full`,
 * `host.command-failed`.
 */
export async function mountFuseOverlay({ lower, upper, work, target }: OverlayMount): Promise<void> {
  // It makes this one itself, and does not tell a full disk from anything else.
  const own = join(work, 'work')
  await mkdir(own, { recursive: true, mode: 0o700 }).catch(cause => {
    throw asKernelError(cause, `make ${own}`)
  })
  const folders = `lowerdir=${lower.map(escaped).join(':')},upperdir=${escaped(upper)},workdir=${escaped(work)}`
  await runOnDisk('fuse-overlayfs', ['-o', `${folders},nodev`, target])
}

function escaped(path: string): string {
  return path.replace(/[\\:,]/g, '\\$&')
}
