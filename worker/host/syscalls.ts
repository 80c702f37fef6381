import { constants } from 'node:fs'
import koffi from 'koffi'
import { errnoName, kernelError } from './kernel-error.ts'

/**
 * Kernel calls that Node has not. Each throws a SlipwayError: `host.disk-full` or `host.kernel-refused` with
 * `facts.errno`. Paths are text (UTF-8) or bytes. Calls cost about a microsecond and run on the calling thread;
 * those that may wait for a disk are promises and run beside it.
 */
export type Path = string | Uint8Array

/** Numbers of the calls that C libraries wrap late or never; the same on x86-64, arm64 and riscv64. */
const SYSCALL = {
  ...{ openTree: 428, moveMount: 429, fsopen: 430, fsconfig: 431, fsmount: 432, openat2: 437, mountSetattr: 442 },
} as const

export const AT_FDCWD = -100
export const MS = { RDONLY: 1, NOSUID: 2, NODEV: 4, NOEXEC: 8, REMOUNT: 32, BIND: 4096, REC: 16384 } as const
export const MS_PROPAGATION = { PRIVATE: 1 << 18, SLAVE: 1 << 19, SHARED: 1 << 20 } as const
export const UMOUNT = { FORCE: 1, DETACH: 2, NOFOLLOW: 8 } as const
export const MOUNT_ATTR = { RDONLY: 1, NOSUID: 2, NODEV: 4, NOEXEC: 8 } as const
export const CLONE = { NEWNS: 0x20000, NEWUTS: 0x4000000, NEWIPC: 0x8000000, NEWNET: 0x40000000 } as const
export const RESOLVE = { NO_XDEV: 1, NO_MAGICLINKS: 2, NO_SYMLINKS: 4, BENEATH: 8, IN_ROOT: 16 } as const
export const O_PATH = 0x200000
export const O_CLOEXEC = 0x80000
export const S_IFIFO = 0o010000
export const S_IFCHR = 0o020000
export const S_IFBLK = 0o060000

const CREATE_NEW = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW | O_CLOEXEC
const FSCONFIG = { SET_FLAG: 0, SET_STRING: 1, CMD_CREATE: 6 } as const
const MOVE_MOUNT_F_EMPTY_PATH = 4
const OPEN_TREE_CLONE = 1
const AT_EMPTY_PATH = 0x1000
const MOUNT_ATTR_IDMAP = 0x100000
/** ioctl_ns(2). */
export const NS_GET_USERNS = 0xb701
const AT_SYMLINK_NOFOLLOW = 0x100
const BYTES = 'const uint8_t *'

const libc = koffi.load('libc.so.6')
const call = {
  mount: libc.func('mount', 'int', [BYTES, BYTES, BYTES, 'ulong', BYTES]),
  umount2: libc.func('umount2', 'int', [BYTES, 'int']),
  mknod: libc.func('mknod', 'int', [BYTES, 'uint', 'ulong']),
  lsetxattr: libc.func('lsetxattr', 'int', [BYTES, BYTES, BYTES, 'ulong', 'int']),
  lgetxattr: libc.func('lgetxattr', 'long', [BYTES, BYTES, 'uint8_t *', 'ulong']),
  llistxattr: libc.func('llistxattr', 'long', [BYTES, 'uint8_t *', 'ulong']),
  lremovexattr: libc.func('lremovexattr', 'int', [BYTES, BYTES]),
  utimensat: libc.func('utimensat', 'int', ['int', BYTES, 'const int32_t *', 'int']),
  futimens: libc.func('futimens', 'int', ['int', 'const int32_t *']),
  unshare: libc.func('unshare', 'int', ['int']),
  setns: libc.func('setns', 'int', ['int', 'int']),
  socket: libc.func('socket', 'int', ['int', 'int', 'int']),
  syncfs: libc.func('syncfs', 'int', ['int']),
  ioctl: libc.func('ioctl', 'int', ['int', 'ulong', 'uint8_t *']),
  openat: libc.func('openat', 'int', ['int', BYTES, 'int', 'uint']),
  fsopen: libc.func('syscall', 'long', ['long', BYTES, 'uint']),
  fsconfig: libc.func('syscall', 'long', ['long', 'int', 'uint', BYTES, BYTES, 'int']),
  fsmount: libc.func('syscall', 'long', ['long', 'int', 'uint', 'uint']),
  moveMount: libc.func('syscall', 'long', ['long', 'int', BYTES, 'int', BYTES, 'uint']),
  openTree: libc.func('syscall', 'long', ['long', 'int', BYTES, 'uint']),
  mountSetattr: libc.func('syscall', 'long', ['long', 'int', BYTES, 'uint', BYTES, 'ulong']),
  openat2: libc.func('syscall', 'long', ['long', 'int', BYTES, BYTES, 'ulong']),
} as const

const EMPTY = Buffer.from('\0')

function cString(path: Path): Buffer {
  return terminated(typeof path === 'string' ? Buffer.from(`${path}\0`) : Buffer.concat([path, EMPTY]))
}

