import { closeSync, openSync, readSync } from 'node:fs'
import { realpath } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { SlipwayError } from '#shared/errors.ts'
import { errnoOf } from './kernel-error.ts'
import { readMounts } from './mount-table.ts'
import {
  fsconfig,
  fsmount,
  fsopen,
  MOUNT_ATTR,
  MS,
  MS_PROPAGATION,
  mapIds,
  mount,
  moveMount,
  O_PATH,
  openTree,
  UMOUNT,
  umount,
} from './syscalls.ts'

/** Shown as the source of every mount of ours: the mark by which they are known in the mount table. */
export const MOUNT_SOURCE = 'slipway'
/** What overlay takes at most (fs/overlayfs, OVL_MAX_STACK). */
export const MAX_LOWER_LAYERS = 500

export interface OverlayMount {
  /** Read-only folders, the topmost first: 1 to 500. */
  lower: readonly string[]
  upper: string
  work: string
  target: string
  /** A user namespace whose ids all of its files have instead of their own. `upper` and `work` lie in one folder then. */
  usernsFd?: number
  /**
   * Nothing written to it waits for the disk, whoever syncs; a crash of the machine may lose it, and the kernel mounts the upper folder
   * no second time (overlayfs.rst, "Volatile mount"). Kernels before Linux 6.8 go on syncing.
   */
  isVolatile?: boolean
}

/**
 * Mounts an overlay without device files: what an image brings as a device node stays inert. Errors:
 * `host.kernel-refused`, `host.disk-full`, `request.too-large` (more than 500 layers).
 */
export function mountOverlay(overlay: OverlayMount): void {
  if (overlay.lower.length > MAX_LOWER_LAYERS) {
    const message = `An image of ${overlay.lower.length} layers cannot be mounted: the kernel takes ${MAX_LOWER_LAYERS}.`
    throw new SlipwayError('request.too-large', message)
  }
  using files = new DisposableStack()
  const { usernsFd } = overlay
  const folders = usernsFd === undefined ? overlay : mappedFolders(overlay, usernsFd, files)
  if (!mountByContext(folders, path => contextValue(path, files))) {
    mountByOptions(folders, path => shortName(path, files))
  }
}

/** The same folders, of mounts of them that lie nowhere and end with `files`: the overlay keeps its own of them (Linux 6.15). */
function mappedFolders(overlay: OverlayMount, usernsFd: number, files: DisposableStack): OverlayMount {
  const mapped = (path: string) => {
    const fd = openTree(path)
    files.defer(() => closeSync(fd))
    mapIds(fd, usernsFd)
    return `/proc/self/fd/${fd}`
  }
  const own = mapped(dirname(overlay.upper)) // One mount for both: they may not lie in two.
  return {
    ...overlay,
    lower: overlay.lower.map(mapped),
    upper: join(own, basename(overlay.upper)),
    work: join(own, basename(overlay.work)),
  }
}

/** A value that fsconfig(2) takes has at most 255 bytes; a longer path goes by the name of an open file. */
const CONTEXT_OPTION_LIMIT = 255

/** A path as fsconfig(2) takes it, good until `files` is disposed of. */
export function contextValue(path: string, files: DisposableStack): string {
  return Buffer.byteLength(path) <= CONTEXT_OPTION_LIMIT ? path : shortName(path, files)
}

function shortName(path: string, files: DisposableStack): string {
  const fd = openSync(path, O_PATH)
  files.defer(() => closeSync(fd))
  return `/proc/self/fd/${fd}`
}

type Naming = (path: string) => string

/**
 * Options that keep the upper folder a plain set of files and whiteouts, whatever the kernel's defaults are: no
 * redirects and no files without data, which a layer could not hold.
 */
const PLAIN = { index: 'off', metacopy: 'off', redirect_dir: 'nofollow' } as const

