import { mkdirSync, writeFileSync } from 'node:fs'
import { mkdir, open, readdir, readFile, rename, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { z } from 'zod'
import { type Digest, digestSchema } from '#shared/digest.ts'
import { SlipwayError } from '#shared/errors.ts'
import { syncFolder } from '#worker/host/durable-file.ts'
import { asKernelError } from '#worker/host/kernel-error.ts'
import { readMounts } from '#worker/host/mount-table.ts'
import { turns } from '#worker/host/turns.ts'
import type { SnapshotInfo } from './snapshotter.ts'
import type { Trash } from './trash.ts'

const ID = /^[a-z0-9][a-z0-9_-]{0,127}$/
const LAYERS = 'layers.json'
/** A start must not wait for the disk; the lists of all starts within this time are written through together. */
const SYNC_AFTER_MS = 1000
const layersSchema = z.object({ layers: z.array(digestSchema) })

/**
 * The folders of a driver's snapshots: `<id>/layers.json` says what it lies over, `<id>/rootfs` is where it is mounted,
 * and what else is in it is the driver's. A folder appears by a rename and goes by one, so that a crash leaves only what
 * `sweep` finds.
 */
export class SnapshotFolders {
  readonly #folder: string
  readonly #trash: Trash
  /** Calls for one id go one behind the other. */
  readonly inTurn = turns()
  readonly #unsynced = new Set<string>()
  #syncing: Promise<void> | undefined
  #count = 0

  constructor(folder: string, trash: Trash) {
    this.#folder = folder
    this.#trash = trash
  }

  async open(): Promise<void> {
    // Not for others: files of images may be set-user-ID.
    await mkdir(this.#folder, { recursive: true, mode: 0o700 })
  }

  pathOf(id: string): string {
    if (!ID.test(id)) throw new SlipwayError('internal', `${JSON.stringify(id)} cannot name a snapshot.`)
    return join(this.#folder, id)
  }

  rootfsOf(id: string): string {
    return join(this.pathOf(id), 'rootfs')
  }

  /** Makes the folder of a snapshot, whole or not at all; `fill` gets it under a name that nobody else knows. */
  async make(id: string, diffIds: readonly Digest[], fill: (folder: string) => Promise<void>): Promise<void> {
    const temporary = join(this.#folder, `.new-${id}-${this.#count++}`)
    await using undo = new AsyncDisposableStack()
    undo.defer(() => this.#trash.discard(temporary))
    try {
      // Few and small: one by one they take less time than one turn of the event loop each.
      for (const path of ['', 'rootfs']) mkdirSync(join(temporary, path), { mode: 0o700 })
      await fill(temporary)
      writeLayers(temporary, diffIds)
      await rename(temporary, this.pathOf(id))
    } catch (error) {
      throw asKernelError(error, `make ${temporary}`)
    }
    undo.move()
    this.#syncSoon(id)
  }

  #syncSoon(id: string): void {
    this.#unsynced.add(id)
    this.#syncing ??= this.#syncLists()
      .catch(() => {}) // What is torn by a power cut then is mended as before.
      .finally(() => {
        this.#syncing = undefined
      })
  }

  async #syncLists(): Promise<void> {
    while (this.#unsynced.size > 0) {
      await setTimeout(SYNC_AFTER_MS, undefined, { ref: false })
      const batch = [...this.#unsynced]
      this.#unsynced.clear()
      const synced = await Promise.all(batch.map(id => syncFile(join(this.pathOf(id), LAYERS))))
      if (synced.includes(true)) await syncFolder(this.#folder)
    }
  }

  /**
   * A snapshot keeps its layers for life: another list for the same id is a fault of the caller. A list that a power cut
   * tore is written again, since without it no layer of this host is safe to remove.
   */
  async keepLayers(id: string, diffIds: readonly Digest[]): Promise<void> {
    const layers = await this.layersOf(id)
    if (!layers) {
      writeLayers(this.pathOf(id), diffIds)
      return this.#syncSoon(id)
    }
    if (layers.join() === diffIds.join()) return
    throw new SlipwayError('internal', `Snapshot ${id} lies over other layers: remove it before it is made anew.`)
  }

  /**
   * What a snapshot lies over, bottom first. Written through to the disk a second later: a power cut ahead of that may tear
   * it (undefined) until the snapshot is prepared again, whose caller knows.
   */
  async layersOf(id: string): Promise<Digest[] | undefined> {
    try {
      return layersSchema.parse(JSON.parse(await readFile(join(this.pathOf(id), LAYERS), 'utf8'))).layers
    } catch {
      return undefined
    }
  }

  /**
   * The layers that snapshots lie over. Undefined: one cannot be read, and is mounted, so that nothing is safe to remove.
   * One that is not mounted was torn by a power cut: what it needs is fetched before it is prepared again.
   */
  async layersOfAll(): Promise<Digest[][] | undefined> {
    const ids = await this.ids()
    const lists = await Promise.all(ids.map(id => this.layersOf(id)))
    const torn = new Set(ids.filter((_, at) => lists[at] === undefined))
    const inUse = torn.size === 0 ? [] : (await this.list()).filter(({ id, isMounted }) => torn.has(id) && isMounted)
    return inUse.length === 0 ? lists.filter(list => list !== undefined) : undefined
  }

  async ids(): Promise<string[]> {
    return (await readdir(this.#folder)).filter(name => ID.test(name))
  }

  /** A mount that no longer answers (its daemon died) counts as none. */
  async list(): Promise<SnapshotInfo[]> {
    const [ids, mounts] = await Promise.all([this.ids(), readMounts()])
    const targets = new Set(mounts.map(({ target }) => target))
    const answers = (path: string) =>
      stat(path).then(
        () => true,
        () => false,
      )
    return Promise.all(
      ids.map(async id => {
        const rootfs = this.rootfsOf(id)
        return { id, rootfs, isMounted: targets.has(rootfs) && (await answers(rootfs)) }
      }),
    )
  }

  async sweep(): Promise<void> {
    const halfMade = (await readdir(this.#folder)).filter(name => name.startsWith('.new-'))
    for (const name of halfMade) await this.#trash.removeSoon(join(this.#folder, name))
  }
}

/** False: it is gone. */
async function syncFile(path: string): Promise<boolean> {
  const file = await open(path, 'r').catch(() => undefined)
  if (!file) return false
  try {
    await file.sync()
    return true
  } finally {
    await file.close()
  }
}

function writeLayers(folder: string, diffIds: readonly Digest[]): void {
  try {
    writeFileSync(join(folder, LAYERS), JSON.stringify({ layers: diffIds }))
  } catch (error) {
    throw asKernelError(error, `write in ${folder}`)
  }
}
