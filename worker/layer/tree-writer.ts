import {
  chmodSync,
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  ftruncateSync,
  lchownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readlinkSync,
  type Stats,
  symlinkSync,
  unlinkSync,
  writeSync,
} from 'node:fs'
import type { SlipwayError } from '#shared/errors.ts'
import { asKernelError, errnoOf } from '#worker/host/kernel-error.ts'
import {
  createFile,
  lsetxattr,
  mknod,
  O_PATH,
  openat2,
  RESOLVE,
  S_IFBLK,
  S_IFCHR,
  S_IFIFO,
  setFileTimes,
  setTimes,
} from '#worker/host/syscalls.ts'
import { FAULT, kernelFault, linksToMissing } from './entry-faults.ts'
import { isKeptXattr, setKeptXattr } from './kept-xattrs.ts'
import type { LayerTree } from './layer-writer.ts'
import { MadeExact } from './made-exact.ts'
import { removeAll } from './remove-all.ts'
import { checkLinkTarget, invalidTar, type TarEntry, type TarErrors, type Timestamp } from './tar-format.ts'

export interface TreePolicy {
  /** Whether a name may lead through a link of the tree (followed as if the tree were `/`); else it is refused. */
  followsLinks: boolean
  /** Whether owners and extended attributes are kept; else everything belongs to this process. */
  keepsOwners: boolean
  /** How many folders may be made that no entry names. */
  maxImplied: number
  /** `invalid`: this cannot be made. `unsafe`: a name that leads where it must not. */
  errors: TreeErrors
}

export interface TreeErrors extends TarErrors {
  unsafe: TarErrors['invalid']
}

/** The mark of a folder that hides what lower layers have in it (kernel documentation, overlayfs, "whiteouts and opaque directories"). */
export const OPAQUE = 'trusted.overlay.opaque'
const YES = Buffer.from('y')
/** A folder that no entry describes: root's and of 1970, as in an index, so that the same tar gives the same files. */
const IMPLIED = { uid: 0, gid: 0, mtime: { seconds: 0, nanoseconds: 0 } }
/** Through which one name may lead, as in Linux (linux/namei.h: MAXSYMLINKS). */
export const MAX_LINKS = 40

/**
 * Makes entries of an untrusted tar below a folder, synchronously; a name cannot lead out of it whatever links are
 * there, since the kernel resolves it (openat2). Paths are lists of names in Latin-1, no `..`, the root is empty.
 */
export class TreeWriter implements LayerTree {
  readonly #root: number
  readonly #policy: TreePolicy
  readonly #resolve: number
  /** The folder last written to: tars have the files of a folder one behind the other. */
  #parent: { path: string; fd: number; exact: MadeExact } | undefined
  #file: { fd: number; parent: number; name: string; entry: TarEntry; end: number } | undefined
  #implied = 0
  /** What errors name. */
  #entryPath = ''
  /** Set at the end: writing into a folder changes its time. */
  readonly #folderTimes = new Map<string, Timestamp>()

  constructor(root: string, policy: TreePolicy) {
    this.#root = openSync(root, O_PATH | constants.O_DIRECTORY)
    this.#policy = policy
    this.#resolve = policy.followsLinks ? RESOLVE.IN_ROOT : RESOLVE.BENEATH | RESOLVE.NO_SYMLINKS
    if (policy.keepsOwners) this.#setTimeAtEnd('', IMPLIED.mtime)
  }

