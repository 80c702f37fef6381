import { mkdir, readdir, realpath, rename, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Digest } from '#shared/digest.ts'
import { SlipwayError } from '#shared/errors.ts'
import { createSubvolume, removeWithSubvolumes, snapshotSubvolume } from '#worker/host/btrfs.ts'
import { copyTree } from '#worker/host/copy-tree.ts'
import { asKernelError } from '#worker/host/kernel-error.ts'
import { bindMount, unmount } from '#worker/host/mount.ts'
import { removeTree } from '#worker/host/remove-tree.ts'
import { sharesBlocks } from '#worker/host/shares-blocks.ts'
import { BaseTrees, type TreeKind } from './base-trees.ts'
import { LayerFolders } from './layer-folders.ts'
import { spareIn } from './layer-store.ts'
import { noMapping } from './no-mapping.ts'
import { SnapshotFolders } from './snapshot-folders.ts'
import type { Changes, Preparation, Snapshot, SnapshotInfo, SnapshotSize, Snapshotter } from './snapshotter.ts'
import { Trash } from './trash.ts'
import { writeTreeChanges } from './tree-changes.ts'
import { treeSize } from './tree-size.ts'

/** What a snapshot changed, in overlay's form, for as long as somebody reads it. */
const CHANGES = 'changes-'

/** Plain folders and copies: works everywhere, and shares blocks where the filesystem can. */
export const VFS: TreeKind = {
  name: 'vfs',
  create: async path => void (await mkdir(path, { mode: 0o755 })),
  copy: copyTree,
  isCopyFree: false,
  sharesBlocks,
  remove: path => removeTree(path),
}

/** Subvolumes and snapshots of them. */
export const BTRFS: TreeKind = {
  name: 'btrfs',
  create: async path => createSubvolume(path),
  copy: async (from, to) => snapshotSubvolume(from, to),
  isCopyFree: true,
  sharesBlocks: () => true,
  remove: removeWithSubvolumes,
}

/** Opens a driver on a data folder, making its folders where they are missing. Call `sweep` before all else. */
export async function openTreeSnapshotter(
  folder: string,
  kind: TreeKind,
  onTrashLeft: (error: unknown) => void = () => {},
): Promise<TreeSnapshotter> {
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const dataFolder = await realpath(folder) // As the mount table will have it.
  const trash = new Trash(join(dataFolder, 'trash'), onTrashLeft, path => kind.remove(path))
  const layers = new LayerFolders(join(dataFolder, 'layers'), trash)
  const snapshots = new SnapshotFolders(join(dataFolder, 'snapshots'), trash)
  const bases = new BaseTrees(join(dataFolder, 'bases'), kind, layers, trash)
  for (const part of [trash, layers, snapshots, bases]) await part.open()
  return new TreeSnapshotter({ kind, layers, snapshots, bases, trash })
}

interface TreeParts {
  kind: TreeKind
  layers: LayerFolders
  snapshots: SnapshotFolders
  bases: BaseTrees
  trash: Trash
}

/**
 * A whole tree for each snapshot (`snapshots/<id>/tree`), copied from the tree of its layers and mounted on `rootfs`
 * without device files. What it changed is found by comparing the two.
 */
export class TreeSnapshotter implements Snapshotter {
  readonly name: string
  readonly #parts: TreeParts
  #count = 0

  constructor(parts: TreeParts) {
    this.name = parts.kind.name
    this.#parts = parts
  }

  hasLayer(diffId: Digest): Promise<boolean> {
    return this.#parts.layers.has(diffId)
  }

  layers(): Promise<Digest[]> {
    return this.#parts.layers.list()
  }

