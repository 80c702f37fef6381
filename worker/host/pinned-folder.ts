import { closeSync, constants, fstatSync, openSync, statSync } from 'node:fs'
import { errnoOf } from './kernel-error.ts'
import { O_PATH } from './syscalls.ts'

/** A folder that is known again. Keeps it from nothing: it may be renamed, removed and made anew. */
export interface PinnedFolder extends Disposable {
  /** Whether the very folder is still in its place. */
  isThere(): boolean
}

/** Throws the kernel's error where there is none. */
export function pinFolder(path: string): PinnedFolder {
  // Open, so that the kernel gives its number to no other folder.
  const fd = openSync(path, O_PATH | constants.O_DIRECTORY)
  const { dev, ino } = fstatSync(fd, { bigint: true })
  return {
    isThere: () => {
      try {
        const now = statSync(path, { bigint: true })
        return now.dev === dev && now.ino === ino
      } catch (error) {
        if (errnoOf(error) === 'ENOENT') return false
        throw error
      }
    },
    [Symbol.dispose]: () => closeSync(fd),
  }
}
