import type { ChunkMap } from './chunk-map.ts'
import { TYPE, TYPE_MASK } from './erofs-format.ts'
import { MAX_LINKS } from './tree-writer.ts'

/** What a file of a layer's index is: all that its inode says. Types are in `mode`; names are its folder's. */
export interface IndexNode {
  mode: number
  uid: number
  gid: number
  seconds: number
  nanoseconds: number
  nlink: number
  /** Of files. */
  size: number
  xattrs: Xattrs | undefined
  content: Content
  /** Where its inode is; given when the image is laid out. -1 before. */
  nid: number
}

/**
 * A folder's entries; a link's target (Latin-1); the position of a file's bytes in the tar, or its map of chunks; a
 * device number (`encodeDevice`). FIFOs have 0.
 */
export type Content = FolderContent | string | ChunkMap | number

export interface FolderContent {
  /** The root is its own. */
  parent: IndexNode
  children: Map<string, IndexNode>
}

/** A set of extended attributes, one object for all the files that have the same. */
export interface Xattrs {
  values: ReadonlyMap<string, string>
  encoded: Buffer
}

export function folderOf(node: IndexNode): FolderContent | undefined {
  return typeof node.content === 'object' && 'children' in node.content ? node.content : undefined
}

/** Overlay's mark for a name that hides the one below (kernel documentation, overlayfs). */
export function isWhiteoutNode({ mode, content }: IndexNode): boolean {
  return (mode & TYPE_MASK) === TYPE.character && content === 0
}

export function makeNode(mode: number, content: Content): IndexNode {
  return { mode, uid: 0, gid: 0, seconds: 0, nanoseconds: 0, nlink: 1, size: 0, xattrs: undefined, content, nid: -1 }
}

/** As a folder that no entry of the tar says anything about: 0755, root's, of 1970. */
export function makeFolderNode(parent: IndexNode | undefined): IndexNode {
  const node = makeNode(TYPE.folder | 0o755, 0)
  node.content = { parent: parent ?? node, children: new Map() }
  return node
}

/**
 * The folder that a path leads to, through links as if the tree were `/`. `make` gives what is to be where a name is
 * missing or no folder; without it the way ends there. `fail` makes the error of a way through too many links.
 */
export function resolveFolder(
  root: IndexNode,
  names: readonly string[],
  fail: () => Error,
  make?: (folder: IndexNode, name: string) => IndexNode,
): IndexNode | undefined {
  let at = root
  let links = 0
  const pending = names.toReversed()
  for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
    const folder = folderOf(at)
    if (!folder) return undefined
    if (name === '' || name === '.') continue
    const child = name === '..' ? folder.parent : folder.children.get(name)
    if (typeof child?.content === 'string') {
      if (++links > MAX_LINKS) throw fail()
      if (child.content.startsWith('/')) at = root
      pending.push(...child.content.split('/').reverse())
    } else if (child && folderOf(child)) at = child
    else if (make) at = make(at, name)
    else return undefined
  }
  return at
}
