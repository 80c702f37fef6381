import { constants, gunzipSync } from 'node:zlib'
import koffi, { type KoffiFunc } from 'koffi'
import { callBeside, tryLoad } from './native-library.ts'

/**
 * Intel's ISA-L (igzip), whose gzip takes a tenth of zlib's time. Structure and constants are those of its igzip_lib.h, the public
 * interface of libisal.so.2 on 64-bit machines.
 */
const LIBRARY = 'libisal.so.2'
/** Larger than `struct isal_zstream` and than a buffer of any level, which newer versions may add to. */
const STREAM_BYTES = 256 * 1024
const LEVEL_BYTES = 1024 * 1024
const AT = {
  nextIn: 0,
  availableIn: 8,
  nextOut: 16,
  availableOut: 24,
  level: 40,
  levelSize: 44,
  levelBuffer: 48,
} as const
const ENDS_AT = 56
const GZIP_FLAG_AT = 60
const IGZIP_GZIP = 1
/** Of 0 to 3. On a C compiler's packages: 2 takes half of 3's time for 1% more; zlib's level 4 is 5% smaller and takes eleven times as long. */
const LEVEL = 2
/** Where nothing shrinks, a block of 64 KiB grows by 5 bytes; header and trailer are 18. */
const grown = (length: number) => length + Math.ceil(length / 1024) + 64

/** Makes one member of gzip (RFC 1952) out of a block, beside the event loop. The block stays untouched meanwhile. */
export type GzipBlock = (block: Uint8Array) => Promise<Buffer>

/** Undefined where the library is not installed, or is another than this program knows. */
export async function loadIsalGzip(): Promise<GzipBlock | undefined> {
  const library = tryLoad(LIBRARY)
  if (!library) return undefined
  const init = library.func('isal_deflate_stateless_init', 'void', ['uint8_t *'])
  const deflate: KoffiFunc<(stream: Buffer) => number> = library.func('isal_deflate_stateless', 'int', ['uint8_t *'])
  const idle: Buffers[] = []
  const gzip: GzipBlock = async block => {
    const buffers = idle.pop() ?? { stream: Buffer.alloc(STREAM_BYTES), level: Buffer.alloc(LEVEL_BYTES) }
    const output = Buffer.allocUnsafeSlow(grown(block.length))
    init(buffers.stream)
    point(buffers, block, output)
    const result = await callBeside(deflate, buffers.stream)
    const made = output.length - buffers.stream.readUInt32LE(AT.availableOut)
    idle.push(buffers)
    if (result !== 0) throw new Error(`ISA-L could not compress (${result}).`)
    return output.subarray(0, made)
  }
  return (await isAsKnown(gzip).catch(() => false)) ? gzip : undefined
}

interface Buffers {
  stream: Buffer
  level: Buffer
}

function point({ stream, level }: Buffers, input: Uint8Array, output: Uint8Array): void {
  stream.writeBigUInt64LE(input.length === 0 ? 0n : koffi.address(input), AT.nextIn)
  stream.writeUInt32LE(input.length, AT.availableIn)
  stream.writeBigUInt64LE(koffi.address(output), AT.nextOut)
  stream.writeUInt32LE(output.length, AT.availableOut)
  stream.writeUInt32LE(LEVEL, AT.level)
  stream.writeUInt32LE(level.length, AT.levelSize)
  stream.writeBigUInt64LE(koffi.address(level), AT.levelBuffer)
  stream.writeUInt16LE(1, ENDS_AT)
  stream.writeUInt16LE(IGZIP_GZIP, GZIP_FLAG_AT)
}

/** What it makes of a text and of nothing is read again by zlib: the structure is the one above. */
async function isAsKnown(gzip: GzipBlock): Promise<boolean> {
  for (const text of ['one two '.repeat(10_000), '']) {
    const member = await gzip(Buffer.from(text))
    const isShort = member.length < text.length / 10 + 64
    if (!isShort || gunzipSync(member, { finishFlush: constants.Z_FINISH }).toString() !== text) return false
  }
  return true
}
