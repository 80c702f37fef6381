import { mkdirSync } from 'node:fs'
import { unmount } from './mount.ts'
import { MS, mount } from './syscalls.ts'

/**
 * A folder in memory for what may never be on a disk: root's alone, without programs and devices, gone with its mount.
 * Errors: `host.kernel-refused`.
 */
export function mountMemory(path: string, maxBytes: number): AsyncDisposable {
  mkdirSync(path, { recursive: true, mode: 0o700 })
  mount('slipway', path, 'tmpfs', MS.NOSUID | MS.NODEV | MS.NOEXEC, `mode=0700,size=${maxBytes}`)
  return { [Symbol.asyncDispose]: () => unmount(path) }
}
