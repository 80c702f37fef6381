import { closeSync, mkdirSync, openSync, statfsSync, unlinkSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { asKernelError, errnoOf } from './kernel-error.ts'
import { CLONE, MS, MS_PROPAGATION, mount, setns, UMOUNT, umount, unshare } from './syscalls.ts'

/**
 * Network namespaces that a file keeps alive, as `ip netns` makes them. Making one moves this thread there and back.
 * All in between is synchronous, so no other code of this thread runs in the wrong namespace; other threads stay where
 * they are. Never await in here.
 */
const OWN = '/proc/thread-self/ns/net'
const NSFS_MAGIC = 0x6e736673

/** Runs `task` on this thread inside the namespace kept at `path`. */
export function inNetns<T>(path: string, task: () => T): T {
  return andBack(() => {
    const fd = openSync(path, 'r')
    try {
      setns(fd, CLONE.NEWNET)
      return task()
    } finally {
      closeSync(fd)
    }
  })
}

/** Makes a namespace kept by a file at `path`; `prepare` runs in it before anything else can see it. Idempotent. */
export function makeNetns(path: string, prepare: () => void): void {
  if (isNetns(path)) return
  try {
    writeFileSync(path, '', { mode: 0o444, flag: 'a' })
  } catch (error) {
    throw asKernelError(error, `make ${path}`)
  }
  andBack(() => {
    unshare(CLONE.NEWNET)
    prepare()
    mount(OWN, path, 'none', MS.BIND)
  })
}

/** Takes the file away; the kernel ends the namespace once no process is left in it. Idempotent. */
export async function removeNetns(path: string): Promise<void> {
  // More than one may lie on it, when a copy of the folder was mounted meanwhile. Bounded, as every loop.
  for (let layers = 0; layers < 16 && isNetns(path); layers++) await umount(path, UMOUNT.DETACH)
  try {
    unlinkSync(path)
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw asKernelError(error, `remove ${path}`)
  }
}

export function isNetns(path: string): boolean {
  try {
    return statfsSync(path).type === NSFS_MAGIC
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false
    throw asKernelError(error, `look at ${path}`)
  }
}

/**
 * The folder of such files, as `ip netns` prepares it: a mount of its own, shared with every mount namespace, so that
 * removing a file here lets go of the network namespace everywhere. Idempotent.
 */
export function prepareNetnsFolder(folder: string): void {
  mkdirSync(folder, { recursive: true, mode: 0o755 })
  try {
    mount('', folder, 'none', MS_PROPAGATION.SHARED | MS.REC)
  } catch (error) {
    if (errnoOf(error) !== 'EINVAL') throw error
    mount(folder, folder, 'none', MS.BIND | MS.REC)
    mount('', folder, 'none', MS_PROPAGATION.SHARED | MS.REC)
  }
}

function andBack<T>(task: () => T): T {
  const home = openSync(OWN, 'r')
  try {
    return task()
  } finally {
    comeBack(home)
    closeSync(home)
  }
}

/** An agent in a container's network would do everything else wrong: it ends, and containers go on without it. */
function comeBack(home: number): void {
  try {
    setns(home, CLONE.NEWNET)
  } catch (error) {
    console.error(`Could not come back from a network namespace (see ${dirname(OWN)}):`, error)
    process.abort()
  }
}
