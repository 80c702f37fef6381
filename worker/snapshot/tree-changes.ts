import { type BigIntStats, lstatSync, mkdirSync, readdirSync, readlinkSync } from 'node:fs'
import { setImmediate } from 'node:timers/promises'
import { lgetxattr, llistxattr, lsetxattr, mknod, S_IFCHR } from '#worker/host/syscalls.ts'
import { isKeptXattr } from '#worker/layer/kept-xattrs.ts'
import { ifThere, type LiveTree, liveTree } from '#worker/layer/live-tree.ts'
import { OPAQUE } from '#worker/layer/tree-writer.ts'
import { childOf } from './apply-layer.ts'
import { type Copied, copyMetadata, fileOf, placeNode, setTimeLike } from './place-node.ts'
import { sameBytes } from './same-bytes.ts'

const FILES_AT_ONCE = 200

interface Changed {
  /** From the root, with a slash in front; empty for the root itself. */
  path: Buffer
  stat: BigIntStats
  kind: Kind
}

type Kind = 'same' | 'changed' | 'new' | 'replaced' | 'gone'

/**
 * Writes into `upper`, which is not there yet and lies beside `tree`, what `tree` changed against `base`, in overlay's
 * form. Files are hard links to those of `tree` where that can be. A file counts as unchanged when it is the base's own
 * inode by number and time of change (a snapshot of the filesystem), or when everything that can be seen of it, its
 * bytes too, is the same. A container may be at work in `tree`: nothing outside of it is ever reached, and what is gone when
 * its turn comes is left out.
 */
export async function writeTreeChanges(tree: string, base: string, upper: string): Promise<void> {
  using live = liveTree(tree)
  const entries = await compareTrees(live, Buffer.from(base))
  await writeEntries(live, Buffer.from(upper), entries)
}

/** As `liveTree` names what is at a path of ours. */
const inside = (path: Buffer) => path.subarray(1).toString('latin1')

/** Everything that one of them has, a folder before what is in it. */
async function compareTrees(tree: LiveTree, base: Buffer): Promise<Changed[]> {
  const entries: Changed[] = []
  const links = new LinkGroups()
  const left: { path: Buffer; isNew: boolean }[] = [{ path: Buffer.alloc(0), isNew: false }]
  let count = 0
  for (let place = left.pop(); place; place = left.pop()) {
    const { path, isNew } = place
    const before = isNew ? undefined : statOf(Buffer.concat([base, path]))
    const look = () => lookAt(tree, path, Buffer.concat([base, path]), before)
    const found = ifThere(look)
    if (++count % FILES_AT_ONCE === 0) await setImmediate() // Others want the event loop too.
    if (!found) {
      if (before) entries.push({ path, stat: before, kind: 'gone' })
      continue
    }
    const entry: Changed = { path, stat: found.stat, kind: await found.kind }
    entries.push(entry)
    if (!found.stat.isDirectory()) links.add(entry, before)
    else {
      const both = before?.isDirectory() === true
      const names = namesIn(tree, path, both ? Buffer.concat([base, path]) : undefined)
      for (const name of names.reverse()) left.push({ path: childOf(path, name), isNew: !both })
    }
  }
  links.settle()
  return entries
}

function lookAt(tree: LiveTree, path: Buffer, baseAt: Buffer, before: BigIntStats | undefined) {
  const at = tree.at(inside(path))
  const stat = lstatSync(at, { bigint: true })
  return { stat, kind: kindOf(at, stat, baseAt, before) }
}

function namesIn(tree: LiveTree, path: Buffer, other: Buffer | undefined): Buffer[] {
  const names = new Set(ifThere(() => tree.list(inside(path))) ?? [])
  if (other) for (const name of readdirSync(other, 'latin1')) names.add(name)
  return [...names].sort().map(name => Buffer.from(name, 'latin1'))
}

