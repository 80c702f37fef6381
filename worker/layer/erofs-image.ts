import { createHash } from 'node:crypto'
import {
  CHUNK_INDEX_BYTES,
  chunkFormat,
  DEVICE,
  DIRENT_BYTES,
  EROFS_BLOCK,
  EROFS_BLOCK_BITS,
  encodeHead,
  INODE_BYTES,
  INODE_SLOT,
  LAYOUT,
  TYPE,
  TYPE_MASK,
  writeChunkIndex,
  writeDirents,
  writeInode,
} from './erofs-format.ts'
import { type FolderContent, folderOf, type IndexNode } from './index-node.ts'
import { LAYER_ERRORS } from './layer-writer.ts'
import { invalidTar } from './tar-format.ts'

export interface ImageParts {
  root: IndexNode
  /** Of the whole tar. */
  tarBytes: number
  /** The block of the image at which the metadata begins: behind the head and what was copied. */
  firstBlock: number
}

export interface Image {
  head: Buffer
  metadata: Buffer
  /** The metadata's place in the image, which ends with it. */
  metadataAt: number
}

/** What is made at once in memory. */
const MAX_METADATA_BYTES = 512 * 1024 ** 2

/** Where everything is. Byte offsets are from the start of the metadata. */
interface Plan {
  /** In the order of their inodes. */
  nodes: IndexNode[]
  /** Of each folder, in the order in which it shows them, `.` and `..` too. */
  names: Map<IndexNode, string[]>
  /** Of those whose entries or target do not fit behind their inode: where their blocks begin, in the area of blocks. */
  blocks: Map<IndexNode, number>
  inodeBytes: number
  blockBytes: number
}

/**
 * A layer's EROFS metadata image: inodes folder by folder, files without holes as one chunk in the second device, then
 * the entries of large folders in blocks. The same tree gives the same bytes. Throws `layer.invalid` for a layer whose
 * metadata would be larger than 512 MiB. The tree serves once.
 */
export function encodeImage({ root, tarBytes, firstBlock }: ImageParts): Image {
  const plan = placeAll(root)
  const blocksAt = roundUp(plan.inodeBytes, EROFS_BLOCK)
  const size = blocksAt + plan.blockBytes
  if (size > MAX_METADATA_BYTES) {
    throw invalidTar(
      LAYER_ERRORS,
      `needs an index of more than ${MAX_METADATA_BYTES / 1024 ** 2} MiB: split it into several layers`,
    )
  }
  const metadata = Buffer.alloc(size)
  plan.nodes.forEach((node, serial) => {
    writeNode(metadata, plan, node, serial + 1, { blocksAt, firstBlock })
  })
  const head = encodeHead({
    rootNid: root.nid,
    inodes: plan.nodes.length,
    blocks: firstBlock + size / EROFS_BLOCK,
    metadataBlock: firstBlock - 1, // Inode numbers begin above 0, which programs take for "none".
    tarBlocks: Math.ceil(tarBytes / EROFS_BLOCK),
    // Overlay tells layers apart by it.
    uuid: createHash('sha256').update(metadata).digest().subarray(0, 16),
  })
  return { head, metadata, metadataAt: firstBlock * EROFS_BLOCK }
}

/** The root first: the head has 16 bits for its number. Then each folder's own, side by side. */
function placeAll(root: IndexNode): Plan {
  const plan: Plan = { nodes: [], names: new Map(), blocks: new Map(), inodeBytes: 0, blockBytes: 0 }
  place(plan, root)
  const folders = [root]
  for (let node = folders.pop(); node; node = folders.pop()) {
    const children = folderOf(node)?.children
    for (const name of plan.names.get(node) ?? []) {
      const child = children?.get(name)
      if (!child || child.nid >= 0) continue
      place(plan, child)
      if (folderOf(child)) folders.push(child)
    }
  }
  return plan
}

function place(plan: Plan, node: IndexNode): void {
  const folder = folderOf(node)
  if (folder) sortNames(plan, node, folder)
  const own = INODE_BYTES + (node.xattrs?.encoded.length ?? 0)
  const isInline = isInBlocks(node) && own + node.size <= EROFS_BLOCK
  const bytes = isInline ? own + node.size : roundUp(own, CHUNK_INDEX_BYTES) + chunkCount(node) * CHUNK_INDEX_BYTES
  // What is inline must not cross the end of a block.
  const room = EROFS_BLOCK - (plan.inodeBytes % EROFS_BLOCK)
  if (isInline && bytes > room) plan.inodeBytes += room
  node.nid = (plan.inodeBytes + EROFS_BLOCK) / INODE_SLOT
  plan.nodes.push(node)
  plan.inodeBytes += roundUp(bytes, INODE_SLOT)
  if (!isInBlocks(node) || isInline) return
  plan.blocks.set(node, plan.blockBytes)
  plan.blockBytes += roundUp(node.size, EROFS_BLOCK)
}

