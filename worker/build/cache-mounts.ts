import { createHash } from 'node:crypto'
import { lstatSync } from 'node:fs'
import { chmod, chown, mkdir, readdir, rename, utimes } from 'node:fs/promises'
import { join } from 'node:path'
import type { CacheMount } from '../dockerfile/step.ts'
import { diskUsage } from '../host/disk-usage.ts'
import { removeTree } from '../host/remove-tree.ts'
import { untilAborted } from './deadline.ts'
import type { CachedStep } from './step-cache.ts'
import { openTurns } from './turns.ts'

/**
 * Folders that RUN steps keep from one build of this host to the next (`--mount=type=cache`). Nobody may rely on what is
 * in one: it goes when the disk fills, by its name's age.
 */
export interface CacheMounts {
  /** Each with its bytes; walks them. `key` is a name for `remove`. */
  list(): Promise<CachedStep[]>
  /** Whether it was one: a folder that a step uses stays all the same. */
  remove(key: string): Promise<boolean>
  /** The folder of `mount` while the step runs. */
  take(
    mount: Pick<CacheMount, 'id' | 'sharing' | 'mode' | 'uid' | 'gid'>,
    beginning: Beginning,
    signal: AbortSignal,
  ): Promise<TakenMount>
  /**
   * Reads a folder while no step uses it. A step that comes does not wait: `over` tells the reader to end, and what it read
   * counts for nothing. `inUse`: a step uses it, or came meanwhile. Errors: those of `read`.
   */
  readUnused<T>(name: string, read: (path: string, over: AbortSignal) => Promise<T>): Promise<T | 'inUse'>
}

/** What a folder begins with, made in an empty folder that is not the mount's yet. */
export interface Beginning {
  fill(folder: string): Promise<void>
  /** Brings what another host had in it, with its owner and mode, or false: then it is as if it had not been asked. */
  restore?: ((name: string, folder: string) => Promise<boolean>) | undefined
}

export interface TakenMount extends AsyncDisposable {
  path: string
  /** The folder's, for `readUnused`. */
  name: string
}

const KEPT_PRIVATE = 16
/** Unlike steps', they have a dash. */
const NAME = /^[0-9a-f]{64}-\d+$/

interface Use {
  /** Who has it or is about to. */
  users: number
  /** Steps that see it. */
  holders: number
  readers: Set<AbortController>
}

/** Call it once for a folder: it removes what a crash left half made. */
export async function openCacheMounts(folder: string): Promise<CacheMounts> {
  const names = async () => readdir(folder).catch((): string[] => [])
  for (const name of await names()) if (!NAME.test(name)) await removeTree(join(folder, name))
  const uses = new Map<string, Use>()
  const useOf = (name: string): Use => {
    const use = uses.get(name) ?? { users: 0, holders: 0, readers: new Set() }
    uses.set(name, use)
    return use
  }
  /** The last one that waits for a locked folder. */
  const turns = new Map<string, Promise<void>>()
  const makings = openTurns()
  const freeName = (name: string): string => {
    for (let at = 0; at < KEPT_PRIVATE; at++) if (useOf(`${name}-${at}`).users === 0) return `${name}-${at}`
    return `${name}-${KEPT_PRIVATE}`
  }
  return {
    list: async () => {
      const whole = (await names()).filter(name => NAME.test(name))
      return (await Promise.all(whole.map(name => cachedFolder(folder, name)))).filter(found => found !== undefined)
    },
    remove: async name => {
      if (!NAME.test(name)) return false
      const { users, readers } = useOf(name)
      if (users === 0 && readers.size === 0) await removeTree(join(folder, name))
      return true
    },
    take: async (mount, beginning, signal) => {
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
      const use = useOf(name)
      use.users++
      undo.defer(() => void use.users--)
      for (const reader of use.readers) reader.abort()
      const path = join(folder, name)
      // Whoever comes while another fetches what it begins with waits for that.
      const make = () => makeWhole({ name, path, mount, isSeen: use.holders > 0 }, beginning)
      await makings.take(name, make, signal)
      use.holders++
      undo.defer(() => void use.holders--)
      await utimes(path, new Date(), new Date())
      const taken = undo.move()
      return { path, name, [Symbol.asyncDispose]: () => taken.disposeAsync() }
    },
    readUnused: async (name, read) => {
      const { users, readers } = useOf(name)
      if (users > 0) return 'inUse'
      const over = new AbortController()
      readers.add(over)
      try {
        const result = await read(join(folder, name), over.signal)
        return isOver(over) ? 'inUse' : result
      } catch (error) {
        if (isOver(over)) return 'inUse'
        throw error
      } finally {
        readers.delete(over)
      }
    },
  }
}

/** Apart, since it changes while others wait. */
const isOver = ({ signal }: AbortController) => signal.aborted

async function cachedFolder(folder: string, key: string): Promise<CachedStep | undefined> {
  const path = join(folder, key)
  const stat = lstatSync(path, { throwIfNoEntry: false })
  if (!stat) return undefined
  return { key, bytes: await diskUsage(path), layer: undefined, usedAt: stat.mtimeMs }
}

interface Making {
  name: string
  path: string
  mount: Pick<CacheMount, 'mode' | 'uid' | 'gid'>
  /** A step has it mounted: another folder in its place would be another mount. */
  isSeen: boolean
}

/** Whole or not at all: what is killed leaves a folder of another name. An empty folder is made anew where something can be restored. */
async function makeWhole({ name, path, mount, isSeen }: Making, { fill, restore }: Beginning): Promise<void> {
  const isThere = lstatSync(path, { throwIfNoEntry: false }) !== undefined
  if (isThere && (isSeen || !restore || (await readdir(path)).length > 0)) return
  const part = `${path}.${process.hrtime.bigint()}.part`
  await using undo = new AsyncDisposableStack()
  undo.defer(() => removeTree(part))
  const makePart = () => mkdir(part, { recursive: true, mode: 0o700 })
  await makePart()
  if (!(await restore?.(name, part))) {
    if (isThere) return
    if (restore) await removeTree(part) // Something may have come of it.
    await makePart()
    await fill(part)
    await chown(part, mount.uid, mount.gid)
    await chmod(part, mount.mode)
  }
  await rename(part, path)
  undo.move()
}
