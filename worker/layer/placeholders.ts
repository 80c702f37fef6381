import type { BigIntStats } from 'node:fs'

export interface PlaceholderView {
  /** What is at a path of the upper folder; undefined when it is gone. */
  stat(path: string): BigIntStats | undefined
  /** Names in a folder of the upper. */
  list(path: string): readonly string[]
  /** Whether the layers below show something under a path. */
  isBelow(path: string): boolean
}

/**
 * Whether what is at a path was only made to be mounted over: one of these `names` (Latin-1, from the root) that the layers
 * below lack, a file or folder with nothing in it but others of its kind.
 */
export function isPlaceholder(names: ReadonlySet<string>, view: PlaceholderView, path: string): boolean {
  if (!names.has(path)) return false
  const stat = view.stat(path)
  if (!stat || view.isBelow(path)) return false
  if (!stat.isDirectory()) return stat.isFile() && stat.size === 0n
  return view.list(path).every(name => isPlaceholder(names, view, `${path}/${name}`))
}