/** A promise: the files are large, and are being read. */
function kindOf(at: Buffer, stat: BigIntStats, baseAt: Buffer, before: BigIntStats | undefined): Kind | Promise<Kind> {
  if (!before) return 'new'
  if ((stat.mode & 0o170000n) !== (before.mode & 0o170000n)) return 'replaced'
  if (stat.ino === before.ino && stat.ctimeNs === before.ctimeNs && !stat.isDirectory()) return 'same'
  const isSame =
    stat.mode === before.mode &&
    stat.uid === before.uid &&
    stat.gid === before.gid &&
    stat.mtimeNs === before.mtimeNs &&
    stat.rdev === before.rdev &&
    (stat.isDirectory() || stat.size === before.size) &&
    xattrsOf(at) === xattrsOf(baseAt) &&
    (!stat.isSymbolicLink() || readlinkSync(at, 'latin1') === readlinkSync(baseAt, 'latin1'))
  if (!isSame || !stat.isFile()) return isSame ? 'same' : 'changed'
  const bytes = sameBytes(at, baseAt)
  return typeof bytes === 'boolean' ? kindOfBytes(bytes) : bytes.then(kindOfBytes)
}

function kindOfBytes(areSame: boolean): Kind {
  return areSame ? 'same' : 'changed'
}

function xattrsOf(at: Buffer): string {
  const names = llistxattr(at).filter(isKeptXattr).sort()
  return JSON.stringify(names.map(name => [name, lgetxattr(at, Buffer.from(name, 'latin1'))?.toString('latin1')]))
}

/** Which names are one file. Where that changed, or one of them did, the layer needs all of them. */
class LinkGroups {
  readonly #now = new Map<string, Changed[]>()
  readonly #firstBefore = new Map<string, string>()
  readonly #firstNow = new Map<string, string>()

  add(entry: Changed, before: BigIntStats | undefined): void {
    const { stat, path } = entry
    const name = path.toString('latin1')
    const group = this.#now.get(fileOf(stat))
    if (group) group.push(entry)
    else this.#now.set(fileOf(stat), [entry])
    const now = firstOf(this.#firstNow, fileOf(stat), name)
    if (before && now !== firstOf(this.#firstBefore, fileOf(before), name) && entry.kind === 'same')
      entry.kind = 'changed'
  }

  settle(): void {
    for (const group of this.#now.values()) {
      if (group.every(({ kind }) => kind === 'same')) continue
      for (const entry of group) if (entry.kind === 'same') entry.kind = 'changed'
    }
  }
}

function firstOf(names: Map<string, string>, file: string, name: string): string {
  const known = names.get(file)
  if (known === undefined) names.set(file, name)
  return known ?? name
}

async function writeEntries(tree: LiveTree, upper: Buffer, entries: readonly Changed[]): Promise<void> {
  const copied: Copied = new Map()
  /** Folders on the way to what is written next, and those of them that are made. */
  const open: Changed[] = []
  const made = new Set<Changed>()
  let count = 0
  for (const entry of entries) {
    while (open.length > 0 && !isBelow(entry.path, open.at(-1))) open.pop()
    const isFolder = entry.stat.isDirectory() && entry.kind !== 'gone'
    if (isFolder) open.push(entry)
    if (entry.kind === 'same' && entry.path.length > 0) continue
    for (const folder of open.filter(folder => !made.has(folder))) {
      makeFolder(tree, upper, folder)
      made.add(folder)
    }
    const to = Buffer.concat([upper, entry.path])
    if (entry.kind === 'gone') mknod(to, S_IFCHR, 0, 0)
    else if (!isFolder) ifThere(() => placeNode(tree.at(inside(entry.path)), entry.stat, to, copied))
    if (++count % FILES_AT_ONCE === 0) await setImmediate()
  }
  for (const { path, stat } of made) setTimeLike(stat, Buffer.concat([upper, path]))
}

function isBelow(path: Buffer, folder: Changed | undefined): boolean {
  const prefix = Buffer.concat([folder?.path ?? Buffer.alloc(0), Buffer.from('/')])
  return path.subarray(0, prefix.length).equals(prefix)
}

/** One in place of something else hides what lower layers had of that name. */
function makeFolder(tree: LiveTree, upper: Buffer, { path, stat, kind }: Changed): void {
  const to = Buffer.concat([upper, path])
  mkdirSync(to, { mode: 0o700 })
  ifThere(() => copyMetadata(tree.at(inside(path)), stat, to))
  if (kind === 'replaced') lsetxattr(to, OPAQUE, Buffer.from('y'))
}

function statOf(at: Buffer): BigIntStats | undefined {
  return lstatSync(at, { bigint: true, throwIfNoEntry: false })
}