  async layerSize(diffId: Digest): Promise<number> {
    return (await this.#parts.layers.holds(diffId)) ? this.#parts.layers.sizeOf(diffId) : 0
  }

  async snapshotSize(id: string): Promise<SnapshotSize> {
    const { snapshots, bases, kind } = this.#parts
    const diffIds = await snapshots.layersOf(id)
    if (!diffIds || !(await this.#isWhole(id))) return { writtenBytes: 0, takenBytes: 0 }
    if (kind.ownSize) {
      const bytes = await kind.ownSize(this.#tree(id))
      return { writtenBytes: bytes, takenBytes: bytes }
    }
    const { writtenBytes, allBytes } = await bases.reading(diffIds, base => treeSize(this.#tree(id), base))
    return { writtenBytes, takenBytes: kind.sharesBlocks(this.#tree(id)) ? writtenBytes : allBytes }
  }

  async addLayer(diffId: Digest, tar: AsyncIterable<Uint8Array>, verify: () => Promise<void>): Promise<void> {
    if (!(await this.hasLayer(diffId))) return this.#parts.layers.add(diffId, tar, verify)
    for await (const _ of tar);
    await verify()
  }

  async sweepLayers(kept: ReadonlySet<Digest>, olderThan: number): Promise<Digest[]> {
    const named = await this.#parts.snapshots.layersOfAll()
    if (!named) return []
    await this.#parts.bases.sweepUnused(named)
    return this.#parts.layers.sweepUnused(new Set([...kept, ...named.flat()]), olderThan)
  }

  async spareLayers(kept: ReadonlySet<Digest>): Promise<Map<Digest, number>> {
    const { layers, snapshots } = this.#parts
    return spareIn(layers, kept, await snapshots.layersOfAll())
  }

  prepare(id: string, diffIds: readonly Digest[], { firstId = 0 }: Preparation = {}): Promise<Snapshot> {
    const { snapshots, bases, kind, trash } = this.#parts
    return snapshots.inTurn(id, async () => {
      if (firstId !== 0) throw noMapping(this.name)
      await using undo = new AsyncDisposableStack()
      if (!(await this.#isWhole(id))) {
        await trash.remove(snapshots.pathOf(id))
        await bases.with(diffIds, base => snapshots.make(id, diffIds, folder => kind.copy(base, join(folder, 'tree'))))
        undo.defer(() => trash.discard(snapshots.pathOf(id)))
      }
      await snapshots.keepLayers(id, diffIds)
      const target = snapshots.rootfsOf(id)
      await kind.show?.(this.#tree(id))
      if (!(await this.#isMounted(id))) bindMount({ source: this.#tree(id), target, isReadOnly: false })
      undo.move()
      return { id, rootfs: target }
    })
  }

  openChanges(id: string): Promise<Changes> {
    return this.#parts.snapshots.inTurn(id, async () => {
      const { upper, diffIds } = await this.#writeChanges(id)
      const lower = await this.#parts.layers.lowerFolders(diffIds.toReversed())
      const close = () => this.#parts.trash.discard(upper)
      return { upper, lower, [Symbol.asyncDispose]: close }
    })
  }

  adoptUpper(id: string, diffId: Digest): Promise<void> {
    const { snapshots, layers, trash } = this.#parts
    return snapshots.inTurn(id, async () => {
      if (await this.#isMounted(id)) {
        throw new SlipwayError('internal', `Snapshot ${id} is still mounted: unmount it before its layer is taken.`)
      }
      if (await this.hasLayer(diffId)) return trash.remove(snapshots.pathOf(id))
      const { upper } = await this.#writeChanges(id)
      const layer = join(snapshots.pathOf(id), '..', `.new-${id}-layer-${this.#count++}`)
      await using undo = new AsyncDisposableStack()
      undo.defer(() => trash.discard(layer))
      await rename(upper, layer)
      // First: its files may be the layer's own, which nobody may write to any more.
      const finish = await trash.take(snapshots.pathOf(id))
      await layers.adopt(diffId, layer)
      await finish()
    })
  }

  list(): Promise<SnapshotInfo[]> {
    return this.#parts.snapshots.list()
  }

  unmount(id: string): Promise<void> {
    return this.#parts.snapshots.inTurn(id, () => this.#unmount(id))
  }

  async remove(id: string): Promise<void> {
    const { snapshots, trash } = this.#parts
    const finish = await snapshots.inTurn(id, async () => {
      await this.#unmount(id)
      return trash.take(snapshots.pathOf(id))
    })
    await finish()
  }

  async sweep(): Promise<void> {
    const { trash, snapshots, bases, layers, kind } = this.#parts
    await kind.sweep?.()
    await trash.sweep() // Before these, so that what they move there is not found once more.
    for (const part of [snapshots, bases, layers]) await part.sweep()
    for (const id of await snapshots.ids()) await this.#sweepChanges(snapshots.pathOf(id))
  }

  /** A reader of changes that was killed leaves them in a snapshot that lives on. */
  async #sweepChanges(snapshot: string): Promise<void> {
    const left = (await readdir(snapshot)).filter(name => name.startsWith(CHANGES))
    for (const name of left) await this.#parts.trash.removeSoon(join(snapshot, name))
  }

  /** Resolves when all layers are known to be on the disk and all removals have ended; nothing needs to wait for it. */
  async settled(): Promise<void> {
    await this.#parts.layers.settled()
    await this.#parts.trash.settled()
  }

  #tree(id: string): string {
    return join(this.#parts.snapshots.pathOf(id), 'tree')
  }

  async #isWhole(id: string): Promise<boolean> {
    return (await stat(this.#tree(id)).catch(() => undefined)) !== undefined
  }

  async #unmount(id: string): Promise<void> {
    await unmount(this.#parts.snapshots.rootfsOf(id))
    if (await this.#isWhole(id)) await this.#parts.kind.hide?.(this.#tree(id))
  }

  /** The mounted folder is the tree's own. */
  async #isMounted(id: string): Promise<boolean> {
    const paths = [this.#tree(id), this.#parts.snapshots.rootfsOf(id)]
    const [tree, rootfs] = await Promise.all(paths.map(path => stat(path).catch(() => undefined)))
    return tree !== undefined && tree.ino === rootfs?.ino && tree.dev === rootfs.dev
  }

  /** Into a folder of the snapshot's own, so that a crash leaves nothing that its removal does not take. */
  async #writeChanges(id: string): Promise<{ upper: string; diffIds: Digest[] }> {
    const { snapshots, bases, trash, kind } = this.#parts
    const diffIds = await snapshots.layersOf(id)
    if (!diffIds || !(await this.#isWhole(id))) {
      throw new SlipwayError('internal', `There is no snapshot ${id} whose changes could be read.`)
    }
    const upper = join(snapshots.pathOf(id), `${CHANGES}${this.#count++}`)
    await using undo = new AsyncDisposableStack()
    undo.defer(() => trash.discard(upper))
    await kind.show?.(this.#tree(id))
    await bases
      .reading(diffIds, base => writeTreeChanges(this.#tree(id), base, upper))
      .catch(cause => {
        throw asKernelError(cause, `find what changed in ${this.#tree(id)}`)
      })
    if (!(await this.#isMounted(id))) await kind.hide?.(this.#tree(id))
    undo.move()
    return { upper, diffIds }
  }
}
