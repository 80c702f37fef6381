import type { SlipwayError } from '#shared/errors.ts'
import { type ChunkMap, copiesOf, mapChunks } from './chunk-map.ts'
import { FAULT, linksToMissing } from './entry-faults.ts'
import { EROFS_BLOCK, encodeDevice, encodeXattrs, HEAD_BYTES, TYPE, TYPE_MASK } from './erofs-format.ts'
import {
  folderOf,
  type IndexNode,
  isWhiteoutNode,
  makeFolderNode,
  makeNode,
  resolveFolder,
  type Xattrs,
} from './index-node.ts'
import { isKeptXattr } from './kept-xattrs.ts'
import { LAYER_ERRORS, type LayerTree } from './layer-writer.ts'
import { checkLinkTarget, invalidTar, MAX_NAME, type TarEntry } from './tar-format.ts'
import type { StoredData } from './tar-reader.ts'
import { OPAQUE } from './tree-writer.ts'

/** What a device number of Linux holds (include/uapi/linux/kdev_t.h: 12 and 20 bits). */
const MAX_MAJOR = 0xfff
const MAX_MINOR = 0xfffff
/** Of names, link targets, attributes and maps of holes together. A million real files have 50 MiB. */
const MAX_VARIABLE_BYTES = 128 * 1024 ** 2
const NO_XATTRS: ReadonlyMap<string, string> = new Map()
/** Files alone may have them (xattr(7)). */
const USER_XATTR = 'user.'
/** From this length on V8 keeps a part of a text as a view of the whole. */
const SHARED_TEXT = 13

/** Bytes for the image, at this place of it. */
export type Copy = (bytes: Buffer, at: number) => void

/**
 * A layer as a tree in memory, by the same rules as `TreeWriter` makes files: names lead through links of the tree, later
 * entries take the place of earlier ones, missing folders are made. Takes about 600 bytes an entry, its share of the image included. A folder that no
 * entry describes is 0755, root's, of 1970: the same tar gives the same tree.
 */
export class IndexTree implements LayerTree {
  readonly root = makeFolderNode(undefined)
  readonly #maxNodes: number
  readonly #copy: Copy
  readonly #xattrs = new Map<string, Xattrs>()
  /** The folder of the last entry: tars have the files of a folder one behind the other. */
  #last: { path: string; folder: IndexNode } | undefined
  #chunks: ChunkMap | undefined
  #nodes = 1
  #variableBytes = 0
  #copiedBlocks = 0
  /** What errors name. */
  #entryPath = ''

  constructor(maxNodes: number, copy: Copy) {
    this.#maxNodes = maxNodes
    this.#copy = copy
  }

  /** The first block of the image behind what was copied. */
  get firstFreeBlock(): number {
    return HEAD_BYTES / EROFS_BLOCK + this.#copiedBlocks
  }

  folder(names: readonly string[], entry: TarEntry): void {
    this.#entryPath = entry.path
    const name = names.at(-1)
    this.#describe(name === undefined ? this.root : this.#ensureFolder(this.#parent(names), name, true), entry)
  }

  file(names: readonly string[], entry: TarEntry, stored: StoredData): void {
    this.#entryPath = entry.path
    this.#chunks = stored.extents ? mapChunks(entry.size, stored, this.firstFreeBlock) : undefined
    this.#copiedBlocks += this.#chunks?.copiedBlocks ?? 0
    this.#count((this.#chunks?.blocks.length ?? 0) * 8)
    const node = makeNode(TYPE.file, this.#chunks ?? stored.position)
    node.size = entry.size
    this.#put(names, node, entry)
  }

  write(bytes: Buffer, offset: number): void {
    if (!this.#chunks || this.#chunks.copiedBlocks === 0) return
    for (const copy of copiesOf(this.#chunks, bytes, offset)) this.#copy(copy.bytes, copy.at)
  }

  endFile(): void {
    this.#chunks = undefined
  }

  symlink(names: readonly string[], entry: TarEntry): void {
    this.#entryPath = entry.path
    const { linkTarget } = entry
    checkLinkTarget(entry, LAYER_ERRORS)
    this.#count(linkTarget.length)
    const node = makeNode(TYPE.symlink, flat(linkTarget))
    node.size = linkTarget.length
    this.#put(names, node, { ...entry, mode: 0o777 })
  }

  hardlink(names: readonly string[], target: readonly string[], entry: TarEntry): void {
    this.#entryPath = entry.path
    if (names.join('/') === target.join('/')) throw this.#invalid(FAULT.linksToItself)
    const from = this.#find(target)
    if (!from || isWhiteoutNode(from)) throw this.#invalid(linksToMissing(entry.linkTarget))
    if (folderOf(from)) throw this.#invalid(FAULT.linksToFolder)
    const parent = this.#parent(names)
    this.#clear(parent, names.at(-1) ?? '')
    if (from.nlink === 0) throw this.#invalid(FAULT.replacesTarget)
    from.nlink++
    this.#add(parent, names.at(-1) ?? '', from)
  }

  node(names: readonly string[], entry: TarEntry): void {
    this.#entryPath = entry.path
    const isFifo = entry.type === 'fifo'
    if (entry.major > MAX_MAJOR || entry.minor > MAX_MINOR)
      throw this.#invalid('is a device that Linux has no number for')
    const type = isFifo ? TYPE.fifo : entry.type === 'block' ? TYPE.block : TYPE.character
    this.#put(names, makeNode(type, isFifo ? 0 : encodeDevice(entry.major, entry.minor)), entry)
  }

  whiteout(names: readonly string[], path: string): void {
    this.#entryPath = path
    const parent = this.#parent(names)
    const name = names.at(-1) ?? ''
    const there = folderOf(parent)?.children.get(name)
    if (!there) this.#add(parent, name, makeNode(TYPE.character, 0))
    else if (folderOf(there)) this.#mark(there)
  }

  opaque(names: readonly string[], path: string): void {
    this.#entryPath = path
    this.#mark(this.#parent([...names, '']))
  }

  finish(): void {}

  [Symbol.dispose](): void {}

  #put(names: readonly string[], node: IndexNode, entry: TarEntry): void {
    const parent = this.#parent(names)
    const name = names.at(-1) ?? ''
    this.#clear(parent, name)
    this.#describe(node, entry)
    this.#add(parent, name, node)
  }

  #describe(node: IndexNode, entry: TarEntry): void {
    node.mode = (node.mode & TYPE_MASK) | entry.mode
    node.uid = entry.uid
    node.gid = entry.gid
    node.seconds = entry.mtime.seconds
    node.nanoseconds = entry.mtime.nanoseconds
    if (entry.xattrs.size > 0) this.#setXattrs(node, entry.xattrs)
  }

  /** Later ones of the same folder add to earlier ones. */
  #setXattrs(node: IndexNode, xattrs: ReadonlyMap<string, string>): void {
    const kept = [...xattrs].filter(([name]) => isKeptXattr(name))
    const type = node.mode & TYPE_MASK
    if (type !== TYPE.file && type !== TYPE.folder && kept.some(([name]) => name.startsWith(USER_XATTR))) {
      throw this.#invalid('has an attribute that only files and folders can have: make the tar without it')
    }
    this.#addXattrs(node, kept)
  }

  #mark(node: IndexNode): void {
    this.#addXattrs(node, [[OPAQUE, 'y']])
  }

