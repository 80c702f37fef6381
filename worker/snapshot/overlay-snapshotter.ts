import { chmodSync, chownSync, mkdirSync, statSync } from 'node:fs'
import { mkdir, realpath, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Digest } from '#shared/digest.ts'
import { SlipwayError } from '#shared/errors.ts'
import { diskUsage, foldersUsage } from '#worker/host/disk-usage.ts'
import { asKernelError } from '#worker/host/kernel-error.ts'
import { mountOverlay, type OverlayMount, unmount } from '#worker/host/mount.ts'
import { lgetxattr, llistxattr, lsetxattr } from '#worker/host/syscalls.ts'
import { withMapping } from '#worker/host/userns.ts'
import { isKeptXattr } from '#worker/layer/kept-xattrs.ts'
import { shownLayers } from '#worker/layer/lower-tree.ts'
import { type LayerStore, spareIn } from './layer-store.ts'
import { removePrivateMarks } from './private-marks.ts'
import { SnapshotFolders } from './snapshot-folders.ts'
import type { Changes, Preparation, Snapshot, SnapshotInfo, SnapshotSize, Snapshotter } from './snapshotter.ts'
import { Trash } from './trash.ts'
import { UnpackedLayers } from './unpacked-layers.ts'

/** How layers and a writable folder become one filesystem. */
export interface OverlayKind {
  name: string
  /** Mounts without device files: what an image brings as a device node stays inert. */
  mount(overlay: OverlayMount): Promise<void>
  /** Takes out of a writable folder what no layer may hold. */
  tidyUpper?(upper: string): Promise<void>
  /** Where the layers lie, below the driver's data folder. */
  openLayers(dataFolder: string, trash: Trash): LayerStore
}

/** The kernel's overlay over unpacked layers. */
export const UNPACKED_OVERLAY: OverlayKind = {
  name: 'overlay',
  mount: async overlay => mountOverlay(overlay),
  openLayers: (dataFolder, trash) => new UnpackedLayers(dataFolder, trash),
}

/** Opens a driver on a data folder, making its folders where they are missing. Call `sweep` before all else. */
export async function openOverlaySnapshotter(
  folder: string,
  onTrashLeft: (error: unknown) => void = () => {},
  kind: OverlayKind = UNPACKED_OVERLAY,
): Promise<OverlaySnapshotter> {
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const dataFolder = await realpath(folder) // As the mount table will have it.
  const trash = new Trash(join(dataFolder, 'trash'), onTrashLeft)
  const layers = kind.openLayers(dataFolder, trash)
  const snapshots = new SnapshotFolders(join(dataFolder, 'snapshots'), trash)
  for (const part of [trash, layers, snapshots]) await part.open()
  const empty = join(dataFolder, 'empty')
  await mkdir(empty, { recursive: true, mode: 0o755 })
  return new OverlaySnapshotter({ kind, layers, snapshots, trash, empty })
}

interface OverlayParts {
  kind: OverlayKind
  layers: LayerStore
  snapshots: SnapshotFolders
  trash: Trash
  /** What an image without layers lies over. */
  empty: string
}

/**
 * Layers mounted by overlay below a writable folder of each snapshot (`snapshots/<id>/{upper,work,rootfs,layers.json}`).
 * Device files on it are inert.
 */
export class OverlaySnapshotter implements Snapshotter {
  readonly name: string
  readonly #parts: OverlayParts

