import { gzipSync } from 'node:zlib'
import koffi, { type KoffiFunc } from 'koffi'
import { DamagedStream, type Decompressor, type Step } from './decompressor.ts'
import { callBeside, tryLoad } from './native-library.ts'

/**
 * Intel's ISA-L (igzip), which inflates about twice as fast as zlib does. Structure and constants are those of its
 * igzip_lib.h, the public interface of libisal.so.2 on 64-bit machines.
 */
const LIBRARY = 'libisal.so.2'
/** Larger than `struct inflate_state` (87,368 bytes), which newer versions may add to. */
const STATE_BYTES = 128 * 1024
const AT = { nextOut: 0, availableOut: 8, nextIn: 16, availableIn: 32, blockState: 21_160, checksum: 21_172 } as const
const ISAL_GZIP = 1
const ISAL_BLOCK_FINISH = 5

interface Isal {
  init: KoffiFunc<(state: Buffer) => void>
  reset: KoffiFunc<(state: Buffer) => void>
  inflate: KoffiFunc<(state: Buffer) => number>
}

/** Makes decompressors of gzip (RFC 1952). */
export type OpenGunzip = () => Decompressor

/** Undefined where the library is not installed, or is another than this program knows. */
export async function loadIsal(): Promise<OpenGunzip | undefined> {
  const library = tryLoad(LIBRARY)
  if (!library) return undefined
  const isal: Isal = {
    init: library.func('isal_inflate_init', 'void', ['uint8_t *']),
    reset: library.func('isal_inflate_reset', 'void', ['uint8_t *']),
    inflate: library.func('isal_inflate', 'int', ['uint8_t *']),
  }
  const open = () => new IsalGunzip(isal)
  return (await isAsKnown(open).catch(() => false)) ? open : undefined
}

/** Two members one behind the other, in a buffer too small for both, come out as they went in: the structure is the one above. */
async function isAsKnown(open: OpenGunzip): Promise<boolean> {
  const parts = ['one '.repeat(1000), 'two '.repeat(1000)]
  const input = Buffer.concat(parts.map(part => gzipSync(part)))
  const output = Buffer.alloc(5000)
  const gunzip = open()
  let text = ''
  for (let at = 0, isWhole = false; !isWhole || at < input.length; ) {
    const step = await gunzip.step(input.subarray(at), output)
    if (step.taken + step.made === 0) return false
    text += output.toString('latin1', 0, step.made)
    at += step.taken
    isWhole = step.isWhole
  }
  return text === parts.join('')
}

class IsalGunzip implements Decompressor {
  readonly #isal: Isal
  readonly #state = Buffer.alloc(STATE_BYTES)
  #isBetween = false
  #hasEnded = false

  constructor(isal: Isal) {
    this.#isal = isal
    isal.init(this.#state)
    this.#state.writeUInt32LE(ISAL_GZIP, AT.checksum)
  }

  /** As gzip(1) and zlib have it: zeros after a member are padding, anything else is another member. */
  async step(input: Uint8Array, output: Uint8Array): Promise<Step> {
    if (this.#isBetween && input.length > 0) {
      this.#isBetween = false
      if (input[0] === 0) this.#hasEnded = true
      else this.#isal.reset(this.#state)
    }
    if (this.#hasEnded || this.#isBetween) return { taken: input.length, made: 0, isWhole: true }
    const state = this.#state
    state.writeBigUInt64LE(koffi.address(output), AT.nextOut)
    state.writeUInt32LE(output.length, AT.availableOut)
    state.writeBigUInt64LE(input.length === 0 ? 0n : koffi.address(input), AT.nextIn)
    state.writeUInt32LE(input.length, AT.availableIn)
    const result = await callBeside(this.#isal.inflate, state)
    if (result !== 0) throw new DamagedStream(`ISA-L refuses it (${result}).`)
    this.#isBetween = state.readUInt32LE(AT.blockState) === ISAL_BLOCK_FINISH
    return {
      taken: input.length - state.readUInt32LE(AT.availableIn),
      made: output.length - state.readUInt32LE(AT.availableOut),
      isWhole: this.#isBetween,
    }
  }

  [Symbol.dispose](): void {}
}
