import { createHash } from 'node:crypto'
import { mkdir, readdir, rename, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Digest } from '#shared/digest.ts'
import { readBootId } from '#worker/host/boot-id.ts'
import { asKernelError } from '#worker/host/kernel-error.ts'
import { turns } from '#worker/host/turns.ts'
import { applyLayer } from './apply-layer.ts'
import type { LayerStore } from './layer-store.ts'
import type { Trash } from './trash.ts'

/**
 * How a driver keeps whole trees. Each lies in a folder that has room for what the driver keeps beside it, and that may
 * be renamed with the tree in it.
 */
export interface TreeKind {
  name: string
  /** Makes an empty tree, and shows it. */
  create(path: string): Promise<void>
  /** Makes a tree out of one that nobody writes to. */
  copy(from: string, to: string): Promise<void>
  /** Where trees are mounts: has this one mounted from now on, and no longer. */
  show?(path: string): Promise<void>
  hide?(path: string): Promise<void>
  /** Bytes that a tree takes and shares with none, where that is known without a walk. */
  ownSize?(path: string): Promise<number>
  /** Removes trees whose folders are gone. */
  sweep?(): Promise<void>
  /** Whether a copy costs nothing, so that a tree is best made out of one of fewer layers. */
  isCopyFree: boolean
  /** Whether a copy of this tree has its files' blocks in common with what it was made of. */
  sharesBlocks(path: string): boolean
  /** Removes a folder and the trees in it. */
  remove(path: string): Promise<void>
}

/**
 * What lists of layers look like on top of each other: a tree each, that nobody writes to, made when it is asked for and
 * made again after a reboot (`bases/<boot>/<name>/tree`), since nobody waited until it was on the disk.
 */
export class BaseTrees {
  readonly #folder: string
  readonly #kind: TreeKind
  readonly #layers: LayerStore
  readonly #trash: Trash
  readonly #inTurn = turns()
  /** By their paths: how many copy or read a tree, and how many have it mounted. */
  readonly #holders = new Map<string, number>()
  readonly #readers = new Map<string, number>()
  #boot = ''
  #count = 0

  constructor(folder: string, kind: TreeKind, layers: LayerStore, trash: Trash) {
    this.#folder = folder
    this.#kind = kind
    this.#layers = layers
    this.#trash = trash
  }

  async open(): Promise<void> {
    this.#boot = join(this.#folder, await readBootId())
    await mkdir(this.#boot, { recursive: true, mode: 0o700 })
  }

  /**
   * Finds or makes the tree of these layers, bottom first. `use` has it, to copy from, for as long as it runs; others may
   * have it meanwhile, so that no start waits for another one's copy.
   */
  async with<T>(diffIds: readonly Digest[], use: (path: string) => Promise<T>): Promise<T> {
    await using _held = await this.#hold(diffIds, async path => {
      const folders = await this.#layers.lowerFolders(diffIds)
      if (!(await isThere(path))) await this.#make(diffIds, folders)
      return true
    })
    return await use(this.#pathOf(diffIds))
  }

  /** The same, for who reads what is in it: where it is a mount, it is mounted until the last reader has left. */
  reading<T>(diffIds: readonly Digest[], use: (path: string) => Promise<T>): Promise<T> {
    if (!this.#kind.show) return this.with(diffIds, use)
    return this.with(diffIds, async path => {
      await using shown = new AsyncDisposableStack()
      await this.#inTurn(nameOf(diffIds), async () => {
        if (!this.#readers.has(path)) await this.#kind.show?.(path)
        count(this.#readers, path, 1)
      })
      shown.defer(() =>
        this.#inTurn(nameOf(diffIds), async () => {
          if (count(this.#readers, path, -1) === 0) await this.#kind.hide?.(path)
        }),
      )
      return await use(path)
    })
  }

  /** Looks in turn whether there is such a tree: it stays then until who asked has let go of it. */
  #hold(
    diffIds: readonly Digest[],
    look: (path: string) => Promise<boolean>,
  ): Promise<AsyncDisposable & { isThere: boolean }> {
    const path = this.#pathOf(diffIds)
    return this.#inTurn(nameOf(diffIds), async () => {
      const found = await look(path)
      if (found) count(this.#holders, path, 1)
      return {
        isThere: found,
        [Symbol.asyncDispose]: async () => {
          if (found) count(this.#holders, path, -1)
        },
      }
    })
  }

  async #make(diffIds: readonly Digest[], folders: readonly string[]): Promise<void> {
    const temporary = join(this.#boot, `.new-${this.#count++}`)
    const tree = join(temporary, 'tree')
    await using undo = new AsyncDisposableStack()
    undo.defer(() => this.#trash.discard(temporary))
    try {
      await mkdir(temporary, { mode: 0o700 })
      await this.#fill(tree, diffIds, folders)
      await rename(temporary, dirname(this.#pathOf(diffIds)))
    } catch (error) {
      throw asKernelError(error, `put layers together in ${tree}`)
    }
    undo.move()
  }

  async #fill(tree: string, diffIds: readonly Digest[], folders: readonly string[]): Promise<void> {
    const done = this.#kind.isCopyFree ? await this.#copyLongest(diffIds, tree) : 0
    if (done === 0) await this.#kind.create(tree)
    await this.#kind.show?.(tree)
    for (const folder of folders.slice(done)) await applyLayer(folder, tree)
    await this.#kind.hide?.(tree)
  }

  /** Copies the tree of most of the lowest layers; says of how many. Waits for shorter lists alone: none waits for itself. */
  async #copyLongest(diffIds: readonly Digest[], tree: string): Promise<number> {
    for (let length = diffIds.length - 1; length > 0; length--) {
      await using base = await this.#hold(diffIds.slice(0, length), isThere)
      if (!base.isThere) continue
      await this.#kind.copy(this.#pathOf(diffIds.slice(0, length)), tree)
      return length
    }
    return 0
  }

  /** Removes the trees of all lists but these and those that somebody has. */
  async sweepUnused(lists: readonly (readonly Digest[])[]): Promise<void> {
    const kept = new Set(lists.map(nameOf))
    for (const name of await readdir(this.#boot)) {
      if (kept.has(name) || name.startsWith('.new-')) continue
      await this.#inTurn(name, async () => {
        if (!this.#holders.has(join(this.#boot, name, 'tree'))) await this.#trash.removeSoon(join(this.#boot, name))
      })
    }
  }

  /** Before any other work: removes what a crash left half made, and the trees of an earlier boot. */
  async sweep(): Promise<void> {
    for (const boot of await readdir(this.#folder)) {
      const path = join(this.#folder, boot)
      const left = (await readdir(path)).filter(name => path !== this.#boot || name.startsWith('.new-'))
      for (const name of left) await this.#trash.removeSoon(join(path, name))
      if (path !== this.#boot) await this.#trash.removeSoon(path)
    }
  }

  #pathOf(diffIds: readonly Digest[]): string {
    return join(this.#boot, nameOf(diffIds), 'tree')
  }
}

function nameOf(diffIds: readonly Digest[]): string {
  return `base-${createHash('sha256').update(diffIds.join()).digest('hex')}`
}

/** Returns how many it are now. */
function count(users: Map<string, number>, path: string, more: 1 | -1): number {
  const now = (users.get(path) ?? 0) + more
  if (now > 0) users.set(path, now)
  else users.delete(path)
  return now
}

function isThere(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  )
}