  /** A folder that is there keeps what is in it. */
  folder(names: readonly string[], entry: TarEntry): void {
    this.#guard(entry.path, () => {
      const at = this.#at(names)
      if (names.length > 0) this.#makeFolder(at, this.#clear(at, true))
      this.#setOwner(at, entry)
      chmodSync(at, entry.mode)
      this.#setXattrs(at, entry)
      this.#parent?.exact.forget() // It is this folder where that is the root.
      this.#setTimeAtEnd(names.join('/'), entry.mtime)
    })
  }

  /** Begins a file, whose bytes follow through `write` and `endFile`. */
  file(names: readonly string[], entry: TarEntry): void {
    this.#guard(entry.path, () => {
      const parent = this.#openParent(names.slice(0, -1).join('/'))
      const name = names.at(-1) ?? ''
      this.#file = { fd: this.#create(parent, name, entry.mode & 0o777), parent, name, entry, end: 0 }
    })
  }

  /** Most names are new: looking first would cost every file a call. */
  #create(parent: number, name: string, mode: number): number {
    try {
      return createFile(parent, name, mode)
    } catch (error) {
      if (errnoOf(error) !== 'EEXIST') throw error
      this.#clear(below(parent, name), false)
      return createFile(parent, name, mode)
    }
  }

  write(bytes: Buffer, offset: number): void {
    const file = this.#file
    if (!file) return
    this.#guard(file.entry.path, () => {
      for (let done = 0; done < bytes.length; ) {
        done += writeSync(file.fd, bytes, done, bytes.length - done, offset + done)
      }
      file.end = offset + bytes.length
    })
  }

  endFile(): void {
    const file = this.#file
    if (!file) return
    this.#guard(file.entry.path, () => {
      if (file.end < file.entry.size) ftruncateSync(file.fd, file.entry.size) // It ends in a hole.
      if (!this.#parent?.exact.test(file.fd, file.entry)) this.#setOwnerAndMode(file.fd, file.entry)
      // After the owner: its change takes file capabilities away.
      if (file.entry.xattrs.size > 0) this.#setXattrs(below(file.parent, file.name), file.entry)
      setFileTimes(file.fd, file.entry.mtime.seconds, file.entry.mtime.nanoseconds)
      this.#file = undefined
      closeSync(file.fd)
    })
  }

  #setOwnerAndMode(fd: number, { uid, gid, mode }: TarEntry): void {
    if (this.#policy.keepsOwners) fchownSync(fd, uid, gid)
    fchmodSync(fd, mode) // After the owner: its change takes set-user-ID away.
  }

  symlink(names: readonly string[], entry: TarEntry): void {
    checkLinkTarget(entry, this.#policy.errors)
    this.#guard(entry.path, () => {
      const at = this.#at(names)
      this.#clear(at, false)
      symlinkSync(Buffer.from(entry.linkTarget, 'latin1'), at)
      this.#setOwner(at, entry)
      this.#setXattrs(at, entry)
      setTimes(at, entry.mtime.seconds, entry.mtime.nanoseconds)
    })
  }

  /** Another name for a file of this tree; a link among the last names is linked itself. */
  hardlink(names: readonly string[], target: readonly string[], entry: TarEntry): void {
    this.#guard(entry.path, () => {
      if (names.join('/') === target.join('/')) throw this.#invalid(FAULT.linksToItself)
      const folder = this.#openIfFolder(target.slice(0, -1).join('/'))
      if (folder === undefined) throw this.#invalid(linksToMissing(entry.linkTarget))
      try {
        const from = below(folder, target.at(-1))
        const there = statOf(from)
        if (!there || isWhiteout(there)) throw this.#invalid(linksToMissing(entry.linkTarget))
        if (there.isDirectory()) throw this.#invalid(FAULT.linksToFolder)
        const at = this.#at(names)
        if (this.#clear(at, false) && !statOf(from)) throw this.#invalid(FAULT.replacesTarget)
        linkSync(from, at)
      } finally {
        closeSync(folder)
      }
    })
  }

  /** A device or FIFO. */
  node(names: readonly string[], entry: TarEntry): void {
    this.#guard(entry.path, () => {
      const at = this.#at(names)
      this.#clear(at, false)
      const type = entry.type === 'fifo' ? S_IFIFO : entry.type === 'block' ? S_IFBLK : S_IFCHR
      mknod(at, type | 0o600, entry.major, entry.minor)
      this.#setOwner(at, entry)
      chmodSync(at, entry.mode)
      this.#setXattrs(at, entry)
      setTimes(at, entry.mtime.seconds, entry.mtime.nanoseconds)
    })
  }

  /** Takes a name away with all below it; one that is not there is no error. */
  remove(names: readonly string[], path: string): void {
    this.#guard(path, () => {
      const parent = this.#openIfFolder(names.slice(0, -1).join('/'))
      if (parent === undefined) return
      try {
        this.#clear(below(parent, names.at(-1)), false)
      } finally {
        closeSync(parent)
      }
    })
  }

  /** Hides what lower layers have of this name. What this layer itself has of it stays. */
  whiteout(names: readonly string[], path: string): void {
    this.#guard(path, () => {
      const at = this.#at(names)
      const there = statOf(at)
      if (!there) mknod(at, S_IFCHR, 0, 0)
      else if (there.isDirectory()) lsetxattr(at, OPAQUE, YES)
    })
  }

  /** Hides what lower layers have in this folder. */
  opaque(names: readonly string[], path: string): void {
    this.#guard(path, () => lsetxattr(below(this.#openParent(names.join('/')), undefined), OPAQUE, YES))
  }

  /** Opens what a path leads to without ever leaving the tree; the caller closes it. Throws with errno `EXDEV` if it would. */
  openBeneath(path: string): number {
    return openat2(this.#root, Buffer.from(path, 'latin1'), O_PATH, RESOLVE.BENEATH | RESOLVE.NO_MAGICLINKS)
  }

  /** After the last entry. */
  finish(): void {
    for (const [path, time] of this.#folderTimes) {
      this.#guard(path, () => {
        const fd = this.#openIfFolder(path)
        if (fd === undefined) return // Something else took its place later in the tar.
        setTimes(below(fd, undefined), time.seconds, time.nanoseconds)
        closeSync(fd)
      })
    }
  }

  [Symbol.dispose](): void {
    this.#forgetParent()
    if (this.#file) closeSync(this.#file.fd)
    this.#file = undefined
    closeSync(this.#root)
  }

  /** Where a name is made: its parent, made if it is missing, by its open file, and the name. */
  #at(names: readonly string[]): Buffer {
    return below(this.#openParent(names.slice(0, -1).join('/')), names.at(-1))
  }

  #openParent(path: string): number {
    if (this.#parent?.path === path) return this.#parent.fd
    this.#forgetParent()
    this.#parent = { path, fd: this.#ensureFolder(path, 0), exact: new MadeExact(this.#policy.keepsOwners) }
    return this.#parent.fd
  }

  #forgetParent(): void {
    if (this.#parent) closeSync(this.#parent.fd)
    this.#parent = undefined
  }

  #open(path: string): number {
    const flags = O_PATH | constants.O_DIRECTORY
    return openat2(this.#root, Buffer.from(path || '.', 'latin1'), flags, this.#resolve | RESOLVE.NO_MAGICLINKS)
  }

  #openIfFolder(path: string): number | undefined {
    try {
      return this.#open(path)
    } catch (error) {
      if (['ENOENT', 'ENOTDIR', 'ELOOP'].includes(errnoOf(error) ?? '')) return undefined
      throw error
    }
  }

  /** Opens a folder; parts of the path that are missing are made, also where a link leads to. */
  #ensureFolder(path: string, links: number): number {
    try {
      return this.#open(path)
    } catch (error) {
      if (!['ENOENT', 'ENOTDIR'].includes(errnoOf(error) ?? '') || path === '') throw error
    }
    const cut = path.lastIndexOf('/')
    const name = path.slice(cut + 1)
    const parentPath = path.slice(0, Math.max(cut, 0))
    const parent = this.#ensureFolder(parentPath, links)
    try {
      const isNamed = name !== '' && name !== '.' && name !== '..'
      const isMade = isNamed && this.#ensureName(below(parent, name), path, links)
      // From its parent: a deep path, from the root each time, would take the square of its depth.
      if (isMade) return openat2(parent, Buffer.from(name, 'latin1'), O_PATH | constants.O_DIRECTORY, RESOLVE.BENEATH)
    } finally {
      closeSync(parent)
    }
    return this.#open(path)
  }

  /** True: it was missing, and is a new folder now. */
  #ensureName(at: Buffer, path: string, links: number): boolean {
    const there = statOf(at)
    if (!there?.isSymbolicLink()) {
      if (there?.isDirectory()) return false
      if (there && !isWhiteout(there)) throw this.#invalid(FAULT.belowFile)
      if (there) unlinkSync(at)
      if (++this.#implied > this.#policy.maxImplied)
        throw this.#invalid('needs more folders than a tar may have entries: split it into several layers')
      this.#makeFolder(at, there)
      this.#setOwner(at, IMPLIED) // A set-group-ID folder gave it its group.
      chmodSync(at, 0o755)
      if (this.#policy.keepsOwners) this.#setTimeAtEnd(path, IMPLIED.mtime)
      return true
    }
    if (links >= MAX_LINKS) throw this.#invalid(FAULT.tooManyLinks)
    const target = readlinkSync(at, 'latin1')
    const parentPath = path.slice(0, Math.max(path.lastIndexOf('/'), 0))
    closeSync(this.#ensureFolder(target.startsWith('/') ? target : `${parentPath}/${target}`, links + 1))
    return false
  }

  /** Makes way for an entry. Returns what was there; a folder stays when `keepsFolder`. */
  #clear(at: Buffer, keepsFolder: boolean): Stats | undefined {
    const there = statOf(at)
    if (!there || (keepsFolder && there.isDirectory())) return there
    removeAll(at, there)
    // The open parent may lie below what is gone, or behind a link that is gone. This name's own parent does not.
    if (this.#parent && (there.isDirectory() || there.isSymbolicLink())) this.#parent.path = '\0'
    return there
  }

  /** A folder in place of a whiteout of the same layer must go on hiding what lower layers have. */
  #makeFolder(at: Buffer, before: Stats | undefined): void {
    if (before?.isDirectory()) return
    mkdirSync(at, 0o700)
    if (before && isWhiteout(before)) lsetxattr(at, OPAQUE, YES)
  }

  /** The last one said of a folder counts, whatever way its path takes. */
  #setTimeAtEnd(path: string, time: Timestamp): void {
    this.#folderTimes.delete(path)
    this.#folderTimes.set(path, time)
  }

  #setOwner(at: Buffer, entry: Pick<TarEntry, 'uid' | 'gid'>): void {
    if (this.#policy.keepsOwners) lchownSync(at, entry.uid, entry.gid)
  }

  #setXattrs(at: Buffer, entry: TarEntry): void {
    if (!this.#policy.keepsOwners) return
    for (const [name, value] of entry.xattrs) {
      const isHeld = !isKeptXattr(name) || setKeptXattr(at, name, value)
      if (!isHeld)
        throw this.#invalid(
          `has an attribute ${name} that the host's file system cannot hold: make the tar without it, or keep the data folder on another file system`,
        )
    }
  }

  #invalid(why: string): SlipwayError {
    return invalidTar(this.#policy.errors, why, this.#entryPath)
  }

  /** Does one entry's work; what the kernel refuses becomes an error that names it. */
  #guard(path: string, make: () => void): void {
    this.#entryPath = path
    try {
      make()
    } catch (error) {
      throw this.#asEntryError(error, path)
    }
  }

  #asEntryError(error: unknown, path: string): unknown {
    const { errors } = this.#policy
    const errno = errnoOf(error) ?? ''
    if (errno === 'ELOOP') {
      return invalidTar({ invalid: errors.unsafe }, 'leads through a link: give it the path the link leads to', path)
    }
    const fault = kernelFault(errno)
    return fault ? invalidTar(errors, fault, path) : asKernelError(error, `make ${path}`)
  }
}

export function isWhiteout(stat: Stats): boolean {
  return stat.isCharacterDevice() && stat.rdev === 0
}

function below(fd: number, name: string | undefined): Buffer {
  return Buffer.from(`/proc/self/fd/${fd}/${name ?? '.'}`, 'latin1')
}

function statOf(at: Buffer): Stats | undefined {
  return lstatSync(at, { throwIfNoEntry: false })
}
