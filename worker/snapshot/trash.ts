import { mkdir, readdir, rename } from 'node:fs/promises'
import { basename, join } from 'node:path'
import PQueue from 'p-queue'
import { asKernelError, errnoOf } from '#worker/host/kernel-error.ts'
import { unmountBelow } from '#worker/host/mount.ts'
import { removeTree } from '#worker/host/remove-tree.ts'

const REMOVALS_AT_ONCE = 2

/**
 * Where folders go that are to be removed: one rename takes a folder away whole, and what a crash leaves here is
 * removed at the next start. Lies on the same filesystem as what it takes.
 */
export class Trash {
  readonly #folder: string
  readonly #removals = new PQueue({ concurrency: REMOVALS_AT_ONCE })
  #count = 0

  constructor(folder: string) {
    this.#folder = folder
  }

  async open(): Promise<void> {
    await mkdir(this.#folder, { recursive: true, mode: 0o700 })
  }

  /** Takes a folder out of its place. Nothing there is no error. The returned function removes it for good. */
  async take(path: string): Promise<() => Promise<void>> {
    for (;;) {
      const place = join(this.#folder, `${this.#count++}-${basename(path)}`)
      try {
        await rename(path, place)
        return () => this.#removals.add(() => removeTree(place))
      } catch (error) {
        const errno = errnoOf(error)
        if (errno === 'ENOENT') return async () => {}
        // A name of an earlier process that was not swept yet.
        if (errno !== 'ENOTEMPTY' && errno !== 'EEXIST') throw asKernelError(error, `move ${path} away`)
      }
    }
  }

  /** Removes a folder that has nothing mounted in it. */
  async remove(path: string): Promise<void> {
    const finish = await this.take(path)
    await finish()
  }

  /** Removes what a failed work left, as far as that goes: the failure matters more, and a sweep finds the rest. */
  async discard(path: string): Promise<void> {
    await this.remove(path).catch(() => {})
  }

  /** Removes what earlier processes left here. */
  async sweep(): Promise<void> {
    await unmountBelow(this.#folder)
    const names = await readdir(this.#folder)
    await this.#removals.addAll(names.map(name => () => removeTree(join(this.#folder, name))))
  }
}
