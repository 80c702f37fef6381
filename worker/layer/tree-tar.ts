import { lstatSync } from 'node:fs'
import { ifThere, type LiveTree, liveTree } from './live-tree.ts'
import { describe, liveContents, PLAIN } from './tar-entries.ts'
import { encodeHeader } from './tar-writer.ts'
import { batched } from './upper-tar.ts'

/**
 * The tar of a whole root filesystem in which others may be at work: every entry as it was when its turn came, none from
 * outside, names in order of their bytes. Sockets are left out, as tars have none. Ends early, without the tar's end,
 * when its reader leaves.
 */
export async function* tarOfTree(root: string): AsyncGenerator<Buffer> {
  using tree = liveTree(root)
  yield* batched(walk(tree))
}

/**
 * As `tarOfTree`, led by the folder itself with its owner, mode and attributes. Of what did not change the bytes are the
 * same: the folder's own time, which each use of a cache gives it anew, is left out.
 */
export async function* tarOfFolder(root: string): AsyncGenerator<Buffer> {
  using tree = liveTree(root)
  yield* batched(walkWithRoot(tree))
}

function* walkWithRoot(tree: LiveTree): Generator<Buffer> {
  const at = tree.at('')
  const folder = describe(at, './', lstatSync(at, { bigint: true }), new Map())
  yield encodeHeader({ ...folder, mtime: PLAIN.mtime })
  yield* walk(tree)
}

function* walk(tree: LiveTree): Generator<Buffer> {
  const firstNames = new Map<string, string>()
  const left = childrenOf(tree, '')
  for (let path = left.pop(); path !== undefined; path = left.pop()) {
    const name = path
    const entry = ifThere(() => entryOf(tree, name, firstNames))
    if (!entry) continue
    yield* liveContents(tree.at(name), entry)
    // One by one: as arguments, a large folder's names would not fit on the stack.
    if (entry.type === 'folder') for (const child of childrenOf(tree, name)) left.push(child)
  }
}

function entryOf(tree: LiveTree, path: string, firstNames: Map<string, string>) {
  const at = tree.at(path)
  const stat = lstatSync(at, { bigint: true })
  return stat.isSocket() ? undefined : describe(at, path, stat, firstNames)
}

/** The last first, as they go onto the stack. */
function childrenOf(tree: LiveTree, path: string): string[] {
  const names = ifThere(() => tree.list(path)) ?? []
  return names.reverse().map(name => (path === '' ? name : `${path}/${name}`))
}
