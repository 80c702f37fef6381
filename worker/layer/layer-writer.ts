import { invalidTar, namesOf, type TarEntry } from './tar-format.ts'
import type { TarConsumer } from './tar-reader.ts'
import { TreeWriter } from './tree-writer.ts'

export interface TarLimits {
  /** Of all files together, holes included. */
  maxBytes: number
  maxEntries: number
}

export const LAYER_ERRORS = { invalid: 'layer.invalid', unsafe: 'layer.invalid' } as const
/** OCI image-spec, layer.md, "Whiteouts". */
export const WHITEOUT = '.wh.'
export const OPAQUE_WHITEOUT = '.wh..wh..opq'
/** AUFS kept its own files under this; they say nothing about the layer. */
const AUFS = '.wh..wh.'

/**
 * Writes a layer's entries into an overlay folder: OCI whiteouts become 0/0 character devices and opaque marks.
 * Absolute names lose their first slash; `..` in a name is refused, since no tool that makes layers writes it.
 * Device nodes are made, since they are part of an image: layers lie in a folder that root alone may enter, and are
 * mounted without devices, so that they are inert.
 */
export class LayerWriter implements TarConsumer, Disposable {
  readonly #tree: TreeWriter
  readonly #limits: TarLimits
  #entries = 0
  #bytes = 0

  constructor(folder: string, limits: TarLimits) {
    this.#tree = new TreeWriter(folder, { followsLinks: true, keepsOwners: true, errors: LAYER_ERRORS })
    this.#limits = limits
  }

  entry(entry: TarEntry): void {
    this.#count(entry)
    const names = safeNames(entry.path, entry.path)
    const name = names.at(-1) ?? ''
    if (names.slice(0, -1).some(part => part.startsWith(WHITEOUT))) {
      throw invalidTar(LAYER_ERRORS, 'lies below a whiteout', entry.path)
    }
    if (name.startsWith(WHITEOUT)) this.#hide(names, name, entry.path)
    else this.#make(names, entry)
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
    if (this.#entries > maxEntries) throw invalidTar(LAYER_ERRORS, `has more than ${maxEntries} entries`)
    if (this.#bytes > maxBytes) throw invalidTar(LAYER_ERRORS, `has more than ${maxBytes} bytes of files`)
  }

  #hide(names: readonly string[], name: string, path: string): void {
    const parent = names.slice(0, -1)
    if (name === OPAQUE_WHITEOUT) this.#tree.opaque(parent, path)
    if (name.startsWith(AUFS)) return
    const hidden = name.slice(WHITEOUT.length)
    if (['', '.', '..'].includes(hidden)) throw invalidTar(LAYER_ERRORS, 'hides a name that cannot be', path)
    this.#tree.whiteout([...parent, hidden], path)
  }

  #make(names: readonly string[], entry: TarEntry): void {
    if (entry.type === 'folder') this.#tree.folder(names, entry)
    else if (names.length === 0) throw invalidTar(LAYER_ERRORS, 'would replace the root folder', entry.path)
    else if (entry.type === 'file') this.#tree.file(names, entry)
    else if (entry.type === 'symlink') this.#tree.symlink(names, entry)
    else if (entry.type === 'hardlink') this.#tree.hardlink(names, safeNames(entry.linkTarget, entry.path), entry)
    else this.#tree.node(names, entry)
  }
}

function safeNames(path: string, entryPath: string): string[] {
  const names = namesOf(path, LAYER_ERRORS)
  if (names.includes('..')) throw invalidTar(LAYER_ERRORS, 'leads out of the layer by ".."', entryPath)
  return names
}
