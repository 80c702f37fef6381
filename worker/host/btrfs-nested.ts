import { setImmediate } from 'node:timers/promises'
import { SlipwayError } from '#shared/errors.ts'
import { errnoOf } from './kernel-error.ts'
import { ioctl } from './syscalls.ts'

/**
 * The subvolumes that somebody made inside of another one, by their numbers (linux/btrfs.h, linux/btrfs_tree.h): a
 * container may have made any number of them, under names of any bytes, deeper than a path may be long.
 */
const REQUEST = { lookup: 0xd0009412, search: 0xd0009411, destroyNumbered: 0x5000943f } as const
const ARGUMENT_BYTES = 4096
/** BTRFS_FIRST_FREE_OBJECTID: the inode number of each subvolume's root. */
const ROOT_INODE = 256n
/** The tree that says which subvolume lies in which, and the type of what says so (BTRFS_ROOT_REF_KEY). */
const ROOT_TREE = 1n
const ROOT_REF = 156
/** struct btrfs_ioctl_search_key, and the header before each item that was found. */
const SEARCH_KEY_BYTES = 104
const ITEM_HEADER_BYTES = 32
const MOST_ITEMS = 64
const LARGEST = 2n ** 64n - 1n
/** struct btrfs_ioctl_vol_args_v2: `flags` has BTRFS_SUBVOL_SPEC_BY_ID (Linux 5.7). */
const FLAGS_AT = 16
const BY_NUMBER = 16n
const NUMBER_AT = 56
/** More in one container is an attack, or nobody's to remove by itself. */
const MOST_SUBVOLUMES = 100_000

/** What the kernel says of one whose path it cannot write down, and of those that such a one lies in. */
const TOO_DEEP = new Set(['ENAMETOOLONG', 'ENOTEMPTY'])

/**
 * Destroys the subvolumes in an open one, the innermost first. False: some lie deeper than a path may be long, and are
 * left. Errors: `host.kernel-refused`.
 */
export async function destroySubvolumesIn(subvolume: number): Promise<boolean> {
  let isAll = true
  const outermostFirst = [numberOf(subvolume)]
  for (let at = 0; at < outermostFirst.length; at++) {
    outermostFirst.push(...childrenOf(subvolume, outermostFirst[at] ?? 0n))
    if (outermostFirst.length > MOST_SUBVOLUMES) {
      const message = `More than ${MOST_SUBVOLUMES} subvolumes lie in one of a container's: remove them by hand.`
      throw new SlipwayError('host.kernel-refused', message)
    }
    await setImmediate() // Others want the event loop too.
  }
  for (const number of outermostFirst.slice(1).reverse()) {
    if (!destroyNumbered(subvolume, number)) isAll = false
    await setImmediate()
  }
  return isAll
}

function destroyNumbered(subvolume: number, number: bigint): boolean {
  const argument = Buffer.alloc(ARGUMENT_BYTES)
  argument.writeBigUInt64LE(BY_NUMBER, FLAGS_AT)
  argument.writeBigUInt64LE(number, NUMBER_AT)
  try {
    ioctl(subvolume, REQUEST.destroyNumbered, argument, `destroy the subvolume ${number}`)
    return true
  } catch (error) {
    if (TOO_DEEP.has(errnoOf(error) ?? '')) return false
    throw error
  }
}

function numberOf(subvolume: number): bigint {
  const argument = Buffer.alloc(ARGUMENT_BYTES)
  argument.writeBigUInt64LE(ROOT_INODE, 8)
  ioctl(subvolume, REQUEST.lookup, argument, 'look a subvolume up')
  return argument.readBigUInt64LE(0)
}

function childrenOf(subvolume: number, parent: bigint): bigint[] {
  const children: bigint[] = []
  for (let from = 0n; ; from = (children.at(-1) ?? 0n) + 1n) {
    const found = search(subvolume, parent, from)
    if (found.length === 0) return children
    children.push(...found)
  }
}

/** Numbers of subvolumes right below another, from one on; not all of them. */
function search(subvolume: number, parent: bigint, from: bigint): bigint[] {
  const argument = Buffer.alloc(ARGUMENT_BYTES)
  const key = [ROOT_TREE, parent, parent, from, LARGEST, 0n, LARGEST]
  for (const [at, value] of key.entries()) argument.writeBigUInt64LE(value, at * 8)
  for (const [at, value] of [ROOT_REF, ROOT_REF, MOST_ITEMS].entries()) argument.writeUInt32LE(value, 56 + at * 4)
  ioctl(subvolume, REQUEST.search, argument, 'look for subvolumes')
  const found: bigint[] = []
  let at = SEARCH_KEY_BYTES
  for (let left = argument.readUInt32LE(64); left > 0; left--) {
    found.push(argument.readBigUInt64LE(at + 16))
    at += ITEM_HEADER_BYTES + argument.readUInt32LE(at + 28)
  }
  return found
}