/** The mount API of Linux 5.2; overlay takes one layer an option since 6.8. False: this kernel does not. */
function mountByContext({ lower, upper, work, target, isVolatile }: OverlayMount, name: Naming): boolean {
  using files = new DisposableStack()
  const own = (fd: number) => {
    files.defer(() => closeSync(fd))
    return fd
  }
  const context = own(fsopen('overlay'))
  try {
    for (const path of lower) fsconfig(context, 'lowerdir+', name(path))
  } catch (error) {
    if (errnoOf(error) === 'EINVAL') return false
    throw error
  }
  fsconfig(context, 'source', MOUNT_SOURCE)
  fsconfig(context, 'upperdir', name(upper))
  fsconfig(context, 'workdir', name(work))
  for (const [key, value] of Object.entries(PLAIN)) fsconfig(context, key, value)
  if (isVolatile) fsconfig(context, 'volatile')
  try {
    moveMount(own(fsmount(context, MOUNT_ATTR.NODEV)), target)
  } catch (error) {
    throw withLog(error, context)
  }
  return true
}

/** mount(2), whose options fit one page: the short names of open files make that some 200 layers. */
function mountByOptions({ lower, upper, work, target }: OverlayMount, name: Naming): void {
  const plain = Object.entries(PLAIN).map(([key, value]) => `${key}=${value}`)
  const options = [
    `lowerdir=${lower.map(name).join(':')}`,
    `upperdir=${name(upper)}`,
    `workdir=${name(work)}`,
    ...plain,
  ].join(',')
  mount(MOUNT_SOURCE, target, 'overlay', MS.NODEV, options)
}

/** The kernel's own words about a filesystem context, which say much more than the errno. */
export function withLog(error: unknown, context: number): unknown {
  if (!(error instanceof SlipwayError)) return error
  const line = Buffer.alloc(4096)
  try {
    const log = line.toString('utf8', 0, readSync(context, line)).trim()
    return new SlipwayError(error.code, `${error.message} It said: ${log}`, { cause: error, facts: error.facts })
  } catch {
    return error // It had nothing to say (ENODATA).
  }
}

export interface BindMount {
  source: string
  target: string
  isReadOnly: boolean
}

/** Shows a file or folder at another place too, without devices; what is mounted below the source stays away. */
export function bindMount({ source, target, isReadOnly }: BindMount): void {
  mount(source, target, '', MS.BIND)
  const flags = MS.REMOUNT | MS.BIND | MS.NODEV | (isReadOnly ? MS.RDONLY : 0)
  mount('', target, '', flags)
}

/** Keeps what is mounted at a folder from showing in other mount namespaces, and theirs from showing here. */
export function makePrivate(target: string): void {
  mount('', target, '', MS_PROPAGATION.PRIVATE)
}

const MOUNTS_ON_TOP = 64

/**
 * Unmounts everything that is mounted at exactly this folder. Nothing there is no error. What is still in use is taken
 * from the tree all the same and ends with its last user.
 */
export async function unmount(target: string): Promise<void> {
  for (let count = 0; count < MOUNTS_ON_TOP; count++) {
    if (!(await unmountOnce(target))) return
  }
  throw new SlipwayError('host.kernel-refused', `More than ${MOUNTS_ON_TOP} mounts lie on ${target}: unmount them.`)
}

async function unmountOnce(target: string): Promise<boolean> {
  try {
    await umount(target, UMOUNT.NOFOLLOW)
    return true
  } catch (error) {
    const errno = errnoOf(error)
    if (errno === 'EINVAL' || errno === 'ENOENT') return false
    if (errno !== 'EBUSY') throw error
    await umount(target, UMOUNT.NOFOLLOW | UMOUNT.DETACH)
    return true
  }
}

/** Unmounts all mounts at or below a folder, the innermost first. For cleaning up a folder of ours. */
export async function unmountBelow(folder: string): Promise<void> {
  const real = await realpath(folder).catch(() => folder) // As the mount table has it.
  const mounts = await readMounts()
  const below = mounts.filter(({ target }) => target === real || target.startsWith(`${real}/`))
  for (const { target } of below.reverse()) await unmount(target)
}
