import { mkdir, readdir, rmdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { asKernelError } from '#worker/host/kernel-error.ts'
import { unmount } from '#worker/host/mount.ts'
import { type ErofsBacking, type ErofsMount, mountErofs } from '#worker/host/mount-erofs.ts'
import { turns } from '#worker/host/turns.ts'

/**
 * Where the images of layers are mounted, each once, in a folder by its name: all snapshots over a layer share its pages
 * in memory. A mount that a snapshot lies over may go at any time: overlay has its own hold of it.
 */
export class LayerMounts {
  readonly #folder: string
  readonly #backing: ErofsBacking
  readonly #inTurn = turns()

  constructor(folder: string, backing: ErofsBacking) {
    this.#folder = folder
    this.#backing = backing
  }

  async open(): Promise<void> {
    // Not for others: files of images may be set-user-ID.
    await mkdir(this.#folder, { recursive: true, mode: 0o700 })
  }

  /** The folder in which an image is mounted from now on. */
  ensure(name: string, image: Omit<ErofsMount, 'target'>): Promise<string> {
    const target = join(this.#folder, name)
    return this.#inTurn(name, async () => {
      if (await this.#isMounted(target)) return target
      await mkdir(target, { recursive: true, mode: 0o700 }).catch(cause => {
        throw asKernelError(cause, `make ${target}`)
      })
      mountErofs({ ...image, target }, this.#backing)
      return target
    })
  }

  /** Unmounts what is not among these names any more; asked anew for each, since it may have come meanwhile. */
  async keepOnly(isKept: (name: string) => Promise<boolean>): Promise<void> {
    for (const name of await readdir(this.#folder)) {
      await this.#inTurn(name, async () => {
        if (await isKept(name)) return
        await unmount(join(this.#folder, name))
        await rmdir(join(this.#folder, name))
      })
    }
  }

  /** A mount's root lies on another device than the folder that it covers. */
  async #isMounted(target: string): Promise<boolean> {
    const stats = await Promise.all([stat(this.#folder), stat(target)]).catch(() => undefined)
    return stats !== undefined && stats[0].dev !== stats[1].dev
  }
}
