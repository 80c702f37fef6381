import { type BigIntStats, lstatSync } from 'node:fs'
import { setImmediate } from 'node:timers/promises'
import { ifThere, liveTree } from '#worker/layer/live-tree.ts'
import { childOf } from './apply-layer.ts'
import { fileOf } from './place-node.ts'

const FILES_AT_ONCE = 200
/** The unit of `blocks`, whatever the disk's own. */
const BLOCK_BYTES = 512

/**
 * Bytes on the disk of all that is in a tree, and of the files that it added or changed against its base. A file of
 * several names counts once. Looks at what the kernel says of files alone: one that was changed and given its size and
 * time back is taken for unchanged.
 */
export async function treeSize(tree: string, base: string): Promise<{ allBytes: number; writtenBytes: number }> {
  using live = liveTree(tree)
  const seen = new Set<string>()
  const size = { allBytes: 0, writtenBytes: 0 }
  const left: Buffer[] = [Buffer.alloc(0)]
  let count = 0
  for (let path = left.pop(); path; path = left.pop()) {
    const name = path.subarray(1).toString('latin1')
    const stat = ifThere(() => lstatSync(live.at(name), { bigint: true }))
    if (++count % FILES_AT_ONCE === 0) await setImmediate() // Others want the event loop too.
    if (!stat || seen.has(fileOf(stat))) continue // A container that runs takes files away meanwhile.
    if (stat.nlink > 1n && !stat.isDirectory()) seen.add(fileOf(stat))
    const bytes = Number(stat.blocks) * BLOCK_BYTES
    size.allBytes += bytes
    if (stat.isDirectory()) {
      for (const child of ifThere(() => live.list(name)) ?? []) left.push(childOf(path, Buffer.from(child, 'latin1')))
    } else if (!isSame(stat, Buffer.concat([Buffer.from(base), path]))) size.writtenBytes += bytes
  }
  return size
}

function isSame(stat: BigIntStats, baseAt: Buffer): boolean {
  const before = lstatSync(baseAt, { bigint: true, throwIfNoEntry: false })
  return before?.mode === stat.mode && before.size === stat.size && before.mtimeNs === stat.mtimeNs
}
