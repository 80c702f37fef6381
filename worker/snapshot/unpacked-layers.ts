import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { readdir, rmdir } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { type Digest, digestFromHex } from '#shared/digest.ts'
import { SlipwayError } from '#shared/errors.ts'
import { unmountBelow } from '#worker/host/mount.ts'
import { turns } from '#worker/host/turns.ts'
import { LayerFolders } from './layer-folders.ts'
import { imagesIn } from './layer-images.ts'
import type { LayerStore } from './layer-store.ts'
import type { Trash } from './trash.ts'

/**
 * Unpacked layers (`layers/<hex>`), and what the driver of mounted layers left in the same folder: a layer that lies here
 * as an image counts as one that is there, is unpacked out of its own tar when it is first needed, and gives its image up
 * then. So a change of the driver needs no network, and loses no layer that nobody else has.
 */
export class UnpackedLayers implements LayerStore {
  readonly #folders: LayerFolders
  readonly #images: LayerFolders
  readonly #mounts: string
  readonly #inTurn = turns()

  constructor(dataFolder: string, trash: Trash) {
    this.#folders = new LayerFolders(join(dataFolder, 'layers'), trash)
    this.#images = imagesIn(dataFolder, trash)
    this.#mounts = join(dataFolder, 'mounts')
  }

  async open(): Promise<void> {
    for (const part of [this.#folders, this.#images]) await part.open()
  }

  async has(diffId: Digest): Promise<boolean> {
    const found = await Promise.all([this.#folders.has(diffId), this.#images.has(diffId)])
    return found.includes(true)
  }

  async holds(diffId: Digest): Promise<boolean> {
    const found = await Promise.all([this.#folders.holds(diffId), this.#images.holds(diffId)])
    return found.includes(true)
  }

  async list(): Promise<Digest[]> {
    const lists = await Promise.all([this.#folders.list(), this.#images.list()])
    return [...new Set(lists.flat())]
  }

  add(diffId: Digest, tar: Readable, verify: () => Promise<void>): Promise<void> {
    return this.#folders.add(diffId, tar, verify)
  }

  adopt(diffId: Digest, folder: string): Promise<void> {
    return this.#folders.adopt(diffId, folder)
  }

  async lowerFolders(diffIds: readonly Digest[]): Promise<string[]> {
    for (const diffId of diffIds) await this.#inTurn(diffId, () => this.#ensureUnpacked(diffId))
    return this.#folders.lowerFolders(diffIds)
  }

  async #ensureUnpacked(diffId: Digest): Promise<void> {
    if ((await this.#folders.has(diffId)) || !(await this.#images.has(diffId))) return
    try {
      await this.#unpack(diffId)
      await this.#folders.settled() // Its bytes are on the disk before those that they were made of go.
    } catch (error) {
      const isOfBytes = error instanceof SlipwayError && error.code.startsWith('layer.')
      if (!isOfBytes) throw error // A full disk, for example: it is tried again.
    }
    await this.#images.remove(diffId) // One that the disk has damaged too: it is fetched again.
  }

  async #unpack(diffId: Digest): Promise<void> {
    const [image = ''] = await this.#images.lowerFolders([diffId])
    const hash = createHash('sha256')
    const chunks = async function* () {
      for await (const chunk of createReadStream(join(image, 'layer.tar'))) {
        hash.update(chunk)
        yield chunk
      }
    }
    const verify = async () => {
      if (digestFromHex(hash.digest('hex')) === diffId) return
      throw new SlipwayError('layer.digest-mismatch', `The disk has other bytes of the layer ${diffId} than came.`)
    }
    await this.#folders.add(diffId, Readable.from(chunks(), { objectMode: false }), verify)
  }

  async sizeOf(diffId: Digest): Promise<number> {
    const store = (await this.#folders.holds(diffId)) ? this.#folders : this.#images
    return store.sizeOf(diffId)
  }

  async sweepUnused(kept: ReadonlySet<Digest>, olderThan: number): Promise<Digest[]> {
    const images = await this.#images.sweepUnused(kept, olderThan)
    const folders = await this.#folders.sweepUnused(kept, olderThan)
    return [...new Set([...images, ...folders])]
  }

  /** Mounts of images go too: a container that runs over one has its own hold of it. */
  async sweep(): Promise<void> {
    await this.#folders.sweep()
    await this.#images.sweep()
    await this.#unmountAll()
    const images = new Set(await this.#images.list())
    const both = (await this.#folders.list()).filter(diffId => images.has(diffId))
    if (both.length > 0) await this.#folders.settled()
    for (const diffId of both) await this.#images.remove(diffId)
  }

  async #unmountAll(): Promise<void> {
    await unmountBelow(this.#mounts)
    for (const name of await readdir(this.#mounts).catch(() => [])) await rmdir(join(this.#mounts, name))
  }

  async settled(): Promise<void> {
    await this.#folders.settled()
    await this.#images.settled()
  }
}
