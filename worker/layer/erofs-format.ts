/**
 * The on-disk structures of EROFS that a layer's index needs (EROFS documentation, "Core on-disk format", "Chunk-based
 * inode layout" and "Extended attributes"; Linux, Documentation/filesystems/erofs.rst). Little endian, in blocks of 512
 * bytes as tars have them. Pure: bytes into buffers.
 */
export const EROFS_BLOCK_BITS = 9
export const EROFS_BLOCK = 1 << EROFS_BLOCK_BITS
/** Inodes are found by number, in units of this from the start of the metadata. */
export const INODE_SLOT = 32
/** The long form of an inode: all owners, its own time to the nanosecond. */
export const INODE_BYTES = 64
export const DIRENT_BYTES = 12
export const CHUNK_INDEX_BYTES = 8
/** The start block of a chunk that is a hole. */
export const HOLE = 0xffffffff
/** The image itself, and the second device: the tar. */
export const DEVICE = { index: 0, tar: 1 } as const

const SUPERBLOCK_OFFSET = 1024
const SUPERBLOCK_BYTES = 128
const DEVICE_SLOT_BYTES = 128
/** What is before the first block that may hold anything else: superblock and table of devices. */
export const HEAD_BYTES = 1536
const MAGIC = 0xe0f5e1e2
const COMPAT_MTIME = 0x2
const INCOMPAT = { chunkedFile: 0x4, deviceTable: 0x8 } as const

export const LAYOUT = { plain: 0, inline: 2, chunks: 4 } as const
const CHUNKS_WITH_DEVICE = 0x20

export const TYPE_MASK = 0o170000
export const TYPE = {
  fifo: 0o010000,
  character: 0o020000,
  folder: 0o040000,
  block: 0o060000,
  file: 0o100000,
  symlink: 0o120000,
} as const
/** In entries of folders (linux/fs_types.h). */
const FILE_TYPES: Readonly<Record<number, number>> = {
  [TYPE.file]: 1,
  [TYPE.folder]: 2,
  [TYPE.character]: 3,
  [TYPE.block]: 4,
  [TYPE.fifo]: 5,
  [TYPE.symlink]: 7,
}

export interface Superblock {
  rootNid: number
  inodes: number
  /** Of the whole image, in blocks. */
  blocks: number
  metadataBlock: number
  tarBlocks: number
  uuid: Uint8Array
}

/** The first 1,536 bytes of an image. */
export function encodeHead({ rootNid, inodes, blocks, metadataBlock, tarBlocks, uuid }: Superblock): Buffer {
  const head = Buffer.alloc(HEAD_BYTES)
  const superblock = head.subarray(SUPERBLOCK_OFFSET)
  const slot = SUPERBLOCK_OFFSET + SUPERBLOCK_BYTES
  superblock.writeUInt32LE(MAGIC, 0)
  superblock.writeUInt32LE(COMPAT_MTIME, 8)
  superblock.writeUInt8(EROFS_BLOCK_BITS, 12)
  superblock.writeUInt16LE(rootNid, 14)
  superblock.writeBigUInt64LE(BigInt(inodes), 16)
  superblock.writeUInt32LE(blocks, 36)
  superblock.writeUInt32LE(metadataBlock, 40)
  superblock.set(uuid, 48)
  superblock.writeUInt32LE(INCOMPAT.chunkedFile | INCOMPAT.deviceTable, 80)
  superblock.writeUInt16LE(1, 86) // Devices besides the image.
  superblock.writeUInt16LE(slot / DEVICE_SLOT_BYTES, 88)
  head.writeUInt32LE(tarBlocks, slot + 64)
  return head
}

export interface Inode {
  layout: number
  /** Of its extended attributes, as `encodeXattrs` made them. */
  xattrBytes: number
  /** Type and permissions. */
  mode: number
  uid: number
  gid: number
  nlink: number
  size: number
  seconds: number
  nanoseconds: number
  /** First block (plain), chunk format (chunks) or device number. */
  union: number
  /** What stat(2) shows on machines of 32 bits. */
  serial: number
}

