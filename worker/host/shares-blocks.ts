import { statfsSync } from 'node:fs'

/** Filesystems on which `cp --reflink=auto` shares blocks, by the number that statfs(2) gives. */
const SHARING = new Set([0x9123683e, 0xca451a4e]) // btrfs, bcachefs

/**
 * Whether copies of files on this filesystem share their blocks. XFS and OCFS2 tell of no such ability by their type
 * (XFS may be made without), and count as if they could not.
 */
export function sharesBlocks(path: string): boolean {
  return SHARING.has(statfsSync(path).type)
}
