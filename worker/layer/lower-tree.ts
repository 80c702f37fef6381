import { type BigIntStats, lstatSync } from 'node:fs'
import { lgetxattr } from '#worker/host/syscalls.ts'
import { type LiveTree, liveTree } from './live-tree.ts'
import { OPAQUE } from './tree-writer.ts'

/** The layers below an upper as they are shown together. Paths are Latin-1, and as long as Linux has them. */
export interface LowerTree extends Disposable {
  /** Each by itself, topmost first. */
  readonly layers: readonly LiveTree[]
  /** The folder that is shown under a path: for calls that follow no link at its end, until the next call. Undefined: none is. */
  folder(path: string): Buffer | undefined
  /** Whether anything is shown under a path. */
  isShown(path: string): boolean
}

/** `folders`: of the layers in overlay's form, topmost first, written to by nobody. */
export function lowerTree(folders: readonly string[]): LowerTree {
  using undo = new DisposableStack()
  const layers = shownLayers(folders).map(folder => undo.use(liveTree(folder)))
  const opened = undo.move()
  return {
    layers,
    folder: path => folderIn(layers, path),
    isShown: path => isShownIn(layers, path),
    [Symbol.dispose]: () => opened.dispose(),
  }
}

/**
 * Of layers' folders, topmost first, those of which anything is shown: none below one whose root is opaque. Overlay itself
 * knows no opaque roots. Costs a call of the kernel a layer.
 */
export function shownLayers(folders: readonly string[]): string[] {
  const last = folders.findIndex(folder => isOpaque(Buffer.from(folder)))
  return last < 0 ? [...folders] : folders.slice(0, last + 1)
}

export function isOpaque(at: Buffer): boolean {
  return lgetxattr(at, OPAQUE)?.toString() === 'y'
}

/** Overlay's mark for a name that hides the one below (kernel documentation, overlayfs). */
export function isWhiteout(stat: BigIntStats): boolean {
  return stat.isCharacterDevice() && stat.rdev === 0n
}

/** Undefined: nothing is there. */
export function statOf(at: Buffer): BigIntStats | undefined {
  return lstatSync(at, { bigint: true, throwIfNoEntry: false })
}

function folderIn(layers: readonly LiveTree[], path: string): Buffer | undefined {
  for (const layer of layers) {
    const found = lookIn(layer, path)
    if (found === 'folder') return layer.at(path)
    if (found === 'none') return undefined
  }
  return undefined
}

function isShownIn(layers: readonly LiveTree[], path: string): boolean {
  const parent = path.slice(0, Math.max(path.lastIndexOf('/'), 0))
  for (const layer of layers) {
    const found = lookIn(layer, parent)
    if (found === 'none') return false
    if (found === 'beneath') continue
    const stat = statOf(layer.at(path))
    if (stat) return !isWhiteout(stat)
    if (isOpaque(layer.at(parent))) return false
  }
  return false
}

/** `beneath`: this layer neither has nor hides it. `none`: it hides it, or has something else there. */
function lookIn(layer: LiveTree, path: string): 'folder' | 'none' | 'beneath' {
  let isHidden = isOpaque(layer.at(''))
  let at = ''
  for (const name of path === '' ? [] : path.split('/')) {
    at = at === '' ? name : `${at}/${name}`
    const stat = statOf(layer.at(at))
    if (!stat) return isHidden ? 'none' : 'beneath'
    if (!stat.isDirectory()) return 'none'
    isHidden ||= isOpaque(layer.at(at))
  }
  return 'folder'
}
