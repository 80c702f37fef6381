import { lstatSync } from 'node:fs'
import { LAYER_ERRORS, OPAQUE_WHITEOUT, WHITEOUT } from './layer-writer.ts'
import { ifThere, type LiveTree, liveTree } from './live-tree.ts'
import { isOpaque, isWhiteout, type LowerTree, lowerTree } from './lower-tree.ts'
import { isPlaceholder } from './placeholders.ts'
import { describe, liveContents, PLAIN } from './tar-entries.ts'
import { invalidTar, type TarEntry } from './tar-format.ts'
import { encodeHeader, TAR_END } from './tar-writer.ts'

const BATCH_BYTES = 256 * 1024

export interface UpperTar {
  chunks: AsyncIterable<Buffer>
  /** How many entries were written so far. */
  entries(): number
}

/** What a layer's root is unless the layer says otherwise: that of an image without layers. */
const PLAIN_ROOT = { mode: 0o755, uid: 0, gid: 0, xattrs: new Map<string, string>() }

/**
 * The tar of an overlay upper folder, entries in order of their names' bytes, a folder before what is in it. Read
 * synchronously a batch at a time: small files come faster so than any other way, and each batch ends in a pause.
 * A container may be at work in it: nothing outside is ever reached, and what is gone when its turn comes is left out.
 * `lower` has the folders of the layers below, topmost first: what only looks changed since overlay copied it up, the
 * root or a folder, is no change. Nor are `placeholders` (`isPlaceholder`).
 */
export function tarOfUpper(
  upper: string,
  lower: readonly string[] = [],
  placeholders: ReadonlySet<string> = new Set(),
): UpperTar {
  let entries = 0
  const count = () => {
    entries++
  }
  return { chunks: batched(walk(upper, { lower, placeholders, count })), entries: () => entries }
}

/** A tar out of its pieces, with its end, in batches with a pause after each. */
export async function* batched(pieces: Iterable<Buffer>): AsyncGenerator<Buffer> {
  let held: Buffer[] = []
  let size = 0
  for (const piece of pieces) {
    held.push(piece)
    size += piece.length
    if (size < BATCH_BYTES) continue
    yield Buffer.concat(held, size)
    held = []
    size = 0
  }
  held.push(TAR_END)
  yield Buffer.concat(held)
}

interface Walk {
  lower: readonly string[]
  placeholders: ReadonlySet<string>
  count(): void
}

function* walk(upper: string, { lower, placeholders, count }: Walk): Generator<Buffer> {
  using tree = liveTree(upper)
  using below = lowerTree(lower)
  const firstNames = new Map<string, string>()
  const view = {
    stat: (path: string) => ifThere(() => lstatSync(tree.at(path), { bigint: true })),
    list: (path: string) => ifThere(() => tree.list(path)) ?? [],
    isBelow: below.isShown,
  }
  const { isChanged, header } = rootOf(Buffer.from(upper), lower[0])
  if (isChanged) count()
  if (header) yield header
  // Folders still to be written, the next one last; each brings its children in the same order.
  const left = childrenOf(tree, '').reverse()
  for (let path = left.pop(); path !== undefined; path = left.pop()) {
    if (isPlaceholder(placeholders, view, path)) continue
    const stat = view.stat(path)
    if (!stat || stat.isSocket()) continue // Tars have no sockets, and nobody listens any more.
    if (isWhiteout(stat)) {
      count()
      yield hiding(path, WHITEOUT)
      continue
    }
    const name = path
    const entry = ifThere(() => describe(tree.at(name), name, stat, firstNames))
    if (!entry) continue
    const children = stat.isDirectory() ? childrenOf(tree, path) : []
    const hidesBelow = stat.isDirectory() && ifThere(() => isOpaque(tree.at(name))) === true
    const mayBeCopy = stat.isDirectory() && !hidesBelow && children.length === 0
    if (mayBeCopy && isCopyOfBelow(entry, path, below)) continue
    count()
    yield* liveContents(tree.at(path), entry)
    if (hidesBelow) yield hiding(`${path}/`, OPAQUE_WHITEOUT)
    // One by one: as arguments, a large folder's names would not fit on the stack.
    for (const child of children.reverse()) left.push(child)
  }
}

function childrenOf(tree: LiveTree, path: string): string[] {
  const prefix = path === '' ? '' : `${path}/`
  return (ifThere(() => tree.list(path)) ?? []).map(name => {
    if (name.startsWith(WHITEOUT)) {
      throw invalidTar(LAYER_ERRORS, 'has a name that layers use to hide files: rename it', `${prefix}${name}`)
    }
    return `${prefix}${name}`
  })
}

/**
 * The root is an entry where a step changed it, and also where it is not as every root is: other hosts unpack each layer
 * by itself. Its time is no change; every step gives it a new one.
 */
function rootOf(at: Buffer, below: string | undefined): { isChanged: boolean; header: Buffer | undefined } {
  const root = describeRoot(at)
  const facts = factsOf(root)
  const isChanged = facts !== factsOf(below === undefined ? PLAIN_ROOT : describeRoot(Buffer.from(below)))
  return { isChanged, header: isChanged || facts !== factsOf(PLAIN_ROOT) ? encodeHeader(root) : undefined }
}

function describeRoot(at: Buffer): TarEntry {
  return describe(at, './', lstatSync(at, { bigint: true }), new Map())
}

function factsOf({ mode, uid, gid, xattrs }: Pick<TarEntry, 'mode' | 'uid' | 'gid' | 'xattrs'>): string {
  return JSON.stringify([mode, uid, gid, [...xattrs].sort()])
}

/** An empty folder that is as the layers below have it: something was made in it and removed again. */
function isCopyOfBelow(folder: TarEntry, path: string, lower: LowerTree): boolean {
  const at = lower.folder(path)
  if (!at) return false
  const below = describe(at, path, lstatSync(at, { bigint: true }), new Map())
  const { seconds, nanoseconds } = folder.mtime
  if (below.mtime.seconds !== seconds || below.mtime.nanoseconds !== nanoseconds) return false
  return factsOf(folder) === factsOf(below)
}

/** A whiteout of `path`, or of all that is in the folder `path`. */
function hiding(path: string, mark: string): Buffer {
  const cut = path.lastIndexOf('/') + 1
  const name = mark === OPAQUE_WHITEOUT ? `${path}${mark}` : `${path.slice(0, cut)}${mark}${path.slice(cut)}`
  return encodeHeader({ ...PLAIN, type: 'file', path: name })
}
