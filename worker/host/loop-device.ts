import { closeSync, constants, openSync } from 'node:fs'
import { errnoOf } from './kernel-error.ts'
import { ioctl, mknod, S_IFBLK } from './syscalls.ts'

export interface LoopDevice extends Disposable {
  path: string
}

/** linux/loop.h. */
const LOOP_CONFIGURE = 0x4c0a
const LOOP_CTL_GET_FREE = 0x4c82
const LOOP_MAJOR = 7
const FLAGS = { readOnly: 1, autoclear: 4 } as const
/** struct loop_config: a file, its block size, struct loop_info64 (whose flags lie at 52), and room. */
const CONFIG_BYTES = 4 + 4 + 232 + 64
const BLOCK_BYTES = 512
/** How often another program may take the free device first. */
const MAX_TRIES = 64

/**
 * A read-only block device that shows a file, of whole blocks of 512 bytes. It is gone with its last user: whoever
 * mounted it, or the caller, who disposes of it. Errors: `host.kernel-refused`.
 */
export function attachLoop(file: string): LoopDevice {
  using opened = new DisposableStack()
  const open = (path: string) => {
    const fd = openSync(path, constants.O_RDONLY)
    opened.defer(() => closeSync(fd))
    return fd
  }
  const backing = open(file)
  const control = open('/dev/loop-control')
  for (let tries = 1; ; tries++) {
    const device = openLoop(ioctl(control, LOOP_CTL_GET_FREE, null, 'find a free loop device'))
    try {
      ioctl(device.fd, LOOP_CONFIGURE, configOf(backing), `show ${file} as ${device.path}`)
      return device
    } catch (error) {
      device[Symbol.dispose]()
      if (errnoOf(error) !== 'EBUSY' || tries === MAX_TRIES) throw error
    }
  }
}

function openLoop(number: number): LoopDevice & { fd: number } {
  const path = `/dev/loop${number}`
  const fd = openNode(path, number)
  return { path, fd, [Symbol.dispose]: () => closeSync(fd) }
}

/** In a container nobody makes the nodes of new devices. */
function openNode(path: string, number: number): number {
  try {
    return openSync(path, constants.O_RDONLY)
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error
  }
  try {
    mknod(path, S_IFBLK | 0o600, LOOP_MAJOR, number)
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw error
  }
  return openSync(path, constants.O_RDONLY)
}

function configOf(backing: number): Buffer {
  const config = Buffer.alloc(CONFIG_BYTES)
  config.writeUInt32LE(backing, 0)
  config.writeUInt32LE(BLOCK_BYTES, 4)
  config.writeUInt32LE(FLAGS.readOnly | FLAGS.autoclear, 8 + 52)
  return config
}
