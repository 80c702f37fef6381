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
  readonly #onFailure: (error: unknown) => void
  #count = 0

  readonly #removeTree: (path: string) => Promise<void>

  /** `onFailure` hears of removals that nobody waits for; `remove` removes a folder of ours for good. */
  constructor(
    folder: string,
    onFailure: (error: unknown) => void,
    remove: (path: string) => Promise<void> = path => removeTree(path),
  ) {
    this.#removeTree = remove
    this.#folder = folder
    this.#onFailure = onFailure
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
        return () => this.#removals.add(() => this.#removeTree(place))
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

  /** Takes a folder out of its place and removes it some time, while others go on. */
  async removeSoon(path: string): Promise<void> {
    const finish = await this.take(path)
    finish().catch(this.#onFailure)
  }

  /** Removes what earlier processes left here, in the background: it may be a lot, and no start waits for it. */
  async sweep(): Promise<void> {
    await unmountBelow(this.#folder).catch(this.#onFailure)
    for (const name of await readdir(this.#folder)) {
      this.#removals.add(() => this.#removeTree(join(this.#folder, name))).catch(this.#onFailure)
    }
  }

  /** Resolves when all removals have ended; nothing needs to wait for it. */
  settled(): Promise<void> {
    return this.#removals.onIdle()
  }
}
