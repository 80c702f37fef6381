import { closeSync, constants, openSync, readdirSync } from 'node:fs'
import { errnoOf } from '#worker/host/kernel-error.ts'
import { O_PATH, openat2, RESOLVE } from '#worker/host/syscalls.ts'

/**
 * Reaches what is in a folder in which others work, by its path inside: Latin-1, one character a byte, `''` for the folder
 * itself. A folder on the way that became a link is not followed, but fails with `ELOOP`: nothing outside is ever reached.
 * Costs two calls more a folder than plain paths.
 */
export interface LiveTree extends Disposable {
  /** A path for calls that follow no link at its end; good until the next call. */
  at(path: string): Buffer
  /** The names in a folder, in order of their bytes. */
  list(path: string): string[]
}

export function liveTree(root: string): LiveTree {
  const rootFd = openSync(root, O_PATH | constants.O_DIRECTORY)
  let parent = { path: '', fd: rootFd }
  const open = (path: string) =>
    openat2(rootFd, Buffer.from(path || '.', 'latin1'), FOLDER, RESOLVE.BENEATH | RESOLVE.NO_SYMLINKS)
  const leave = () => {
    if (parent.fd !== rootFd) closeSync(parent.fd)
    parent = { path: '', fd: rootFd }
  }
  const enter = (path: string) => {
    if (path === parent.path) return parent.fd
    leave()
    if (path !== '') parent = { path, fd: open(path) }
    return parent.fd
  }
  return {
    at: path => {
      const cut = path.lastIndexOf('/')
      const fd = enter(path.slice(0, Math.max(cut, 0)))
      return Buffer.from(`/proc/self/fd/${fd}/${path.slice(cut + 1) || '.'}`, 'latin1')
    },
    list: path => {
      const fd = open(path)
      try {
        return readdirSync(`/proc/self/fd/${fd}`, 'latin1').sort()
      } finally {
        closeSync(fd)
      }
    },
    [Symbol.dispose]: () => {
      leave()
      closeSync(rootFd)
    },
  }
}

const FOLDER = O_PATH | constants.O_DIRECTORY | constants.O_NOFOLLOW

/** What `look` finds; undefined when it is not there any more, or is no folder where one was. */
export function ifThere<T>(look: () => T): T | undefined {
  try {
    return look()
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'ELOOP'].includes(errnoOf(error) ?? '')) return undefined
    throw error
  }
}
