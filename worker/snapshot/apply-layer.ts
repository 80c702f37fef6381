import { type BigIntStats, lstatSync, readdirSync, rmdirSync, unlinkSync } from 'node:fs'
import { setImmediate } from 'node:timers/promises'
import { lgetxattr, llistxattr, lremovexattr } from '#worker/host/syscalls.ts'
import { isKeptXattr } from '#worker/layer/kept-xattrs.ts'
import { OPAQUE } from '#worker/layer/tree-writer.ts'
import { type Copied, copyMetadata, makeFolderLike, placeNode, setTimeLike } from './place-node.ts'

const FILES_AT_ONCE = 500

/**
 * Changes a plain tree as a layer in overlay's form says. Both are folders of ours that nobody else writes to; no link
 * in either is followed, since every folder is looked at before it is entered.
 */
export async function applyLayer(layer: string, tree: string): Promise<void> {
  const copied: Copied = new Map()
  const times: { to: Buffer; stat: BigIntStats }[] = []
  let count = 0
  const left: { from: Buffer; to: Buffer }[] = [{ from: Buffer.from(layer), to: Buffer.from(tree) }]
  for (let place = left.pop(); place; place = left.pop()) {
    const { from, to } = place
    const stat = lstatSync(from, { bigint: true })
    enterFolder(from, stat, to)
    times.push({ to, stat })
    for (const name of readdirSync(from, 'buffer')) {
      const [child, target] = [childOf(from, name), childOf(to, name)]
      const found = lstatSync(child, { bigint: true })
      if (found.isDirectory()) left.push({ from: child, to: target })
      else {
        removeNode(target)
        if (!isWhiteout(found)) placeNode(child, found, target, copied)
      }
      if (++count % FILES_AT_ONCE === 0) await setImmediate() // Others want the event loop too.
    }
  }
  for (const { to, stat } of times) setTimeLike(stat, to)
}

/** The folder `to` becomes as `from` is, and keeps what is in it unless the layer hides that. */
function enterFolder(from: Buffer, stat: BigIntStats, to: Buffer): void {
  const there = lstatSync(to, { throwIfNoEntry: false })
  if (!there?.isDirectory()) {
    if (there) unlinkSync(to)
    makeFolderLike(from, stat, to)
    return
  }
  if (lgetxattr(from, OPAQUE)?.toString() === 'y') {
    for (const name of readdirSync(to, 'buffer')) removeNode(childOf(to, name))
  }
  for (const name of llistxattr(to).filter(isKeptXattr)) lremovexattr(to, Buffer.from(name, 'latin1'))
  copyMetadata(from, stat, to)
}

export function isWhiteout(stat: BigIntStats): boolean {
  return stat.isCharacterDevice() && stat.rdev === 0n
}

export function childOf(folder: Buffer, name: Buffer): Buffer {
  return Buffer.concat([folder, Buffer.from('/'), name])
}

function removeNode(at: Buffer): void {
  const stat = lstatSync(at, { throwIfNoEntry: false })
  if (!stat) return
  if (stat.isDirectory()) {
    for (const name of readdirSync(at, 'buffer')) removeNode(childOf(at, name))
    rmdirSync(at)
  } else unlinkSync(at)
}