function terminated(bytes: Buffer): Buffer {
  if (bytes.indexOf(0) !== bytes.length - 1) throw kernelError('EINVAL', 'take a name with a zero byte')
  return bytes
}

const shown = (path: Path) => (typeof path === 'string' ? path : Buffer.from(path).toString())

/** Passes a call's result on, or throws what errno says. Must be the first thing after the call. */
function checked(result: number, doing: () => string): number {
  if (result >= 0) return result
  throw kernelError(errnoName(koffi.errno()), doing())
}

/** mount(2). `data` is at most a page. */
export function mount(source: string, target: string, type: string, flags: number, data = ''): void {
  const result = call.mount(cString(source), cString(target), cString(type), flags, cString(data))
  checked(result, () => `mount ${type || source} at ${target}`)
}

/**
 * umount2(2), beside the event loop: the kernel writes what is dirty before it lets a filesystem go. The thread that
 * ran the call keeps its errno, so a failure is asked for once more on this one, where it fails at once.
 */
export async function umount(target: string, flags: number): Promise<void> {
  const path = cString(target)
  const { promise, resolve, reject } = Promise.withResolvers<number>()
  call.umount2.async(path, flags, (error: unknown, result: number) => (error ? reject(error) : resolve(result)))
  if ((await promise) >= 0) return
  checked(call.umount2(path, flags), () => `unmount ${target}`)
}

/** Writes everything of the filesystem that the open file lies on to its disk; beside the event loop. */
export async function syncfs(fd: number): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<number>()
  call.syncfs.async(fd, (error: unknown, result: number) => (error ? reject(error) : resolve(result)))
  if ((await promise) >= 0) return
  checked(call.syncfs(fd), () => 'write the filesystem to its disk')
}

/** mknod(2); `mode` has the type (`S_IFCHR`…) and the permissions, which the process's umask narrows. */
export function mknod(path: Path, mode: number, major = 0, minor = 0): void {
  // gnu_dev_makedev's layout (sys/sysmacros.h): 12 low bits of major at 8, the rest at 44; minor 8 bits at 0, 24 at 20.
  const low = (BigInt(major) & 0xfffn) << 8n
  const device = low | ((BigInt(major) & ~0xfffn) << 32n) | (BigInt(minor) & 0xffn) | ((BigInt(minor) & ~0xffn) << 12n)
  checked(call.mknod(cString(path), mode, device), () => `make the node ${shown(path)}`)
}

export function lsetxattr(path: Path, name: Path, value: Uint8Array): void {
  const result = call.lsetxattr(cString(path), cString(name), value.length === 0 ? EMPTY : value, value.length, 0)
  checked(result, () => `set ${shown(name)} of ${shown(path)}`)
}

/** Linux's own limits for one value and for the list of names (limits.h: XATTR_SIZE_MAX, XATTR_LIST_MAX). */
const XATTR_LIMIT = 65_536

/** Undefined where the file has no such attribute, or its filesystem has none at all. */
export function lgetxattr(path: Path, name: Path): Buffer | undefined {
  const value = Buffer.allocUnsafe(XATTR_LIMIT)
  const length: number = call.lgetxattr(cString(path), cString(name), value, value.length)
  if (length < 0 && ['ENODATA', 'ENOTSUP'].includes(errnoName(koffi.errno()))) return undefined
  checked(length, () => `read ${shown(name)} of ${shown(path)}`)
  return Buffer.from(value.subarray(0, length))
}

/** Names as bytes in Latin-1, one character a byte, in the kernel's order. */
export function llistxattr(path: Path): string[] {
  const bytes = cString(path)
  const needed: number = call.llistxattr(bytes, null, 0)
  if (needed === 0 || (needed < 0 && errnoName(koffi.errno()) === 'ENOTSUP')) return []
  checked(needed, () => `list the attributes of ${shown(path)}`)
  const names = Buffer.alloc(XATTR_LIMIT)
  const length = checked(call.llistxattr(bytes, names, names.length), () => `list the attributes of ${shown(path)}`)
  return names.toString('latin1', 0, length).split('\0').filter(Boolean)
}

export function lremovexattr(path: Path, name: Path): void {
  checked(call.lremovexattr(cString(path), cString(name)), () => `remove ${shown(name)} of ${shown(path)}`)
}

/** Sets access and modification time of a file or link itself, to the nanosecond. */
export function setTimes(path: Path, seconds: number, nanoseconds: number): void {
  const result = call.utimensat(AT_FDCWD, cString(path), timespecs(seconds, nanoseconds), AT_SYMLINK_NOFOLLOW)
  checked(result, () => `set the time of ${shown(path)}`)
}

/** As `setTimes`, of an open file. */
export function setFileTimes(fd: number, seconds: number, nanoseconds: number): void {
  checked(call.futimens(fd, timespecs(seconds, nanoseconds)), () => 'set the time of a file')
}

