/** A library's decompressor, at work on one stream of bytes. Not for two calls at once. */
export interface Decompressor extends Disposable {
  /**
   * Decompresses from `input` into `output`, beside the event loop, until the one is used up or the other full; both
   * stay untouched by others meanwhile. Throws `DamagedStream` for what is none of its format.
   */
  step(input: Uint8Array, output: Uint8Array): Promise<Step>
}

export interface Step {
  /** Bytes of the input that were used, and of the output that were written. */
  taken: number
  made: number
  /** Whether the stream may end here: nothing of it is missing. */
  isWhole: boolean
}

/** Bytes that are not what their compression's format says, or not all of it. */
export class DamagedStream extends Error {}
