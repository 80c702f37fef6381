import { closeSync, constants, fstatSync, openSync, read, readSync } from 'node:fs'
import { promisify } from 'node:util'

const PART_BYTES = 256 * 1024
const readBeside = promisify(read)

interface Open {
  fd: number
  bytes: Buffer
}

/**
 * Whether two regular files have the same bytes; what else they may be counts as different. The first part is read at
 * once, since most files are no larger and each call beside the event loop costs more than that; of a larger one the rest is
 * read beside it. Throws what open(2) says of a file that is not there.
 */
export function sameBytes(one: Buffer, other: Buffer): boolean | Promise<boolean> {
  using files = new DisposableStack()
  const opened = [one, other].map(path => {
    // A link or a pipe that took a file's place is neither followed nor waited for.
    const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
    files.defer(() => closeSync(fd))
    return { fd, bytes: Buffer.allocUnsafe(PART_BYTES) }
  })
  if (!opened.every(({ fd }) => fstatSync(fd).isFile())) return false
  const [first, second] = opened.map(({ fd, bytes }) => bytes.subarray(0, readSync(fd, bytes)))
  if (!first || !second || !first.equals(second)) return false
  return first.length < PART_BYTES || sameRest(opened, files.move())
}

async function sameRest(opened: readonly Open[], held: DisposableStack): Promise<boolean> {
  using _held = held
  for (;;) {
    const parts = opened.map(async ({ fd, bytes }) => {
      const { bytesRead } = await readBeside(fd, bytes, 0, bytes.length, null)
      return bytes.subarray(0, bytesRead)
    })
    await Promise.allSettled(parts) // Before the files are closed.
    const [first, second] = await Promise.all(parts)
    if (!first || !second || !first.equals(second)) return false
    if (first.length === 0) return true
  }
}
