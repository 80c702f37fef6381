import { fstatSync } from 'node:fs'
import type { TarEntry } from './tar-format.ts'

/**
 * Whether new files of one folder come out with the owner and mode that they should have. What a folder's files inherit
 * (group, default access list) is the same for each, so the first of a kind tells: setting both anew would cost more than
 * all else but the making.
 */
export class MadeExact {
  readonly #kinds = new Set<string>()
  readonly #keepsOwners: boolean

  constructor(keepsOwners: boolean) {
    this.#keepsOwners = keepsOwners
  }

  /** `fd`: made with `mode & 0o777`. */
  test(fd: number, { uid, gid, mode }: TarEntry): boolean {
    if ((mode & 0o7000) !== 0) return false
    const kind = `${mode} ${uid} ${gid}`
    if (this.#kinds.has(kind)) return true
    const stat = fstatSync(fd)
    const isOwned = !this.#keepsOwners || (stat.uid === uid && stat.gid === gid)
    if (!isOwned || (stat.mode & 0o7777) !== mode) return false
    this.#kinds.add(kind)
    return true
  }

  /** The folder changed. */
  forget(): void {
    this.#kinds.clear()
  }
}