  constructor(parts: OverlayParts) {
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
    if (!(await this.#isWhole(id))) return { writtenBytes: 0, takenBytes: 0 }
    const [takenBytes, folders] = await Promise.all([diskUsage(this.#upper(id)), foldersUsage(this.#upper(id))])
    return { writtenBytes: Math.max(takenBytes - folders, 0), takenBytes }
  }

  async addLayer(diffId: Digest, tar: AsyncIterable<Uint8Array>, verify: () => Promise<void>): Promise<void> {
    if (!(await this.hasLayer(diffId))) return this.#parts.layers.add(diffId, tar, verify)
    for await (const _ of tar);
    await verify()
  }

  async sweepLayers(kept: ReadonlySet<Digest>, olderThan: number): Promise<Digest[]> {
    const named = await this.#parts.snapshots.layersOfAll()
    return named ? this.#parts.layers.sweepUnused(new Set([...kept, ...named.flat()]), olderThan) : []
  }

  async spareLayers(kept: ReadonlySet<Digest>): Promise<Map<Digest, number>> {
    const { layers, snapshots } = this.#parts
    return spareIn(layers, kept, await snapshots.layersOfAll())
  }

  prepare(id: string, diffIds: readonly Digest[], how: Preparation = {}): Promise<Snapshot> {
    const { snapshots, trash } = this.#parts
    return snapshots.inTurn(id, async () => {
      const lower = await this.#lower(diffIds)
      await using undo = new AsyncDisposableStack()
      if (!(await this.#isWhole(id))) {
        await trash.remove(snapshots.pathOf(id))
        await snapshots.make(id, diffIds, async folder => makeWritable(folder, lower[0]))
        undo.defer(() => trash.discard(snapshots.pathOf(id)))
      }
      await snapshots.keepLayers(id, diffIds)
      await this.#ensureMount(id, lower, how)
      undo.move()
      return { id, rootfs: snapshots.rootfsOf(id) }
    })
  }

  async openChanges(id: string): Promise<Changes> {
    const diffIds = await this.#parts.snapshots.layersOf(id)
    const isThere = diffIds && (await this.#isWhole(id))
    if (!isThere) throw new SlipwayError('internal', `There is no snapshot ${id} whose changes could be read.`)
    await this.#parts.kind.tidyUpper?.(this.#upper(id))
    return { upper: this.#upper(id), lower: await this.#lower(diffIds), async [Symbol.asyncDispose]() {} }
  }

  adoptUpper(id: string, diffId: Digest): Promise<void> {
    const { snapshots, layers, trash } = this.#parts
    return snapshots.inTurn(id, async () => {
      if ((await this.#mountState(id)) !== 'none') {
        throw new SlipwayError('internal', `Snapshot ${id} is still mounted: unmount it before its layer is taken.`)
      }
      const upper = this.#upper(id)
      if (!(await this.hasLayer(diffId))) {
        await removePrivateMarks(upper).catch(cause => {
          throw asKernelError(cause, `read ${upper}`)
        })
        await this.#parts.kind.tidyUpper?.(upper)
        await layers.adopt(diffId, upper)
      }
      await trash.remove(snapshots.pathOf(id))
    })
  }

  list(): Promise<SnapshotInfo[]> {
    return this.#parts.snapshots.list()
  }

  unmount(id: string): Promise<void> {
    const { snapshots } = this.#parts
    return snapshots.inTurn(id, () => unmount(snapshots.rootfsOf(id)))
  }

  async remove(id: string): Promise<void> {
    const { snapshots, trash } = this.#parts
    const finish = await snapshots.inTurn(id, async () => {
      await unmount(snapshots.rootfsOf(id))
      return trash.take(snapshots.pathOf(id))
    })
    await finish()
  }

  async sweep(): Promise<void> {
    await this.#parts.trash.sweep() // First, so that what follows is not found there once more.
    await this.#parts.snapshots.sweep()
    await this.#parts.layers.sweep()
  }

  /** Resolves when all layers are known to be on the disk and all removals have ended; nothing needs to wait for it. */
  async settled(): Promise<void> {
    await this.#parts.layers.settled()
    await this.#parts.trash.settled()
  }

  #upper(id: string): string {
    return join(this.#parts.snapshots.pathOf(id), 'upper')
  }

  /** False when it was never made, or when its writable layer became a layer and a crash kept the rest. */
  async #isWhole(id: string): Promise<boolean> {
    return (await stat(this.#upper(id)).catch(() => undefined)) !== undefined
  }

  /** A mount's root lies on another device than the folder that it covers. `broken`: it is there and does not answer. */
  async #mountState(id: string): Promise<'none' | 'mounted' | 'broken'> {
    const { snapshots } = this.#parts
    const folder = await stat(snapshots.pathOf(id)).catch(() => undefined)
    if (!folder) return 'none'
    const rootfs = await stat(snapshots.rootfsOf(id)).catch(() => undefined)
    if (!rootfs) return 'broken'
    return rootfs.dev === folder.dev ? 'none' : 'mounted'
  }

  async #ensureMount(id: string, lower: readonly string[], how: Preparation): Promise<void> {
    const { firstId = 0, ...rest } = how
    const state = await this.#mountState(id)
    const target = this.#parts.snapshots.rootfsOf(id)
    if (state === 'mounted') return requireMapping(target, this.#upper(id), firstId)
    if (state === 'broken') await unmount(target)
    const work = join(this.#parts.snapshots.pathOf(id), 'work')
    const folders = { lower, upper: this.#upper(id), work, target, ...rest }
    const { kind } = this.#parts
    if (firstId === 0) return kind.mount(folders)
    await withMapping(firstId, usernsFd => kind.mount({ ...folders, usernsFd }))
  }

  /**
   * The layers' folders, topmost first, but those that an opaque root hides. A layer that comes twice counts where it is on
   * top; overlay takes none twice.
   */
  async #lower(diffIds: readonly Digest[]): Promise<string[]> {
    const topFirst = [...new Set(diffIds.toReversed())]
    return topFirst.length > 0 ? shownLayers(await this.#parts.layers.lowerFolders(topFirst)) : [this.#parts.empty]
  }
}

/** Whoever reads files with a container's ids would take them for the files' own. */
function requireMapping(rootfs: string, upper: string, firstId: number): void {
  if (statSync(rootfs).uid - statSync(upper).uid === firstId) return
  throw new SlipwayError(
    'container.files-in-use',
    'Its files are in use with other ids than those that are asked for (userns auto): try again once it has ended, or nobody reads them.',
  )
}

/** The merged root is the writable layer's own: it starts as the image's root is. */
function makeWritable(folder: string, below: string | undefined): void {
  for (const path of ['upper', 'work']) mkdirSync(join(folder, path), { mode: 0o700 })
  if (below === undefined) return
  const upper = join(folder, 'upper')
  const { uid, gid, mode } = statSync(below)
  chownSync(upper, uid, gid)
  chmodSync(upper, mode & 0o7777)
  for (const name of llistxattr(below).filter(isKeptXattr)) {
    const value = lgetxattr(below, Buffer.from(name, 'latin1'))
    if (value) lsetxattr(upper, Buffer.from(name, 'latin1'), value)
  }
}
