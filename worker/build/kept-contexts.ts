import { lstatSync } from 'node:fs'
import { mkdir, utimes } from 'node:fs/promises'
import { join } from 'node:path'
import type { ContextId } from '#shared/domain/ids.ts'
import { diskUsage } from '../host/disk-usage.ts'
import { removeTree } from '../host/remove-tree.ts'
import { run } from '../host/run.ts'
import type { KnownDigests } from './digest-sources.ts'
import type { CachedStep } from './step-cache.ts'

/** Unpacks one upload into a folder, over what is there unless it is the first. */
export type LayUpload = (id: ContextId, folder: string, isFirst: boolean) => Promise<void>

/**
 * The last uploaded contexts of this host, unpacked, and what is known of their files. The next build of the same uploads, or
 * of more over them, gets hard links: neither bytes nor inodes are made anew. Nobody writes into these files: what is laid over
 * them, or taken away by an ignore file, replaces names.
 */
export interface KeptContexts {
  /** Fills an empty folder with uploads, each over the one before. What it does not find kept it lays, and keeps that. Errors: those of `lay`. */
  bring(ids: readonly ContextId[], folder: string, lay: LayUpload, signal: AbortSignal): Promise<KnownDigests>
  /** Each with its bytes; walks them. `key` is a name for `remove`. */
  list(): Promise<CachedStep[]>
  /** False: no name of a context. One that a build reads just now is its own, and stays. */
  remove(key: string): Promise<boolean>
}

const KEPT = 4
const LINK_MS = 10 * 60_000
const NAME = /^context-\d+$/

interface Kept {
  ids: readonly ContextId[]
  name: string
  digests: KnownDigests
}

/** `folder` is emptied: contexts are kept for as long as the agent runs. */
export async function openKeptContexts(folder: string): Promise<KeptContexts> {
  await removeTree(folder)
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const pathOf = (name: string) => join(folder, name)
  /** The one that was used last is the last. Whoever uses one takes it out: of two builds at once the second lays its own. */
  const all: Kept[] = []
  let made = 0
  const drop = (kept: Kept) => removeTree(pathOf(kept.name)).catch(() => {}) // The next start empties the folder.
  const keep = async (kept: Kept) => {
    all.push(kept)
    const now = new Date()
    await utimes(pathOf(kept.name), now, now).catch(() => {})
    for (const old of all.splice(0, Math.max(0, all.length - KEPT))) await drop(old)
  }
  const takeBest = (ids: readonly ContextId[]) => {
    const fitting = all.filter(kept => isBelow(kept.ids, ids)).sort((a, b) => b.ids.length - a.ids.length)
    const [best] = fitting
    if (best) all.splice(all.indexOf(best), 1)
    return best
  }
  /** A file system that cannot link, or a tree that is too deep for it, costs the next build its time and this one nothing. */
  const keepCopy = async (ids: readonly ContextId[], from: string, digests: KnownDigests, signal: AbortSignal) => {
    const kept = { ids, name: `context-${made++}`, digests }
    const isLinked = await linkTree(from, pathOf(kept.name), signal)
    await (isLinked ? keep(kept) : drop(kept))
  }
  const layAll = async (ids: readonly ContextId[], to: string, lay: LayUpload, signal: AbortSignal) => {
    for (const [at, id] of ids.entries()) await lay(id, to, at === 0)
    const digests: KnownDigests = new Map()
    await keepCopy(ids, to, digests, signal)
    return digests
  }
  return {
    bring: async (ids, to, lay, signal) => {
      const base = takeBest(ids)
      if (!base) return layAll(ids, to, lay, signal)
      try {
        for (const id of ids.slice(base.ids.length)) await lay(id, pathOf(base.name), false)
      } catch (error) {
        await drop(base)
        throw error
      }
      const isLinked = await linkTree(pathOf(base.name), to, signal)
      if (isLinked) await keep({ ...base, ids })
      else await drop(base)
      if (isLinked) return base.digests
      signal.throwIfAborted()
      await removeTree(to)
      await mkdir(to, { mode: 0o755 })
      return layAll(ids, to, lay, signal)
    },
    list: () => Promise.all(all.map(({ name }) => cachedContext(name, pathOf(name)))),
    remove: async key => {
      if (!NAME.test(key)) return false
      const at = all.findIndex(({ name }) => name === key)
      for (const kept of at === -1 ? [] : all.splice(at, 1)) await drop(kept)
      return true
    },
  }
}

function isBelow(one: readonly ContextId[], other: readonly ContextId[]): boolean {
  return one.length <= other.length && one.every((id, at) => id === other[at])
}

/** Folders are made, everything else in them gets one more name. */
async function linkTree(from: string, to: string, signal: AbortSignal): Promise<boolean> {
  return run('cp', ['-al', '-T', '--', from, to], { timeoutMs: LINK_MS, signal }).then(
    () => true,
    () => false,
  )
}

async function cachedContext(key: string, path: string): Promise<CachedStep> {
  const usedAt = lstatSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0
  return { key, bytes: await diskUsage(path).catch(() => 0), layer: undefined, usedAt }
}
