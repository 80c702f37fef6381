import { createHash } from 'node:crypto'
import { lstatSync } from 'node:fs'
import { chmod, chown, mkdir, readdir, rename, rm, utimes } from 'node:fs/promises'
import { join } from 'node:path'
import type { CacheMount } from '../dockerfile/step.ts'
import { diskUsage } from '../host/disk-usage.ts'
import { removeTree } from '../host/remove-tree.ts'
import { untilAborted } from './deadline.ts'
import type { CachedStep } from './step-cache.ts'

/**
 * Folders that RUN steps keep from one build of this host to the next (`--mount=type=cache`). Nobody may rely on what is
 * in one: it goes when the disk fills, by its name's age.
 */
export interface CacheMounts {
  /** Each with its bytes; walks them. `key` is a name for `remove`. */
  list(): Promise<CachedStep[]>
  /** Whether it was one: a folder that a step uses stays all the same. */
  remove(key: string): Promise<boolean>
  /** The folder of `mount` while the step runs. `fill` makes what a new one begins with, in a folder that is there. */
  take(
    mount: Pick<CacheMount, 'id' | 'sharing' | 'mode' | 'uid' | 'gid'>,
    fill: (folder: string) => Promise<void>,
    signal: AbortSignal,
  ): Promise<AsyncDisposable & { path: string }>
}

const KEPT_PRIVATE = 16
/** Those that a crash left half made, too: unlike steps', they have a dash. */
const NAME = /^[0-9a-f]{64}-[\w.]+$/

export function openCacheMounts(folder: string): CacheMounts {
  const users = new Map<string, number>()
  /** The last one that waits for a locked folder. */
  const turns = new Map<string, Promise<void>>()
  const freeName = (name: string): string => {
    for (let at = 0; at < KEPT_PRIVATE; at++) if (!users.get(`${name}-${at}`)) return `${name}-${at}`
    return `${name}-${KEPT_PRIVATE}`
  }
  return {
    list: async () => {
      const names = await readdir(folder).catch(() => [])
      return (await Promise.all(names.map(name => cachedFolder(folder, name)))).filter(found => found !== undefined)
    },
    remove: async name => {
      if (!NAME.test(name)) return false
      if (!users.get(name)) await removeTree(join(folder, name))
      return true
    },
    take: async (mount, fill, signal) => {
      await using undo = new AsyncDisposableStack()
      const key = createHash('sha256')
        .update(JSON.stringify([mount.id]))
        .digest('hex')
      if (mount.sharing === 'locked') {
        const before = turns.get(key) ?? Promise.resolve()
        const turn = Promise.withResolvers<void>()
        turns.set(key, turn.promise)
        // One that gives up passes its turn on when it would have come.
        undo.defer(() => void before.then(() => turn.resolve()))
        await untilAborted(before, signal)
      }
      const name = mount.sharing === 'private' ? freeName(key) : `${key}-0`
      users.set(name, (users.get(name) ?? 0) + 1)
      undo.defer(() => void users.set(name, (users.get(name) ?? 1) - 1))
      const path = join(folder, name)
      await makeOnce(path, mount, fill)
      await utimes(path, new Date(), new Date())
      const taken = undo.move()
      return { path, [Symbol.asyncDispose]: () => taken.disposeAsync() }
    },
  }
}

async function cachedFolder(folder: string, key: string): Promise<CachedStep | undefined> {
  const path = join(folder, key)
  const stat = lstatSync(path, { throwIfNoEntry: false })
  if (!stat) return undefined
  return { key, bytes: await diskUsage(path), layer: undefined, usedAt: stat.mtimeMs }
}

/** Whole or not at all; of two that make it at once the first counts. */
async function makeOnce(
  path: string,
  { mode, uid, gid }: Pick<CacheMount, 'mode' | 'uid' | 'gid'>,
  fill: (folder: string) => Promise<void>,
): Promise<void> {
  const part = `${path}.${process.hrtime.bigint()}.part`
  if (lstatSync(path, { throwIfNoEntry: false })) return
  await mkdir(part, { recursive: true, mode: 0o700 })
  await fill(part)
  await chown(part, uid, gid)
  await chmod(part, mode)
  await rename(part, path).catch(() => rm(part, { recursive: true, force: true }))
}
