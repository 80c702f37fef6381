import { sizeInWords } from '#shared/size-in-words.ts'
import { invalidTar, namesOf, shown, type TarEntry } from './tar-format.ts'
import type { StoredData, TarConsumer } from './tar-reader.ts'

export interface TarLimits {
  /** Of all files together, holes included. */
  maxBytes: number
  maxEntries: number
}

export const LAYER_ERRORS = { invalid: 'layer.invalid', unsafe: 'layer.invalid' } as const
/** OCI image-spec, layer.md, "Whiteouts". */
export const WHITEOUT = '.wh.'
export const OPAQUE_WHITEOUT = '.wh..wh..opq'
/** AUFS kept its own files under this; they say nothing about the layer, and Docker skips them, too. */
const AUFS = '.wh..wh.'

/**
 * What a layer's entries become: files of a folder (`TreeWriter`), or an index (`IndexTree`). Names are Latin-1, without
 * `..`; the root is the empty list; `path` is what errors name.
 */
export interface LayerTree extends Disposable {
  /** A folder that is there keeps what is in it. */
  folder(names: readonly string[], entry: TarEntry): void
  /** Begins a file, whose bytes follow through `write` and `endFile`. */
  file(names: readonly string[], entry: TarEntry, stored: StoredData): void
  write(bytes: Buffer, offset: number): void
  endFile(): void
  symlink(names: readonly string[], entry: TarEntry): void
  hardlink(names: readonly string[], target: readonly string[], entry: TarEntry): void
  /** A device or FIFO. */
  node(names: readonly string[], entry: TarEntry): void
  /** Hides what lower layers have of this name. What this layer itself has of it stays. */
  whiteout(names: readonly string[], path: string): void
  /** Hides what lower layers have in this folder. */
  opaque(names: readonly string[], path: string): void
  /** After the last entry. */
  finish(): void
}

/**
 * Writes a layer's entries into a tree in overlay's form: OCI whiteouts become 0/0 character devices and opaque marks.
 * Absolute names lose their first slash; `..` takes the name before it away, whatever link that is (as in Docker and
 * containerd, which clean names as text), and is refused where none is left.
 * Device nodes are made, since they are part of an image: layers lie in a folder that root alone may enter, and are
 * mounted without devices, so that they are inert.
 */
export class LayerWriter implements TarConsumer, Disposable {
  readonly #tree: LayerTree
  readonly #limits: TarLimits
  readonly #hasWhiteouts: boolean
  #entries = 0
  #bytes = 0

  /** `hasWhiteouts`: false for the tar of a folder that is no layer, in which `.wh.` begins a name as any other. */
  constructor(tree: LayerTree, limits: TarLimits, hasWhiteouts = true) {
    this.#tree = tree
    this.#limits = limits
    this.#hasWhiteouts = hasWhiteouts
  }

  entry(entry: TarEntry, stored: StoredData): void {
    this.#count(entry)
    const names = safeNames(entry.path)
    const name = names.at(-1) ?? ''
    if (!this.#hasWhiteouts) {
      this.#make(names, entry, stored)
      return
    }
    if (names.some(part => part.startsWith(AUFS) && part !== OPAQUE_WHITEOUT)) return
    if (names.slice(0, -1).some(part => part.startsWith(WHITEOUT))) {
      throw invalidTar(LAYER_ERRORS, 'lies below a whiteout (.wh.), which cannot have files in it', entry.path)
    }
    if (name.startsWith(WHITEOUT)) {
      this.#hide(names, name, entry.path)
      return
    }
    if (isOverlayWhiteout(entry)) {
      const why = 'is the character device 0:0, by which overlay hides files: leave it out, or write .wh.NAME'
      throw invalidTar(LAYER_ERRORS, why, entry.path)
    }
    this.#make(names, entry, stored)
  }

  data(bytes: Buffer, offset: number): void {
    this.#tree.write(bytes, offset)
  }

  end(): void {
    this.#tree.endFile()
  }

  finish(): void {
    this.#tree.finish()
  }

  [Symbol.dispose](): void {
    this.#tree[Symbol.dispose]()
  }

  #count(entry: TarEntry): void {
    const { maxEntries, maxBytes } = this.#limits
    this.#entries++
    this.#bytes += entry.size
    if (this.#entries > maxEntries)
      throw invalidTar(LAYER_ERRORS, `has more than ${maxEntries} entries: split it into several layers`)
    if (this.#bytes > maxBytes)
      throw invalidTar(LAYER_ERRORS, `has more than ${sizeInWords(maxBytes)} of files: split it into several layers`)
  }

  #hide(names: readonly string[], name: string, path: string): void {
    const parent = names.slice(0, -1)
    if (name === OPAQUE_WHITEOUT) {
      this.#tree.opaque(parent, path)
      return
    }
    const hidden = name.slice(WHITEOUT.length)
    if (['', '.', '..'].includes(hidden))
      throw invalidTar(LAYER_ERRORS, 'hides nothing that could be there: write .wh.NAME', path)
    this.#tree.whiteout([...parent, hidden], path)
  }

  #make(names: readonly string[], entry: TarEntry, stored: StoredData): void {
    if (entry.type === 'folder') this.#tree.folder(names, entry)
    else if (names.length === 0)
      throw invalidTar(LAYER_ERRORS, 'would replace the root folder with something that is not a folder', entry.path)
    else if (entry.type === 'file') this.#tree.file(names, entry, stored)
    else if (entry.type === 'symlink') this.#tree.symlink(names, entry)
    else if (entry.type === 'hardlink') this.#tree.hardlink(names, safeNames(entry.linkTarget, entry.path), entry)
    else this.#tree.node(names, entry)
  }
}

/** Some drivers would hide a file of the layers below with it, others show a device. */
function isOverlayWhiteout({ type, major, minor }: TarEntry): boolean {
  return type === 'character' && major === 0 && minor === 0
}

/** `linkOf`: as `namesOf` has it. */
function safeNames(path: string, linkOf?: string): string[] {
  const names = namesOf(path, LAYER_ERRORS, linkOf)
  if (!names.includes('..')) return names
  const inside: string[] = []
  for (const name of names) {
    if (name !== '..') inside.push(name)
    else if (inside.pop() === undefined) {
      const what = linkOf === undefined ? 'leads' : `links to ${shown(path)}, which leads`
      throw invalidTar(
        LAYER_ERRORS,
        `${what} out of the root by "..": make the tar with names inside of it`,
        linkOf ?? path,
      )
    }
  }
  return inside
}