/** Into a buffer that is zero there. */
export function writeInode(into: Buffer, at: number, inode: Inode): void {
  into.writeUInt16LE(1 | (inode.layout << 1), at)
  into.writeUInt16LE(inode.xattrBytes === 0 ? 0 : (inode.xattrBytes - XATTR_HEADER_BYTES) / 4 + 1, at + 2)
  into.writeUInt16LE(inode.mode, at + 4)
  writeUInt64(into, inode.size, at + 8)
  into.writeUInt32LE(inode.union, at + 16)
  into.writeUInt32LE(inode.serial, at + 20)
  into.writeUInt32LE(inode.uid, at + 24)
  into.writeUInt32LE(inode.gid, at + 28)
  writeUInt64(into, inode.seconds, at + 32)
  into.writeUInt32LE(inode.nanoseconds, at + 40)
  into.writeUInt32LE(inode.nlink, at + 44)
}

/** Two's complement: a negative second is before 1970. */
function writeUInt64(into: Buffer, value: number, at: number): void {
  into.writeUInt32LE(value % 2 ** 32 < 0 ? (value % 2 ** 32) + 2 ** 32 : value % 2 ** 32, at)
  into.writeInt32LE(Math.floor(value / 2 ** 32), at + 4)
}

/** As stat(2) has it in 32 bits: 12 of the major number, 20 of the minor one (linux/kdev_t.h, new_encode_dev). */
export function encodeDevice(major: number, minor: number): number {
  return ((minor & 0xff) | ((major & 0xfff) << 8) | ((minor & 0xfff00) << 12)) >>> 0
}

/** What an inode says of its chunks, each of 2^`bits` bytes. */
export function chunkFormat(bits: number): number {
  return CHUNKS_WITH_DEVICE | (bits - EROFS_BLOCK_BITS)
}

export function writeChunkIndex(into: Buffer, at: number, device: number, block: number): void {
  into.writeUInt16LE(device, at + 2)
  into.writeUInt32LE(block, at + 4)
}

export interface Dirent {
  /** Latin-1. */
  name: string
  nid: number
  mode: number
}

/** Writes entries, which `fillOf` said fit, into one block of a folder. */
export function writeDirents(into: Buffer, at: number, entries: readonly Dirent[]): void {
  let nameAt = entries.length * DIRENT_BYTES
  entries.forEach(({ name, nid, mode }, index) => {
    const entryAt = at + index * DIRENT_BYTES
    writeUInt64(into, nid, entryAt)
    into.writeUInt16LE(nameAt, entryAt + 8)
    into.writeUInt8(FILE_TYPES[mode & TYPE_MASK] ?? 0, entryAt + 10)
    into.write(name, at + nameAt, 'latin1')
    nameAt += name.length
  })
}

const XATTR_HEADER_BYTES = 12
const MAX_XATTR_NAME = 255
const MAX_XATTR_VALUE = 0xffff
const MAX_XATTRS_BYTES = XATTR_HEADER_BYTES + 4 * 0xfffe
/** By the start of the name. The access lists' names are all prefix. */
const XATTR_PREFIXES = [
  ['user.', 1],
  ['system.posix_acl_access', 2],
  ['system.posix_acl_default', 3],
  ['trusted.', 4],
  ['security.', 6],
] as const

/** Extended attributes as they follow their inode; undefined when the format cannot hold them. */
export function encodeXattrs(xattrs: ReadonlyMap<string, string>): Buffer | undefined {
  const records: Buffer[] = []
  for (const name of [...xattrs.keys()].sort()) {
    const record = encodeXattr(name, xattrs.get(name) ?? '')
    if (!record) return undefined
    records.push(record)
  }
  const bytes = Buffer.concat([Buffer.alloc(XATTR_HEADER_BYTES), ...records])
  return bytes.length <= MAX_XATTRS_BYTES ? bytes : undefined
}

function encodeXattr(name: string, value: string): Buffer | undefined {
  const [prefix, index] = XATTR_PREFIXES.find(([start]) => name.startsWith(start)) ?? []
  if (prefix === undefined || name.length > MAX_XATTR_NAME || value.length > MAX_XATTR_VALUE) return undefined
  const suffix = name.slice(prefix.length)
  if (suffix.includes('\0')) return undefined
  if ((suffix === '') === prefix.endsWith('.')) return undefined
  const record = Buffer.alloc(Math.ceil((4 + suffix.length + value.length) / 4) * 4)
  record.writeUInt8(suffix.length, 0)
  record.writeUInt8(index ?? 0, 1)
  record.writeUInt16LE(value.length, 2)
  record.write(suffix, 4, 'latin1')
  record.write(value, 4 + suffix.length, 'latin1')
  return record
}
