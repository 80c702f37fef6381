import { join } from 'node:path'
import { type Digest, digestFromHex, digestHex } from '#shared/digest.ts'
import type { ErofsBacking } from '#worker/host/mount-erofs.ts'
import { indexLayer } from '#worker/layer/index-layer.ts'
import type { IndexPaths } from '#worker/layer/index-writer.ts'
import { LayerFolders } from './layer-folders.ts'
import { LayerMounts } from './layer-mounts.ts'
import type { LayerStore } from './layer-store.ts'
import type { Trash } from './trash.ts'

/**
 * Layers that are mounted and never unpacked: `images/<hex>/{layer.tar,layer.erofs}`, the tar as it came and the index
 * that this program made of it, mounted at `mounts/<hex>` from the first snapshot on that needs it until the layer goes.
 * No image comes from elsewhere: the kernel trusts what it mounts. What builds made are plain folders (`layers/<hex>`),
 * and so is what the driver of unpacked layers left there.
 */
export class LayerImages implements LayerStore {
  readonly #images: LayerFolders
  readonly #folders: LayerFolders
  readonly #mounts: LayerMounts

  constructor(dataFolder: string, trash: Trash, backing: ErofsBacking) {
    this.#images = imagesIn(dataFolder, trash)
    this.#folders = new LayerFolders(join(dataFolder, 'layers'), trash)
    this.#mounts = new LayerMounts(join(dataFolder, 'mounts'), backing)
  }

  async open(): Promise<void> {
    for (const part of [this.#images, this.#folders, this.#mounts]) await part.open()
  }

  async has(diffId: Digest): Promise<boolean> {
    const found = await Promise.all([this.#images.has(diffId), this.#folders.has(diffId)])
    return found.includes(true)
  }

  async holds(diffId: Digest): Promise<boolean> {
    const found = await Promise.all([this.#images.holds(diffId), this.#folders.holds(diffId)])
    return found.includes(true)
  }

  async list(): Promise<Digest[]> {
    const lists = await Promise.all([this.#images.list(), this.#folders.list()])
    return [...new Set(lists.flat())]
  }

  add(diffId: Digest, tar: AsyncIterable<Uint8Array>, verify: () => Promise<void>): Promise<void> {
    return this.#images.add(diffId, tar, verify)
  }

  adopt(diffId: Digest, folder: string): Promise<void> {
    return this.#folders.adopt(diffId, folder)
  }

  async lowerFolders(diffIds: readonly Digest[]): Promise<string[]> {
    const folders: string[] = []
    for (const diffId of diffIds) folders.push(...(await this.#lowerFolder(diffId)))
    return folders
  }

  async #lowerFolder(diffId: Digest): Promise<string[]> {
    if (!(await this.#images.has(diffId))) return this.#folders.lowerFolders([diffId])
    const images = await this.#images.lowerFolders([diffId])
    return Promise.all(images.map(image => this.#mounts.ensure(digestHex(diffId), pathsIn(image))))
  }

  async sizeOf(diffId: Digest): Promise<number> {
    const store = (await this.#images.holds(diffId)) ? this.#images : this.#folders
    return store.sizeOf(diffId)
  }

  async sweepUnused(kept: ReadonlySet<Digest>, olderThan: number): Promise<Digest[]> {
    const images = await this.#images.sweepUnused(kept, olderThan)
    const folders = await this.#folders.sweepUnused(kept, olderThan)
    await this.#unmountRemoved()
    return [...new Set([...images, ...folders])]
  }

  async sweep(): Promise<void> {
    await this.#images.sweep()
    await this.#folders.sweep()
    await this.#unmountRemoved()
  }

  async #unmountRemoved(): Promise<void> {
    await this.#mounts.keepOnly(hex => this.#images.holds(digestFromHex(hex)))
  }

  async settled(): Promise<void> {
    await this.#images.settled()
    await this.#folders.settled()
  }
}

/** Layers as images, not yet mounted. */
export function imagesIn(dataFolder: string, trash: Trash): LayerFolders {
  return new LayerFolders(join(dataFolder, 'images'), trash, (tar, folder) => indexLayer(tar, pathsIn(folder)))
}

function pathsIn(folder: string): IndexPaths {
  return { tar: join(folder, 'layer.tar'), index: join(folder, 'layer.erofs') }
}
