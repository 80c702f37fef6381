import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs'
import { SlipwayError } from '#shared/errors.ts'
import { runAny } from '../host/run.ts'
import { BLOCK, decodeHeader } from '../layer/tar-format.ts'
import { bytesOf } from './byte-paths.ts'

/** What each begins with, and the program that GNU tar unpacks it with. */
const COMPRESSIONS = [
  { magic: Buffer.from([0x1f, 0x8b]), program: 'gzip' },
  { magic: Buffer.from('BZh'), program: 'bzip2' },
  { magic: Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]), program: 'xz' },
  { magic: Buffer.from([0x28, 0xb5, 0x2f, 0xfd]), program: 'zstd' },
]

const DECIDE_MS = 60_000

/** Whether a file (Latin-1) is a tar, perhaps compressed, as ADD unpacks it: its first block says so. */
export async function isTar(path: string, signal: AbortSignal): Promise<boolean> {
  const fd = openSync(bytesOf(path), constants.O_RDONLY | constants.O_NONBLOCK)
  try {
    if (!fstatSync(fd).isFile()) return false
    const head = Buffer.alloc(BLOCK)
    const size = readSync(fd, head, 0, BLOCK, 0)
    const found = COMPRESSIONS.find(({ magic }) => head.subarray(0, magic.length).equals(magic))
    return isHeader(found ? await firstBlock(found.program, fd, signal) : head.subarray(0, size))
  } finally {
    closeSync(fd)
  }
}

function isHeader(block: Buffer): boolean {
  if (block.length < BLOCK) return false
  try {
    return decodeHeader(block, { invalid: 'layer.invalid' }) !== undefined
  } catch {
    return false // The checksum is wrong: these are other bytes.
  }
}

/** A decompressor that nobody reads any more ends: of a large archive no more than its beginning is unpacked. */
const FIRST_BLOCK = `command -v "$1" >&2 || exit 127; "$1" -dc <"$2" 2>/dev/null | head -c ${BLOCK} | base64 -w 0`

/** The first 512 bytes behind a compression; fewer where there are no more, or where the data is something else. */
async function firstBlock(program: string, fd: number, signal: AbortSignal): Promise<Buffer> {
  const args = ['-c', FIRST_BLOCK, 'sh', program, `/proc/${process.pid}/fd/${fd}`]
  const { exitCode, stdout } = await runAny('sh', args, { timeoutMs: DECIDE_MS, signal })
  if (exitCode === 0) return Buffer.from(stdout, 'base64')
  throw new SlipwayError('host.command-failed', `This host has no program ${program} to unpack with: install it.`)
}
