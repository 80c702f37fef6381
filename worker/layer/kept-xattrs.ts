import { errnoOf } from '#worker/host/kernel-error.ts'
import { lsetxattr } from '#worker/host/syscalls.ts'

const FAULTS = new Set(['ENOSPC', 'E2BIG', 'ERANGE', 'ENOTSUP', 'EOPNOTSUPP'])

/**
 * Attributes that belong to the file: the user's own, capabilities, access lists. Others are the host's policy
 * (`security.selinux`) or overlay's private marks, with which a layer could show other files than its own.
 */
export function isKeptXattr(name: string): boolean {
  return name.startsWith('user.') || name === 'security.capability' || name.startsWith('system.posix_acl_')
}

/**
 * Sets an attribute of a file, link or folder itself. False: the file system cannot hold this one; ext4 says ENOSPC of a
 * large one, whatever room the disk has.
 */
export function setKeptXattr(at: Buffer, name: string, value: string): boolean {
  try {
    lsetxattr(at, Buffer.from(name, 'latin1'), Buffer.from(value, 'latin1'))
    return true
  } catch (error) {
    if (!FAULTS.has(errnoOf(error) ?? '')) throw error
    return false
  }
}
