import { closeSync, constants, openSync, writeSync } from 'node:fs'
import koffi from 'koffi'
import { errnoName, kernelError } from './kernel-error.ts'
import { O_CLOEXEC, O_PATH, socket } from './syscalls.ts'

/**
 * Sockets that keep packets apart (SOCK_SEQPACKET, unix(7)), which Node has not. None of these calls waits, but for
 * `poll`, which belongs on a thread of its own.
 */
const AF_UNIX = 1
const SOCK_SEQPACKET = 5
const SOCK_NONBLOCK = 0o4000
const MSG_NOSIGNAL = 0x4000
/** Said each time: whoever else has the open socket may have made it one that waits. */
const MSG_DONTWAIT = 0x40
const EFD_NONBLOCK = 0o4000
const PATH_LIMIT = 108

export const POLL = { IN: 1, OUT: 4, ERR: 8, HUP: 16 } as const
const POLLFD_BYTES = 8

/** The same numbers on all architectures (pidfd_open(2), pidfd_getfd(2)). */
const SYSCALL = { pidfdOpen: 434, pidfdGetfd: 438 } as const

const libc = koffi.load('libc.so.6')
const call = {
  connect: libc.func('connect', 'int', ['int', 'const uint8_t *', 'uint']),
  recv: libc.func('recv', 'long', ['int', 'uint8_t *', 'ulong', 'int']),
  send: libc.func('send', 'long', ['int', 'const uint8_t *', 'ulong', 'int']),
  shutdown: libc.func('shutdown', 'int', ['int', 'int']),
  poll: libc.func('poll', 'int', ['uint8_t *', 'ulong', 'int']),
  eventfd: libc.func('eventfd', 'int', ['uint', 'int']),
  pidfdOpen: libc.func('syscall', 'long', ['long', 'int', 'uint']),
  pidfdGetfd: libc.func('syscall', 'long', ['long', 'int', 'int', 'uint']),
} as const

/** Connects to the socket `name` in a folder, whose path may be of any length. The caller closes what it returns. */
export function connectPackets(folder: string, name: string): number {
  const dir = openSync(folder, O_PATH | constants.O_DIRECTORY)
  const fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0)
  try {
    const address = Buffer.alloc(2 + PATH_LIMIT)
    address.writeUInt16LE(AF_UNIX, 0)
    address.write(`/proc/self/fd/${dir}/${name}`, 2, PATH_LIMIT - 1)
    if (call.connect(fd, address, address.length) < 0) {
      throw kernelError(errnoName(koffi.errno()), `connect to ${name} in ${folder}`)
    }
    return fd
  } catch (error) {
    closeSync(fd)
    throw error
  } finally {
    closeSync(dir)
  }
}

/** Bytes of the next packet; 0: the other side has closed; undefined: there is none yet. A broken connection reads as closed. */
export function receivePacket(fd: number, into: Uint8Array): number | undefined {
  const length: number = call.recv(fd, into, into.length, MSG_DONTWAIT)
  if (length >= 0) return length
  return isBusy() ? undefined : 0
}

/** Whether the packet was taken; undefined: the other side will take none any more. */
export function sendPacket(fd: number, packet: Uint8Array): boolean | undefined {
  if (call.send(fd, packet, packet.length, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0) return true
  return isBusy() ? false : undefined
}

const isBusy = () => ['EAGAIN', 'EINTR'].includes(errnoName(koffi.errno()))

/** The other side reads an end. One that is gone already is no error. */
export function endPackets(fd: number): void {
  call.shutdown(fd, 1)
}

/** Waits on this thread until one of the descriptors is ready or the time is over; what each is ready for, in their order. */
export function poll(wanted: readonly { fd: number; events: number }[], timeoutMs: number): number[] {
  const list = Buffer.alloc(wanted.length * POLLFD_BYTES)
  for (const [at, { fd, events }] of wanted.entries()) {
    list.writeInt32LE(fd, at * POLLFD_BYTES)
    list.writeInt16LE(events, at * POLLFD_BYTES + 4)
  }
  call.poll(list, wanted.length, timeoutMs)
  return wanted.map((_, at) => list.readInt16LE(at * POLLFD_BYTES + 6))
}

/** A descriptor that becomes readable when `ring` is called, on any thread. The caller closes it. */
export function openBell(): number {
  const fd: number = call.eventfd(0, EFD_NONBLOCK | O_CLOEXEC)
  if (fd < 0) throw kernelError(errnoName(koffi.errno()), 'make an eventfd')
  return fd
}

const ONE = Buffer.from(BigUint64Array.of(1n).buffer)

export function ring(bell: number): void {
  writeSync(bell, ONE)
}

/** Another process's descriptor as one of ours, of the same open file, closed on exec. The caller closes it. */
export function takeDescriptor(pid: number, fd: number): number {
  const process: number = call.pidfdOpen(SYSCALL.pidfdOpen, pid, 0)
  if (process < 0) throw kernelError(errnoName(koffi.errno()), `open process ${pid}`)
  try {
    const taken: number = call.pidfdGetfd(SYSCALL.pidfdGetfd, process, fd, 0)
    if (taken < 0) throw kernelError(errnoName(koffi.errno()), `take descriptor ${fd} of process ${pid}`)
    return taken
  } finally {
    closeSync(process)
  }
}