function sortNames(plan: Plan, node: IndexNode, { children }: FolderContent): void {
  // Latin-1: text is compared as its bytes are.
  const names = ['.', '..', ...children.keys()].sort()
  plan.names.set(node, names)
  for (const { at, bytes } of direntBlocks(names)) node.size = at + bytes
  let folders = 0
  for (const child of children.values()) if (folderOf(child)) folders++
  node.nlink = 2 + folders
}

/** Whether what belongs to it (entries, a target) is in the image. */
function isInBlocks({ mode }: IndexNode): boolean {
  const type = mode & TYPE_MASK
  return type === TYPE.folder || type === TYPE.symlink
}

function chunkCount({ mode, size, content }: IndexNode): number {
  if ((mode & TYPE_MASK) !== TYPE.file || size === 0) return 0
  return typeof content === 'object' && 'blocks' in content ? content.blocks.length : 1
}

/** Names by the block that their entries are in: those from `start` to before `end`, at this byte of the folder. */
function* direntBlocks(
  names: readonly string[],
): Generator<{ start: number; end: number; at: number; bytes: number }, void> {
  let start = 0
  let at = 0
  let bytes = 0
  for (const [index, name] of names.entries()) {
    const more = DIRENT_BYTES + name.length
    if (bytes + more > EROFS_BLOCK) {
      yield { start, end: index, at, bytes }
      start = index
      at += EROFS_BLOCK
      bytes = 0
    }
    bytes += more
  }
  yield { start, end: names.length, at, bytes }
}

interface Places {
  /** Of the area of blocks, in the metadata. */
  blocksAt: number
  /** Of the metadata, in the image. */
  firstBlock: number
}

function writeNode(into: Buffer, plan: Plan, node: IndexNode, serial: number, { blocksAt, firstBlock }: Places): void {
  const at = node.nid * INODE_SLOT - EROFS_BLOCK
  const xattrs = node.xattrs?.encoded
  const behind = at + INODE_BYTES + (xattrs?.length ?? 0)
  const block = plan.blocks.get(node)
  const ownAt = block === undefined ? behind : blocksAt + block
  const { layout, union } = block === undefined ? layoutOf(node) : { layout: LAYOUT.plain, union: 0 }
  const { mode, uid, gid, nlink, size, seconds, nanoseconds } = node
  writeInode(into, at, {
    ...{ layout, mode, uid, gid, nlink, size, seconds, nanoseconds, serial, xattrBytes: xattrs?.length ?? 0 },
    union: block === undefined ? union : firstBlock + ownAt / EROFS_BLOCK,
  })
  xattrs?.copy(into, at + INODE_BYTES)
  if (layout === LAYOUT.chunks) writeChunks(into, roundUp(behind, CHUNK_INDEX_BYTES), node)
  else if (typeof node.content === 'string') into.write(node.content, ownAt, 'latin1')
  else writeFolder(into, ownAt, plan.names.get(node) ?? [], node)
}

function layoutOf(node: IndexNode): { layout: number; union: number } {
  const { content } = node
  if (isInBlocks(node)) return { layout: LAYOUT.inline, union: 0 }
  if (chunkCount(node) > 0) return { layout: LAYOUT.chunks, union: chunkFormat(bitsOf(node)) }
  const isFile = (node.mode & TYPE_MASK) === TYPE.file
  return { layout: LAYOUT.plain, union: typeof content === 'number' && !isFile ? content : 0 }
}

/** A file without holes is one chunk. */
function bitsOf({ content, size }: IndexNode): number {
  if (typeof content === 'object' && 'bits' in content) return content.bits
  return Math.max(EROFS_BLOCK_BITS, Math.ceil(Math.log2(size)))
}

function writeChunks(into: Buffer, at: number, { content }: IndexNode): void {
  if (typeof content === 'number') writeChunkIndex(into, at, DEVICE.tar, content / EROFS_BLOCK)
  if (typeof content !== 'object' || !('blocks' in content)) return
  content.blocks.forEach((block, index) => {
    writeChunkIndex(into, at + index * CHUNK_INDEX_BYTES, content.devices[index] ?? 0, block)
  })
}

function writeFolder(into: Buffer, ownAt: number, names: readonly string[], node: IndexNode): void {
  const folder = folderOf(node)
  if (!folder) return
  const find = (name: string) => {
    if (name === '.') return node
    return name === '..' ? folder.parent : (folder.children.get(name) ?? node)
  }
  for (const { start, end, at } of direntBlocks(names)) {
    const entries = names.slice(start, end).map(name => {
      const { nid, mode } = find(name)
      return { name, nid, mode }
    })
    writeDirents(into, ownAt + at, entries)
  }
}

function roundUp(bytes: number, unit: number): number {
  return Math.ceil(bytes / unit) * unit
}
