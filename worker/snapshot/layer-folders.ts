import { mkdir, readdir, rename, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { type Digest, digestFromHex, digestHex } from '#shared/digest.ts'
import { SlipwayError } from '#shared/errors.ts'
import { diskUsage } from '#worker/host/disk-usage.ts'
import { asKernelError, errnoOf } from '#worker/host/kernel-error.ts'
import { unpackLayer } from '#worker/layer/unpack.ts'
import { DurableMarks } from './durable-marks.ts'
import type { LayerStore } from './layer-store.ts'
import type { Trash } from './trash.ts'

const LAYER = /^[0-9a-f]{64}$/
const NEW = /^\.new-/

/** Makes a layer's folder, empty before, out of its tar. */
export type Fill = (tar: AsyncIterable<Uint8Array>, folder: string) => Promise<void>

/**
 * Layers, unpacked or in another form, a folder each by its diff ID. A layer appears by one rename, so it is whole for as long as the
 * kernel runs. After a power cut the layers without a mark are removed: they can be fetched again.
 */
export class LayerFolders implements LayerStore {
  readonly #folder: string
  readonly #trash: Trash
  readonly #fill: Fill
  readonly #marks: DurableMarks
  /** When this process last asked for a layer: it may be in use before anything on the disk says so. */
  readonly #asked = new Map<Digest, number>()
  readonly #leaving = new Set<Digest>()
  #count = 0

  constructor(folder: string, trash: Trash, fill: Fill = unpackLayer) {
    this.#folder = folder
    this.#trash = trash
    this.#fill = fill
    this.#marks = new DurableMarks(folder, diskUsage)
  }

  async open(): Promise<void> {
    await mkdir(this.#folder, { recursive: true, mode: 0o700 })
  }

  async has(diffId: Digest): Promise<boolean> {
    this.#asked.set(diffId, Date.now())
    return !this.#leaving.has(diffId) && (await this.holds(diffId))
  }

  /** As `has`, without saying that the layer may be in use soon. One call of the kernel, however many layers there are. */
  async holds(diffId: Digest): Promise<boolean> {
    return (await stat(this.#pathOf(diffId)).catch(() => undefined)) !== undefined
  }

  async list(): Promise<Digest[]> {
    return (await readdir(this.#folder)).filter(name => LAYER.test(name)).map(digestFromHex)
  }

  async lowerFolders(diffIds: readonly Digest[]): Promise<string[]> {
    for (const diffId of diffIds) {
      if (await this.has(diffId)) continue
      throw new SlipwayError('internal', `This host lacks the layer ${diffId}: pull the image first.`)
    }
    return diffIds.map(diffId => this.#pathOf(diffId))
  }

  sizeOf(diffId: Digest): Promise<number> {
    return this.#marks.sizeOf(digestHex(diffId))
  }

  /** Unpacks beside and renames at the end. `verify` may still reject what was unpacked. */
  async add(diffId: Digest, tar: AsyncIterable<Uint8Array>, verify: () => Promise<void>): Promise<void> {
    const temporary = join(this.#folder, `.new-${digestHex(diffId)}-${this.#count++}`)
    await using undo = new AsyncDisposableStack()
    undo.defer(() => this.#trash.discard(temporary))
    await mkdir(temporary, { mode: 0o755 }).catch(cause => {
      throw asKernelError(cause, `make ${temporary}`)
    })
    await this.#fill(tar, temporary)
    await verify()
    await this.adopt(diffId, temporary)
  }

  async adopt(diffId: Digest, folder: string): Promise<void> {
    try {
      await rename(folder, this.#pathOf(diffId))
    } catch (error) {
      if (['ENOTEMPTY', 'EEXIST'].includes(errnoOf(error) ?? '')) return
      throw asKernelError(error, `take ${folder} as a layer`)
    }
    this.#marks.markSoon(digestHex(diffId))
  }

  async sweepUnused(kept: ReadonlySet<Digest>, olderThan: number): Promise<Digest[]> {
    const removed: Digest[] = []
    for (const diffId of (await this.list()).filter(layer => !kept.has(layer))) {
      // Its own times are the tar's; this one changed last when it came here.
      const { ctimeMs } = await stat(this.#pathOf(diffId))
      if (Math.max(ctimeMs, this.#asked.get(diffId) ?? 0) >= olderThan) continue
      await this.remove(diffId)
      removed.push(diffId)
    }
    return removed
  }

  /** Takes a layer away whatever its age.  */
  async remove(diffId: Digest): Promise<void> {
    this.#leaving.add(diffId)
    try {
      await this.#marks.forget(digestHex(diffId))
      await this.#trash.removeSoon(this.#pathOf(diffId))
    } finally {
      this.#leaving.delete(diffId)
    }
  }

  settled(): Promise<void> {
    return this.#marks.settled()
  }

  async sweep(): Promise<void> {
    const names = await readdir(this.#folder)
    const remove = (name: string) => this.#trash.removeSoon(join(this.#folder, name))
    for (const name of names.filter(name => NEW.test(name))) await remove(name)
    await this.#marks.sweep(
      names.filter(name => LAYER.test(name)),
      remove,
    )
  }

  #pathOf(diffId: Digest): string {
    return join(this.#folder, digestHex(diffId))
  }
}
