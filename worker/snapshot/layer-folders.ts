import { mkdir, open, readdir, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { z } from 'zod'
import { type Digest, digestFromHex, digestHex } from '#shared/digest.ts'
import { readBootId } from '#worker/host/boot-id.ts'
import { readDurableJson, syncFolder, writeDurableJson } from '#worker/host/durable-file.ts'
import { asKernelError, errnoOf } from '#worker/host/kernel-error.ts'
import { syncfs } from '#worker/host/syscalls.ts'
import { unpackLayer } from '#worker/layer/unpack.ts'
import type { Trash } from './trash.ts'

const LAYER = /^[0-9a-f]{64}$/
const MARK = /^[0-9a-f]{64}\.whole$/
const NEW = /^\.new-/
const bootSchema = z.object({ bootId: z.string() })

/**
 * Unpacked layers, a folder each by its diff ID. A layer appears by one rename, so it is whole for as long as the
 * kernel runs; that its bytes are on the disk too is marked later (`<hex>.whole`), after a sync that nobody waits for.
 * After a power cut the layers without a mark are removed: they may have lost bytes, and can be fetched again.
 */
export class LayerFolders {
  readonly #folder: string
  readonly #trash: Trash
  readonly #unmarked = new Set<string>()
  /** By this process: what it saw may be in use, before anything on the disk says so. */
  readonly #asked = new Set<Digest>()
  readonly #leaving = new Set<Digest>()
  #marking: Promise<void> | undefined
  #count = 0

  constructor(folder: string, trash: Trash) {
    this.#folder = folder
    this.#trash = trash
  }

  async open(): Promise<void> {
    await mkdir(this.#folder, { recursive: true, mode: 0o700 })
  }

  pathOf(diffId: Digest): string {
    return join(this.#folder, digestHex(diffId))
  }

  async has(diffId: Digest): Promise<boolean> {
    this.#asked.add(diffId)
    return !this.#leaving.has(diffId) && this.#isThere(diffId)
  }

  async #isThere(diffId: Digest): Promise<boolean> {
    return (await stat(this.pathOf(diffId)).catch(() => undefined)) !== undefined
  }

  async list(): Promise<Digest[]> {
    return (await readdir(this.#folder)).filter(name => LAYER.test(name)).map(digestFromHex)
  }

  /** Unpacks beside and renames at the end. `verify` may still reject what was unpacked. */
  async add(diffId: Digest, tar: Readable, verify: () => Promise<void>): Promise<void> {
    const temporary = join(this.#folder, `.new-${digestHex(diffId)}-${this.#count++}`)
    await using undo = new AsyncDisposableStack()
    undo.defer(() => this.#trash.discard(temporary))
    await mkdir(temporary, { mode: 0o755 }).catch(cause => {
      throw asKernelError(cause, `make ${temporary}`)
    })
    await unpackLayer(tar, temporary)
    await verify()
    await this.adopt(diffId, temporary)
  }

  /** Takes a folder of the same filesystem as the layer. One that is there already is kept; then the folder stays. */
  async adopt(diffId: Digest, folder: string): Promise<void> {
    try {
      await rename(folder, this.pathOf(diffId))
    } catch (error) {
      if (['ENOTEMPTY', 'EEXIST'].includes(errnoOf(error) ?? '')) return
      throw asKernelError(error, `take ${folder} as a layer`)
    }
    this.#markSoon(digestHex(diffId))
  }

  /** Removes layers older than that which are not kept and which nobody asked for. */
  async sweepUnused(kept: ReadonlySet<Digest>, olderThan: number): Promise<Digest[]> {
    const removed: Digest[] = []
    for (const diffId of (await this.list()).filter(layer => !kept.has(layer))) {
      // Its own times are the tar's; this one changed last when it came here.
      const { ctimeMs } = await stat(this.pathOf(diffId))
      if (ctimeMs >= olderThan || this.#asked.has(diffId)) continue
      await this.#remove(diffId)
      removed.push(diffId)
    }
    return removed
  }

  async #remove(diffId: Digest): Promise<void> {
    this.#leaving.add(diffId)
    try {
      await rm(this.#markOf(digestHex(diffId)), { force: true })
      await this.#trash.removeSoon(this.pathOf(diffId))
    } finally {
      this.#leaving.delete(diffId)
    }
  }

  /** Resolves when every layer added until now is marked. */
  async settled(): Promise<void> {
    while (this.#marking) await this.#marking
  }

  async sweep(): Promise<void> {
    const names = await readdir(this.#folder)
    const bootPath = join(this.#folder, 'boot.json')
    const bootId = await readBootId()
    const isSameBoot = (await readDurableJson(bootPath, bootSchema).catch(() => undefined))?.bootId === bootId
    for (const name of names) {
      if (NEW.test(name)) await this.#trash.removeSoon(join(this.#folder, name))
      if (LAYER.test(name) && !names.includes(`${name}.whole`)) await this.#sweepUnmarked(name, isSameBoot)
      if (MARK.test(name) && !names.includes(name.slice(0, 64))) await rm(join(this.#folder, name), { force: true })
    }
    if (!isSameBoot) await writeDurableJson(bootPath, { bootId })
  }

  async #sweepUnmarked(name: string, isSameBoot: boolean): Promise<void> {
    if (isSameBoot) this.#markSoon(name)
    else await this.#trash.removeSoon(join(this.#folder, name))
  }

  #markOf(hex: string): string {
    return join(this.#folder, `${hex}.whole`)
  }

  #markSoon(hex: string): void {
    this.#unmarked.add(hex)
    // A failure costs no more than fetching the layers again after a power cut.
    this.#marking ??= this.#markAll()
      .catch(() => this.#unmarked.clear())
      .finally(() => {
        this.#marking = undefined
      })
  }

  async #markAll(): Promise<void> {
    while (this.#unmarked.size > 0) {
      const batch = [...this.#unmarked]
      this.#unmarked.clear()
      await this.#sync()
      for (const hex of batch) {
        if (await this.#isThere(digestFromHex(hex))) await writeFile(this.#markOf(hex), '')
      }
      await syncFolder(this.#folder)
    }
  }

  async #sync(): Promise<void> {
    const folder = await open(this.#folder, 'r')
    try {
      await syncfs(folder.fd)
    } finally {
      await folder.close()
    }
  }
}
