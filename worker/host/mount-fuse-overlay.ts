import type { OverlayMount } from './mount.ts'
import { run } from './run.ts'

/**
 * Mounts an overlay by Debian's fuse-overlayfs, without device files. Its daemon leaves this process's session, lives as
 * long as the mount and ends with it. Errors: `host.command-failed`.
 */
export async function mountFuseOverlay({ lower, upper, work, target }: OverlayMount): Promise<void> {
  const folders = `lowerdir=${lower.map(escaped).join(':')},upperdir=${escaped(upper)},workdir=${escaped(work)}`
  await run('fuse-overlayfs', ['-o', `${folders},nodev`, target])
}

function escaped(path: string): string {
  return path.replace(/[\\:,]/g, '\\$&')
}
