import { type BigIntStats, lstatSync, readdirSync } from 'node:fs'
import type { FileChange } from '#shared/domain/container.ts'
import { lgetxattr } from '#worker/host/syscalls.ts'
import { ifThere, type LiveTree, liveTree } from './live-tree.ts'
import { isShownBelow } from './lower-tree.ts'
import { isPlaceholder } from './placeholders.ts'
import { OPAQUE } from './tree-writer.ts'

/**
 * What an overlay upper folder changed in the layers below it (`lower`, topmost first), in order of the names' bytes: a
 * folder before what is in it. A folder with a change in it counts as changed too, as Docker's diff has it. The upper may
 * be written to meanwhile. `placeholders` are no changes (`isPlaceholder`). Costs a look at each layer that has the folder
 * of an entry.
 */
export function* changesOf(
  upper: string,
  lower: readonly string[],
  placeholders: ReadonlySet<string> = new Set(),
): Generator<FileChange> {
  using tree = liveTree(upper)
  /** Folders that are changed if anything in them is. */
  const open: string[] = []
  for (const { path, kind } of found(tree, lower, placeholders)) {
    while (open.length > 0 && !path.startsWith(`${open.at(-1)}/`)) open.pop()
    if (kind === 'same') {
      open.push(path)
      continue
    }
    for (const folder of open) yield { kind: 'changed', path: shown(folder) }
    open.length = 0
    yield { kind, path: shown(path) }
  }
}

interface Found {
  path: string
  kind: FileChange['kind'] | 'same'
}

function* found(tree: LiveTree, lower: readonly string[], placeholders: ReadonlySet<string>): Generator<Found> {
  const view = {
    stat: (path: string) => ifThere(() => lstatSync(tree.at(path), { bigint: true })),
    list: (path: string) => ifThere(() => tree.list(path)) ?? [],
    isBelow: (path: string) => isShownBelow(lower, path),
  }
  const left = placesIn(tree, '', lower.map(Buffer.from), false)
  for (let place = left.pop(); place; place = left.pop()) {
    const { path, name, below } = place
    if (isPlaceholder(placeholders, view, path)) continue
    const stat = view.stat(path)
    const before = lookBelow(below, name)
    if (!stat || isWhiteout(stat)) {
      if (before) yield { path, kind: 'deleted' }
      continue
    }
    yield { path, kind: kindOf(stat, before) }
    if (!stat.isDirectory()) continue
    const isOpaque = ifThere(() => lgetxattr(tree.at(path), OPAQUE))?.toString() === 'y'
    for (const child of placesIn(tree, path, foldersBelow(below, name), isOpaque)) left.push(child)
  }
}

function kindOf(stat: BigIntStats, before: BigIntStats | undefined): Found['kind'] {
  if (!before) return 'added'
  if (!stat.isDirectory() || !before.isDirectory()) return 'changed'
  const facts = ({ mode, uid, gid, mtimeNs }: BigIntStats) => [mode, uid, gid, mtimeNs].join()
  return facts(stat) === facts(before) ? 'same' : 'changed'
}

interface Place {
  path: string
  name: string
  /** The folder that it is in, in the layers that show one, topmost first. */
  below: readonly Buffer[]
}

/** What is in a folder of the upper, and what it hides of the layers; the last first. */
function placesIn(tree: LiveTree, path: string, below: readonly Buffer[], isOpaque: boolean): Place[] {
  const names = new Set(ifThere(() => tree.list(path)) ?? [])
  if (isOpaque) for (const folder of below) for (const name of readdirSync(folder, 'latin1')) names.add(name)
  const prefix = path === '' ? '' : `${path}/`
  return [...names]
    .sort()
    .reverse()
    .map(name => ({ path: `${prefix}${name}`, name, below }))
}

/** What the layers show under a name. */
function lookBelow(folders: readonly Buffer[], name: string): BigIntStats | undefined {
  for (const folder of folders) {
    const stat = statOf(inside(folder, name))
    if (stat) return isWhiteout(stat) ? undefined : stat
  }
  return undefined
}

/** The folders of a name that the layers show together. */
function foldersBelow(folders: readonly Buffer[], name: string): Buffer[] {
  const shownTogether: Buffer[] = []
  for (const folder of folders) {
    const at = inside(folder, name)
    const stat = statOf(at)
    if (!stat) continue
    if (!stat.isDirectory()) break
    shownTogether.push(at)
    if (lgetxattr(at, OPAQUE)?.toString() === 'y') break
  }
  return shownTogether
}

const inside = (folder: Buffer, name: string) => Buffer.concat([folder, Buffer.from(`/${name}`, 'latin1')])
const statOf = (at: Buffer) => lstatSync(at, { bigint: true, throwIfNoEntry: false })
const isWhiteout = (stat: BigIntStats) => stat.isCharacterDevice() && stat.rdev === 0n
const shown = (path: string) => `/${Buffer.from(path, 'latin1')}`