  #addXattrs(node: IndexNode, more: readonly [string, string][]): void {
    if (more.length === 0) return
    const values = new Map([...(node.xattrs?.values ?? NO_XATTRS), ...more])
    const encoded = encodeXattrs(values)
    if (!encoded)
      throw this.#invalid('has more attributes, or larger ones, than a file can have: make the tar without them')
    const key = encoded.toString('latin1')
    const known = this.#xattrs.get(key)
    if (!known) this.#count(3 * encoded.length)
    node.xattrs = known ?? { values, encoded }
    this.#xattrs.set(key, node.xattrs)
  }

  /** The folder that a name is made in; parts of the path that are missing are made. */
  #parent(names: readonly string[]): IndexNode {
    const path = names.slice(0, -1).join('/')
    if (this.#last?.path === path) return this.#last.folder
    const make = (folder: IndexNode, name: string) => this.#ensureFolder(folder, name, false)
    const folder = resolveFolder(this.root, names.slice(0, -1), this.#tooManyLinks, make) ?? this.root
    this.#last = { path, folder }
    return folder
  }

  /** A link among the last names is found itself. */
  #find(names: readonly string[]): IndexNode | undefined {
    const name = names.at(-1)
    if (name === undefined) return this.root
    const folder = resolveFolder(this.root, names.slice(0, -1), this.#tooManyLinks)
    return folder && folderOf(folder)?.children.get(name)
  }

  readonly #tooManyLinks = () => this.#invalid(FAULT.tooManyLinks)

  /** A folder in place of a whiteout of the same layer must go on hiding what lower layers have. */
  #ensureFolder(parent: IndexNode, name: string, replaces: boolean): IndexNode {
    const there = folderOf(parent)?.children.get(name)
    if (there && folderOf(there)) return there
    if (there && !replaces && !isWhiteoutNode(there)) throw this.#invalid(FAULT.belowFile)
    this.#clear(parent, name)
    const folder = makeFolderNode(parent)
    if (there && isWhiteoutNode(there)) this.#mark(folder)
    this.#add(parent, name, folder)
    return folder
  }

  #add(parent: IndexNode, name: string, node: IndexNode): void {
    if (name.length > MAX_NAME)
      throw this.#invalid(`needs a folder of more than ${MAX_NAME} bytes, which Linux cannot have: shorten it`)
    this.#nodes++
    if (this.#nodes > this.#maxNodes)
      throw invalidTar(LAYER_ERRORS, `has more than ${this.#maxNodes} files and folders: split it into several layers`)
    this.#count(name.length)
    folderOf(parent)?.children.set(flat(name), node)
  }

  /** Makes way for an entry. */
  #clear(parent: IndexNode, name: string): void {
    const children = folderOf(parent)?.children
    const there = children?.get(name)
    if (!there) return
    children?.delete(name)
    // The last folder may lie below what is gone, or behind a link that is gone.
    if (typeof there.content === 'string' || folderOf(there)) this.#last = undefined
    const gone = [there]
    for (let node = gone.pop(); node; node = gone.pop()) {
      const folder = folderOf(node)
      // One by one: as arguments, a large folder's would not fit on the stack.
      if (folder) for (const child of folder.children.values()) gone.push(child)
      else node.nlink--
    }
  }

  #count(bytes: number): void {
    this.#variableBytes += bytes
    if (this.#variableBytes <= MAX_VARIABLE_BYTES) return
    throw invalidTar(
      LAYER_ERRORS,
      `has more than ${MAX_VARIABLE_BYTES / 1024 ** 2} MiB of names and attributes: split it into several layers`,
    )
  }

  #invalid(why: string): SlipwayError {
    return invalidTar(LAYER_ERRORS, why, this.#entryPath)
  }
}

/** Without the text that it was cut out of, which would stay in memory with it. */
function flat(text: string): string {
  return text.length < SHARED_TEXT ? text : Buffer.from(text, 'latin1').toString('latin1')
}