/** Two of struct timespec, without BigInt, which took longer than the call itself. */
function timespecs(seconds: number, nanoseconds: number): Int32Array {
  const high = Math.floor(seconds / 2 ** 32)
  return Int32Array.of(seconds, high, nanoseconds, 0, seconds, high, nanoseconds, 0)
}

/** Moves the calling thread alone into new namespaces (CLONE.*). On Node's main thread, new processes follow it. */
export function unshare(flags: number): void {
  checked(call.unshare(flags), () => 'make namespaces')
}

/** Moves the calling thread alone into the namespace of an open file below /proc or /run/netns. */
export function setns(fd: number, type: number): void {
  checked(call.setns(fd, type), () => 'enter a namespace')
}

/** socket(2), in the calling thread's network namespace, closed on exec; the caller closes what it returns. */
export function socket(domain: number, type: number, protocol: number): number {
  return checked(call.socket(domain, type | O_CLOEXEC, protocol), () => `open a socket of family ${domain}`)
}

/**
 * openat(2): makes a file of this name (Latin-1), which nothing may have yet, in the folder `dirFd` and opens it for
 * writing; the caller closes it. A third faster than Node's own by a path through /proc.
 */
export function createFile(dirFd: number, name: string, mode: number): number {
  const path = terminated(Buffer.from(`${name}\0`, 'latin1'))
  return checked(call.openat(dirFd, path, CREATE_NEW, mode), () => `make the file ${shown(path.subarray(0, -1))}`)
}

/** openat2(2): opens `path` below the folder `dirFd` as `resolve` (RESOLVE.*) says; the caller closes what it returns. */
export function openat2(dirFd: number, path: Path, flags: number, resolve: number, mode = 0): number {
  const how = Buffer.alloc(24)
  how.writeBigUInt64LE(BigInt(flags | O_CLOEXEC), 0)
  how.writeBigUInt64LE(BigInt(mode), 8)
  how.writeBigUInt64LE(BigInt(resolve), 16)
  const bytes = cString(path)
  for (let tries = 0; ; tries++) {
    const fd: number = call.openat2(SYSCALL.openat2, dirFd, bytes, how, how.length)
    // The kernel answers EAGAIN when a rename elsewhere made it unsure of `..`.
    if (fd < 0 && tries < 32 && errnoName(koffi.errno()) === 'EAGAIN') continue
    return checked(fd, () => `open ${shown(path)}`)
  }
}

/** ioctl(2) whose argument is a structure, which the kernel may fill, or none. */
export function ioctl(fd: number, request: number, argument: Buffer | null, doing: string): number {
  return checked(call.ioctl(fd, request, argument), () => doing)
}

/** fsopen(2): a filesystem context to configure; the caller closes what it returns. */
export function fsopen(type: string): number {
  return checked(call.fsopen(SYSCALL.fsopen, cString(type), 1), () => `open a ${type} filesystem context`)
}

/** fsconfig(2): sets an option to a text of at most 255 bytes, or switches one on. */
export function fsconfig(fd: number, key: string, value?: string): void {
  const command = value === undefined ? FSCONFIG.SET_FLAG : FSCONFIG.SET_STRING
  const text = value === undefined ? null : cString(value)
  const doing = () => `take the mount option ${key}${value === undefined ? '' : `=${value}`}`
  checked(call.fsconfig(SYSCALL.fsconfig, fd, command, cString(key), text, 0), doing)
}

/** Makes the configured filesystem and a mount of it with MOUNT_ATTR flags; the caller closes what it returns. */
export function fsmount(fd: number, attributes: number): number {
  checked(call.fsconfig(SYSCALL.fsconfig, fd, FSCONFIG.CMD_CREATE, null, null, 0), () => 'make the filesystem')
  return checked(call.fsmount(SYSCALL.fsmount, fd, 1, attributes), () => 'make a mount')
}

/** open_tree(2): a mount of a folder that lies nowhere, and ends when it is closed; the caller closes it. */
export function openTree(path: string): number {
  const fd = call.openTree(SYSCALL.openTree, AT_FDCWD, cString(path), OPEN_TREE_CLONE | O_CLOEXEC)
  return checked(fd, () => `take the mount of ${path}`)
}

/** mount_setattr(2): the ids of a mount that lies nowhere yet are those of a user namespace from here on (Linux 5.12). */
export function mapIds(mountFd: number, usernsFd: number): void {
  const attributes = Buffer.alloc(32)
  attributes.writeBigUInt64LE(BigInt(MOUNT_ATTR_IDMAP), 0)
  attributes.writeBigUInt64LE(BigInt(usernsFd), 24)
  const size = attributes.length
  const result = call.mountSetattr(SYSCALL.mountSetattr, mountFd, EMPTY, AT_EMPTY_PATH, attributes, size)
  checked(result, () => 'map the ids of a mount')
}

/** Attaches what fsmount() made to a folder. */
export function moveMount(mountFd: number, target: string): void {
  const path = cString(target)
  const result = call.moveMount(SYSCALL.moveMount, mountFd, EMPTY, AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH)
  checked(result, () => `mount at ${target}`)
}
