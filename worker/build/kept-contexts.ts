import { chmodSync, chownSync, statSync } from 'node:fs'
import { mkdir, rename, rmdir, utimes } from 'node:fs/promises'
import { join } from 'node:path'
import type { ContextId } from '#shared/domain/ids.ts'
import { diskUsage } from '../host/disk-usage.ts'
import { mountOverlay, unmount } from '../host/mount.ts'
import { removeTree } from '../host/remove-tree.ts'
import { type KnownDigests, newDigests } from './digest-sources.ts'
import type { CachedStep } from './step-cache.ts'

/** Unpacks one upload into a folder, over what is there unless it is the first, and says how many bytes its tar had, about. */
export type LayUpload = (id: ContextId, folder: string, isFirst: boolean) => Promise<number>

/** Files for a build to read, until it is disposed of. */
export interface BroughtContext extends AsyncDisposable {
  /** What is known of them. */
  digests: KnownDigests
  /** Of them, those that lie outside the build's folder: bytes of tars, about. */
  bytes: number
}

/**
 * The last uploaded contexts of this host, unpacked, and what is known of their files. The next build of the same uploads, or
 * of more over them, sees them through an overlay of its own: however many files there are, that is one mount, and what it takes
 * away (by an ignore file) is gone for itself alone. What several builds read stands still.
 */
export interface KeptContexts {
  /**
   * Fills an empty folder with uploads, each over the one before. What it does not find kept it lays, and keeps that. Before the
   * folder is removed, what this gave is disposed of. Errors: those of `lay`.
   */
  bring(ids: readonly ContextId[], folder: string, lay: LayUpload): Promise<BroughtContext>
  /** Each with its bytes; walks them. `key` is a name for `remove`. */
  list(): Promise<CachedStep[]>
  /** False: no name of a context. One that a build reads just now goes when that is over. */
  remove(key: string): Promise<boolean>
}

const KEPT = 4
const NAME = /^context-\d+$/

interface Kept {
  ids: readonly ContextId[]
  name: string
  digests: KnownDigests
  /** Of the tars of its uploads, about. */
  bytes: number
  /** Unix milliseconds. */
  usedAt: number
  /** Builds that see it now: nobody lays anything over it, and it is removed when the last one ends. */
  readers: number
  isDropped: boolean
}

/** `folder` is emptied: contexts are kept for as long as the agent runs. */
export async function openKeptContexts(folder: string, now: () => number): Promise<KeptContexts> {
  await removeTree(folder)
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const pathOf = ({ name }: Pick<Kept, 'name'>) => join(folder, name)
  /** The one that was used last is the last. Whoever changes one takes it out meanwhile. */
  const all: Kept[] = []
  let made = 0
  const drop = async (kept: Kept) => {
    kept.isDropped = true
    if (kept.readers === 0) await removeTree(pathOf(kept)).catch(() => {}) // The next start empties the folder.
  }
  const takeOut = (kept: Kept) => all.includes(kept) && all.splice(all.indexOf(kept), 1)
  const keep = async (kept: Kept) => {
    all.push(Object.assign(kept, { usedAt: now() }))
    for (const old of all.splice(0, Math.max(0, all.length - KEPT))) await drop(old)
  }
  const stopReading = async (kept: Kept) => {
    kept.readers--
    if (kept.isDropped) await drop(kept)
  }
  const show = async (kept: Kept, at: string, digests = kept.digests): Promise<BroughtContext> => {
    await mountOver(pathOf(kept), at).catch(async error => {
      await stopReading(kept)
      throw error
    })
    const close = async () => {
      await unmount(at)
      await stopReading(kept)
    }
    return { digests, bytes: kept.bytes, [Symbol.asyncDispose]: close }
  }
  const layAll = async (ids: readonly ContextId[], to: string, lay: LayUpload): Promise<BroughtContext> => {
    let bytes = 0
    for (const [at, id] of ids.entries()) bytes += await lay(id, to, at === 0)
    const digests = newDigests()
    const kept: Kept = { ids, name: `context-${made++}`, digests, bytes, usedAt: 0, readers: 1, isDropped: false }
    return (await keepFrom(kept, to)) ?? { digests, bytes: 0, async [Symbol.asyncDispose]() {} }
  }
  /** Where it cannot be moved or shown, it costs the next build its time and this one nothing. */
  const keepFrom = async (kept: Kept, from: string): Promise<BroughtContext | undefined> => {
    try {
      await rename(from, pathOf(kept))
    } catch {
      return undefined
    }
    try {
      await mkdir(from, { mode: 0o755 })
      const shown = await show(kept, from)
      await keep(kept)
      return shown
    } catch {
      await rmdir(from)
      await rename(pathOf(kept), from)
      return undefined
    }
  }
  /** Lays over a context that nobody reads; over one that somebody reads it is laid for this build alone. */
  const layOver = async (
    base: Kept,
    ids: readonly ContextId[],
    to: string,
    lay: LayUpload,
  ): Promise<BroughtContext> => {
    const rest = ids.slice(base.ids.length)
    const digests = rest.length === 0 ? base.digests : newDigests(base.digests)
    if (rest.length > 0 && base.readers === 0) {
      takeOut(base)
      const more = await layRest(rest, pathOf(base), lay).catch(async error => {
        await drop(base)
        throw error
      })
      Object.assign(base, { ids, digests, bytes: base.bytes + more, readers: 1 })
      await keep(base)
      return show(base, to)
    }
    base.readers++
    takeOut(base)
    await keep(base)
    await using undo = new AsyncDisposableStack()
    const shown = undo.use(await show(base, to, digests))
    await layRest(rest, to, lay)
    undo.move()
    return shown
  }
  return {
    bring: async (ids, to, lay) => {
      const [base] = all.filter(kept => isBelow(kept.ids, ids)).sort((a, b) => b.ids.length - a.ids.length)
      return base ? layOver(base, ids, to, lay) : layAll(ids, to, lay)
    },
    list: () => Promise.all(all.map(kept => cachedContext(kept, pathOf(kept)))),
    remove: async key => {
      if (!NAME.test(key)) return false
      for (const kept of all.filter(({ name }) => name === key)) {
        takeOut(kept)
        await drop(kept)
      }
      return true
    },
  }
}

async function layRest(ids: readonly ContextId[], to: string, lay: LayUpload): Promise<number> {
  let bytes = 0
  for (const id of ids) bytes += await lay(id, to, false)
  return bytes
}

function isBelow(one: readonly ContextId[], other: readonly ContextId[]): boolean {
  return one.length <= other.length && one.every((id, at) => id === other[at])
}

/** Shows a folder at another, empty one, where it can be written without being changed. */
async function mountOver(lower: string, target: string): Promise<void> {
  const [upper, work] = [`${target}.upper`, `${target}.work`]
  for (const path of [upper, work]) await mkdir(path, { mode: 0o700 })
  // The merged root is the upper folder's own.
  const { uid, gid, mode, atime, mtime } = statSync(lower)
  chownSync(upper, uid, gid)
  chmodSync(upper, mode & 0o7777)
  await utimes(upper, atime, mtime)
  mountOverlay({ lower: [lower], upper, work, target, isVolatile: true })
}

async function cachedContext({ name, usedAt }: Kept, path: string): Promise<CachedStep> {
  return { key: name, bytes: await diskUsage(path).catch(() => 0), layer: undefined, usedAt }
}
