import { type BigIntStats, lstatSync } from 'node:fs'
import { lgetxattr } from '#worker/host/syscalls.ts'
import { OPAQUE } from './tree-writer.ts'

/** A folder as the layers below an upper show it: `layers` topmost first, the path Latin-1. Undefined: they show none. */
export function folderBelow(layers: readonly string[], path: string): Buffer | undefined {
  for (const layer of layers) {
    const found = lookIn(layer, path.split('/'))
    if (found !== 'beneath') return found
  }
  return undefined
}

/** Whether they show anything under a path. */
export function isShownBelow(layers: readonly string[], path: string): boolean {
  const cut = path.lastIndexOf('/')
  const name = Buffer.from(`/${path.slice(cut + 1)}`, 'latin1')
  for (const layer of layers) {
    const folder = cut < 0 ? Buffer.from(layer) : lookIn(layer, path.slice(0, cut).split('/'))
    if (folder === undefined) return false
    if (folder === 'beneath') continue
    const stat = statOf(Buffer.concat([folder, name]))
    if (stat) return !isWhiteout(stat)
    if (isOpaque(folder)) return false
  }
  return false
}

/** `beneath`: this layer neither has nor hides it. */
function lookIn(layer: string, names: readonly string[]): Buffer | undefined | 'beneath' {
  let at: Buffer = Buffer.from(layer)
  let isHidden = isOpaque(at)
  for (const name of names) {
    at = Buffer.concat([at, Buffer.from(`/${name}`, 'latin1')])
    const stat = statOf(at)
    if (!stat) return isHidden ? undefined : 'beneath'
    if (!stat.isDirectory()) return undefined
    isHidden ||= isOpaque(at)
  }
  return at
}

const isWhiteout = (stat: BigIntStats) => stat.isCharacterDevice() && stat.rdev === 0n

function isOpaque(at: Buffer): boolean {
  return lgetxattr(at, OPAQUE)?.toString() === 'y'
}

function statOf(at: Buffer): BigIntStats | undefined {
  return lstatSync(at, { bigint: true, throwIfNoEntry: false })
}
