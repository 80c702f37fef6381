import { chmodSync, chownSync, mkdirSync, statSync, writeFileSync } from 'node:fs'
import { mkdir, readdir, readFile, realpath, rename, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { finished } from 'node:stream/promises'
import { z } from 'zod'
import { type Digest, digestSchema } from '#shared/digest.ts'
import { SlipwayError } from '#shared/errors.ts'
import { asKernelError } from '#worker/host/kernel-error.ts'
import { mountOverlay, unmount } from '#worker/host/mount.ts'
import { readMounts } from '#worker/host/mount-table.ts'
import { lgetxattr, llistxattr, lsetxattr } from '#worker/host/syscalls.ts'
import { isKeptXattr } from '#worker/layer/tree-writer.ts'
import { LayerFolders } from './layer-folders.ts'
import { removePrivateMarks } from './private-marks.ts'
import type { Snapshot, SnapshotInfo, Snapshotter } from './snapshotter.ts'
import { Trash } from './trash.ts'

const ID = /^[a-z0-9][a-z0-9_-]{0,127}$/
const layersSchema = z.object({ layers: z.array(digestSchema) })

/** Opens the driver on a data folder, making its folders where they are missing. Call `sweep` before all else. */
export async function openOverlaySnapshotter(
  folder: string,
  onTrashLeft: (error: unknown) => void = () => {},
): Promise<OverlaySnapshotter> {
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const dataDir = await realpath(folder) // As the mount table will have it.
  const trash = new Trash(join(dataDir, 'trash'), onTrashLeft)
  const layers = new LayerFolders(join(dataDir, 'layers'), trash)
  await trash.open()
  await layers.open()
  // Not for others: files of images may be set-user-ID.
  await mkdir(join(dataDir, 'snapshots'), { recursive: true, mode: 0o700 })
  await mkdir(join(dataDir, 'empty'), { recursive: true, mode: 0o755 })
  return new OverlaySnapshotter(dataDir, layers, trash)
}

/**
 * Layers unpacked once a host (`layers/<hex>`), mounted by overlay below a writable folder of each snapshot
 * (`snapshots/<id>/{upper,work,rootfs,layers.json}`). Both appear by a rename and go by one, so that a crash leaves only
 * what `sweep` finds. Device files on it are inert.
 */
export class OverlaySnapshotter implements Snapshotter {
  readonly name = 'overlay'
  readonly #dataDir: string
  readonly #layers: LayerFolders
  readonly #trash: Trash
  /** The last work of each snapshot that is at work: calls for one id go one behind the other. */
  readonly #busy = new Map<string, Promise<unknown>>()
  #count = 0

  constructor(dataDir: string, layers: LayerFolders, trash: Trash) {
    this.#dataDir = dataDir
    this.#layers = layers
    this.#trash = trash
  }

  hasLayer(diffId: Digest): Promise<boolean> {
    return this.#layers.has(diffId)
  }

  layers(): Promise<Digest[]> {
    return this.#layers.list()
  }

  async addLayer(diffId: Digest, tar: Readable, verify: () => Promise<void>): Promise<void> {
    if (!(await this.hasLayer(diffId))) return this.#layers.add(diffId, tar, verify)
    await finished(tar.resume())
    await verify()
  }

  async sweepLayers(kept: ReadonlySet<Digest>, olderThan: number): Promise<Digest[]> {
    const snapshots = await this.list()
    const lists = await Promise.all(snapshots.map(({ id }) => this.#readLayers(id)))
    // What lies below one of them is not known: nothing is safe to remove.
    if (lists.includes(undefined)) return []
    return this.#layers.sweepUnused(new Set([...kept, ...lists.flatMap(list => list ?? [])]), olderThan)
  }

  prepare(id: string, diffIds: readonly Digest[]): Promise<Snapshot> {
    return this.#inTurn(id, async () => {
      const lower = await this.#lower(diffIds)
      await using undo = new AsyncDisposableStack()
      if (!(await this.#isWhole(id))) {
        await this.#trash.remove(this.#folder(id))
        await this.#make(id, diffIds, lower[0])
        undo.defer(() => this.#trash.discard(this.#folder(id)))
      }
      await this.#checkLayers(id, diffIds)
      if (!(await this.#isMounted(id))) this.#mount(id, lower)
      undo.move()
      return { ...this.#snapshot(id), lower }
    })
  }

  adoptUpper(id: string, diffId: Digest): Promise<void> {
    return this.#inTurn(id, async () => {
      if (await this.#isMounted(id)) {
        throw new SlipwayError('internal', `Snapshot ${id} is still mounted: unmount it before its layer is taken.`)
      }
      const { upper } = this.#snapshot(id)
      if (!(await this.hasLayer(diffId))) {
        await wrapped(`read ${upper}`, () => removePrivateMarks(upper))
        await this.#layers.adopt(diffId, upper)
      }
      await this.#trash.remove(this.#folder(id))
    })
  }

  async list(): Promise<SnapshotInfo[]> {
    const [names, mounts] = await Promise.all([readdir(join(this.#dataDir, 'snapshots')), readMounts()])
    const targets = new Set(mounts.map(({ target }) => target))
    return names
      .filter(name => ID.test(name))
      .map(id => ({ id, rootfs: this.#snapshot(id).rootfs }))
      .map(info => ({ ...info, isMounted: targets.has(info.rootfs) }))
  }

  unmount(id: string): Promise<void> {
    return this.#inTurn(id, () => unmount(this.#snapshot(id).rootfs))
  }

  async remove(id: string): Promise<void> {
    const finish = await this.#inTurn(id, async () => {
      await unmount(this.#snapshot(id).rootfs)
      return this.#trash.take(this.#folder(id))
    })
    await finish()
  }

  async sweep(): Promise<void> {
    const folder = join(this.#dataDir, 'snapshots')
    const halfMade = (await readdir(folder)).filter(name => name.startsWith('.new-'))
    await this.#trash.sweep() // First, so that what follows is not found there once more.
    for (const name of halfMade) await this.#trash.removeSoon(join(folder, name))
    await this.#layers.sweep()
  }

  /** Resolves when all layers are known to be on the disk and all removals have ended; nothing needs to wait for it. */
  async settled(): Promise<void> {
    await this.#layers.settled()
    await this.#trash.settled()
  }

  #folder(id: string): string {
    if (!ID.test(id)) throw new SlipwayError('internal', `${JSON.stringify(id)} cannot name a snapshot.`)
    return join(this.#dataDir, 'snapshots', id)
  }

  #snapshot(id: string): Omit<Snapshot, 'lower'> {
    const folder = this.#folder(id)
    return { id, rootfs: join(folder, 'rootfs'), upper: join(folder, 'upper') }
  }

  async #inTurn<T>(id: string, work: () => Promise<T>): Promise<T> {
    const before = this.#busy.get(id) ?? Promise.resolve()
    const mine = before.catch(() => {}).then(work)
    this.#busy.set(id, mine)
    try {
      return await mine
    } finally {
      if (this.#busy.get(id) === mine) this.#busy.delete(id)
    }
  }

  /** False when it was never made, or when its writable layer became a layer and a crash kept the rest. */
  async #isWhole(id: string): Promise<boolean> {
    return (await stat(this.#snapshot(id).upper).catch(() => undefined)) !== undefined
  }

  /** A mount's root lies on another device than the folder that it covers. */
  async #isMounted(id: string): Promise<boolean> {
    const stats = await Promise.all([stat(this.#folder(id)), stat(this.#snapshot(id).rootfs)]).catch(() => undefined)
    return stats !== undefined && stats[0].dev !== stats[1].dev
  }

  async #make(id: string, diffIds: readonly Digest[], below: string | undefined): Promise<void> {
    const temporary = join(this.#dataDir, 'snapshots', `.new-${id}-${this.#count++}`)
    await using undo = new AsyncDisposableStack()
    undo.defer(() => this.#trash.discard(temporary))
    await wrapped(`make ${temporary}`, async () => {
      // Few and small: one by one they take less time than one turn of the event loop each.
      for (const path of ['', 'upper', 'work', 'rootfs']) mkdirSync(join(temporary, path), { mode: 0o700 })
      adoptRoot(join(temporary, 'upper'), below)
      writeFileSync(join(temporary, 'layers.json'), JSON.stringify({ layers: diffIds }))
      await rename(temporary, this.#folder(id))
    })
    undo.move()
  }

  /** A snapshot keeps its layers for life: another list for the same id is a fault of the caller. */
  async #checkLayers(id: string, diffIds: readonly Digest[]): Promise<void> {
    const layers = await this.#readLayers(id)
    if (!layers || layers.join() === diffIds.join()) return
    throw new SlipwayError('internal', `Snapshot ${id} lies over other layers: remove it before it is made anew.`)
  }

  /** Not written through to the disk: after a power cut it may be torn, and whoever prepares the snapshot knows best. */
  async #readLayers(id: string): Promise<Digest[] | undefined> {
    try {
      return layersSchema.parse(JSON.parse(await readFile(join(this.#folder(id), 'layers.json'), 'utf8'))).layers
    } catch {
      return undefined
    }
  }

  /** The layers' folders, topmost first. A layer that comes twice counts where it is on top; overlay takes none twice. */
  async #lower(diffIds: readonly Digest[]): Promise<string[]> {
    const topFirst = [...new Set(diffIds.toReversed())]
    for (const diffId of topFirst) {
      if (await this.hasLayer(diffId)) continue
      throw new SlipwayError('internal', `This host lacks the layer ${diffId}: pull the image first.`)
    }
    return topFirst.length > 0 ? topFirst.map(diffId => this.#layers.pathOf(diffId)) : [join(this.#dataDir, 'empty')]
  }

  #mount(id: string, lower: readonly string[]): void {
    const { upper, rootfs } = this.#snapshot(id)
    mountOverlay({ lower, upper, work: join(this.#folder(id), 'work'), target: rootfs })
  }
}

/** The merged root is the writable layer's own: it starts as the image's root is. */
function adoptRoot(upper: string, lower: string | undefined): void {
  if (lower === undefined) return
  const { uid, gid, mode } = statSync(lower)
  chownSync(upper, uid, gid)
  chmodSync(upper, mode & 0o7777)
  for (const name of llistxattr(lower).filter(isKeptXattr)) {
    const value = lgetxattr(lower, Buffer.from(name, 'latin1'))
    if (value) lsetxattr(upper, Buffer.from(name, 'latin1'), value)
  }
}

async function wrapped<T>(doing: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw asKernelError(error, doing)
  }
}
