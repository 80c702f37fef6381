import { type BigIntStats, lstatSync } from 'node:fs'
import type { FileChange } from '#shared/domain/container.ts'
import { ifThere, type LiveTree, liveTree } from './live-tree.ts'
import { isOpaque, isWhiteout, type LowerTree, lowerTree, statOf } from './lower-tree.ts'
import { isPlaceholder } from './placeholders.ts'

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
  using below = lowerTree(lower)
  /** Folders that are changed if anything in them is. */
  const open: string[] = []
  for (const { path, kind } of found(tree, below, placeholders)) {
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

function* found(tree: LiveTree, lower: LowerTree, placeholders: ReadonlySet<string>): Generator<Found> {
  const view = {
    stat: (path: string) => ifThere(() => lstatSync(tree.at(path), { bigint: true })),
    list: (path: string) => ifThere(() => tree.list(path)) ?? [],
    isBelow: lower.isShown,
  }
  const left = placesIn(tree, '', lower.layers, false)
  for (let place = left.pop(); place; place = left.pop()) {
    const { path, below } = place
    if (isPlaceholder(placeholders, view, path)) continue
    const stat = view.stat(path)
    const before = lookBelow(below, path)
    if (!stat || isWhiteout(stat)) {
      if (before) yield { path, kind: 'deleted' }
      continue
    }
    yield { path, kind: kindOf(stat, before) }
    if (!stat.isDirectory()) continue
    const hidesBelow = ifThere(() => isOpaque(tree.at(path))) === true
    for (const child of placesIn(tree, path, foldersBelow(below, path), hidesBelow)) left.push(child)
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
  /** The layers that show the folder that it is in, topmost first. */
  below: readonly LiveTree[]
}

/** What is in a folder of the upper, and what it hides of the layers; the last first. */
function placesIn(tree: LiveTree, path: string, below: readonly LiveTree[], hidesBelow: boolean): Place[] {
  const names = new Set(ifThere(() => tree.list(path)) ?? [])
  if (hidesBelow) for (const layer of below) for (const name of layer.list(path)) names.add(name)
  const prefix = path === '' ? '' : `${path}/`
  return [...names]
    .sort()
    .reverse()
    .map(name => ({ path: `${prefix}${name}`, below }))
}

/** What the layers show under a path. */
function lookBelow(layers: readonly LiveTree[], path: string): BigIntStats | undefined {
  for (const layer of layers) {
    const stat = statOf(layer.at(path))
    if (stat) return isWhiteout(stat) ? undefined : stat
  }
  return undefined
}

/** Those that show a folder under a path together. */
function foldersBelow(layers: readonly LiveTree[], path: string): LiveTree[] {
  const shownTogether: LiveTree[] = []
  for (const layer of layers) {
    const stat = statOf(layer.at(path))
    if (!stat) continue
    if (!stat.isDirectory()) break
    shownTogether.push(layer)
    if (isOpaque(layer.at(path))) break
  }
  return shownTogether
}

const shown = (path: string) => `/${Buffer.from(path, 'latin1')}`
