import { closeSync, constants, lstatSync, openSync, readdirSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { destroySubvolumesIn } from './btrfs-nested.ts'
import { errnoOf } from './kernel-error.ts'
import { removeTree, removeTreeAcross } from './remove-tree.ts'
import { ioctl } from './syscalls.ts'

/**
 * Subvolumes, by ioctl (linux/btrfs.h) instead of the `btrfs` program: three calls of one structure, no package that a
 * host must have, and an errno in place of a sentence.
 */
const REQUEST = { snapshot: 0x50009401, create: 0x5000940e, destroy: 0x5000940f } as const
/** struct btrfs_ioctl_vol_args: a 64-bit descriptor and a name. */
const ARGUMENT_BYTES = 4096
const NAME_AT = 8
/** Each subvolume's root has this inode number (BTRFS_FIRST_FREE_OBJECTID). */
const ROOT_INODE = 256n

/** Errors: `host.kernel-refused` (ENOTTY: no btrfs here), `host.disk-full`. */
export function createSubvolume(path: string): void {
  call('create', path, 0)
}

/** A writable snapshot of a subvolume. */
export function snapshotSubvolume(from: string, to: string): void {
  const source = openSync(from, constants.O_RDONLY | constants.O_DIRECTORY)
  try {
    call('snapshot', to, source)
  } finally {
    closeSync(source)
  }
}

/** Removes a folder with the subvolumes in it, those that a container made too. One that is not there is no error. */
export async function removeWithSubvolumes(path: string): Promise<void> {
  const stat = lstatSync(path, { bigint: true, throwIfNoEntry: false })
  if (!stat) return
  if (stat.ino === ROOT_INODE) return destroySubvolume(path)
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    const child = join(path, entry.name)
    if (entry.isDirectory() && lstatSync(child, { bigint: true }).ino === ROOT_INODE) await destroySubvolume(child)
  }
  await removeTree(path)
}

async function destroySubvolume(path: string): Promise<void> {
  try {
    call('destroy', path, 0)
  } catch (error) {
    // A folder of another filesystem may have the same inode number.
    if (errnoOf(error) === 'ENOTTY') return removeTree(path)
    if (errnoOf(error) !== 'ENOTEMPTY') throw error
    if (await destroyNested(path)) call('destroy', path, 0)
    else await removeTreeAcross(path) // An emptied subvolume goes as a folder does (Linux 4.18).
  }
}

async function destroyNested(path: string): Promise<boolean> {
  const subvolume = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY)
  try {
    return await destroySubvolumesIn(subvolume)
  } finally {
    closeSync(subvolume)
  }
}

function call(request: keyof typeof REQUEST, path: string, fd: number): void {
  const argument = Buffer.alloc(ARGUMENT_BYTES)
  argument.writeBigInt64LE(BigInt(fd), 0)
  argument.write(basename(path), NAME_AT, ARGUMENT_BYTES - NAME_AT - 1)
  const parent = openSync(dirname(path), constants.O_RDONLY | constants.O_DIRECTORY)
  try {
    ioctl(parent, REQUEST[request], argument, `${request} the subvolume ${path}`)
  } finally {
    closeSync(parent)
  }
}
