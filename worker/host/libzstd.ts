import koffi, { type KoffiFunc } from 'koffi'
import { SlipwayError } from '#shared/errors.ts'
import { DamagedStream, type Decompressor, type Step } from './decompressor.ts'
import { callBeside, tryLoad } from './native-library.ts'

const LIBRARY = 'libzstd.so.1'
/** `ZSTD_outBuffer` and, behind it, `ZSTD_inBuffer`: a pointer, a size and a position of 64 bits each (zstd.h). */
const BUFFERS_BYTES = 1024
const AT = { output: 0, outputSize: 8, outputAt: 16, input: 24, inputSize: 32, inputAt: 40 } as const

interface Zstd {
  create: KoffiFunc<() => unknown>
  free: KoffiFunc<(stream: unknown) => number>
  decompress: KoffiFunc<(stream: unknown, output: Buffer, input: Buffer) => number | bigint>
  isError: KoffiFunc<(code: number | bigint) => number>
  errorName: KoffiFunc<(code: number | bigint) => string>
}

/** Makes decompressors of zstd (RFC 8878): frames one behind the other, skippable ones too. */
export type OpenUnzstd = () => Decompressor

/** Undefined where the host lacks the library, which package managers of most distributions need themselves. */
export function loadZstd(): OpenUnzstd | undefined {
  const library = tryLoad(LIBRARY)
  if (!library) return undefined
  const zstd: Zstd = {
    create: library.func('ZSTD_createDStream', 'void *', []),
    free: library.func('ZSTD_freeDStream', 'size_t', ['void *']),
    decompress: library.func('ZSTD_decompressStream', 'size_t', ['void *', 'uint8_t *', 'uint8_t *']),
    isError: library.func('ZSTD_isError', 'uint', ['size_t']),
    errorName: library.func('ZSTD_getErrorName', 'str', ['size_t']),
  }
  return () => new ZstdDecompressor(zstd)
}

class ZstdDecompressor implements Decompressor {
  readonly #zstd: Zstd
  readonly #stream: unknown
  readonly #buffers = Buffer.alloc(BUFFERS_BYTES)

  constructor(zstd: Zstd) {
    this.#zstd = zstd
    this.#stream = zstd.create()
    if (!this.#stream) throw new SlipwayError('internal', 'There is no memory to decompress a layer.')
  }

  async step(input: Uint8Array, output: Uint8Array): Promise<Step> {
    const buffers = this.#buffers.fill(0)
    buffers.writeBigUInt64LE(koffi.address(output), AT.output)
    buffers.writeUInt32LE(output.length, AT.outputSize)
    buffers.writeBigUInt64LE(koffi.address(input), AT.input)
    buffers.writeUInt32LE(input.length, AT.inputSize)
    const { decompress, isError, errorName } = this.#zstd
    const result = await callBeside(decompress, this.#stream, buffers.subarray(AT.output), buffers.subarray(AT.input))
    if (isError(result) !== 0) throw new DamagedStream(`${LIBRARY} says: ${errorName(result)}.`)
    const [taken, made] = [buffers.readUInt32LE(AT.inputAt), buffers.readUInt32LE(AT.outputAt)]
    return { taken, made, isWhole: Number(result) === 0 }
  }

  [Symbol.dispose](): void {
    this.#zstd.free(this.#stream)
  }
}
