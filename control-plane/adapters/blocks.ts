/** Gathers a stream of pieces into blocks of one size, and stores a block while the next one fills. */
export interface Blocks {
  /** Copies the bytes. Waits only while a block is full and the one before is still being stored; throws what `store` threw. */
  write(bytes: Uint8Array): Promise<void>
  /** Waits until all full blocks are stored; returns what is short of a block, good until the next `write`. */
  settle(): Promise<Uint8Array>
}

/** Holds two blocks of `size` bytes at most: one that fills, one on its way. `store` is called for one block at a time, in order. */
export function gatherBlocks(size: number, store: (block: Uint8Array) => Promise<void>): Blocks {
  let filling: Uint8Array | undefined
  let spare: Uint8Array | undefined
  let filled = 0
  let onItsWay: Promise<void> = Promise.resolve()
  const send = async (block: Uint8Array) => {
    await onItsWay
    onItsWay = store(block)
    onItsWay.catch(() => {}) // Told to whoever waits next.
    filling = spare // The block before, which has just been stored.
    spare = block
    filled = 0
  }
  return {
    write: async bytes => {
      for (let at = 0; at < bytes.length; ) {
        filling ??= new Uint8Array(size)
        const taken = Math.min(size - filled, bytes.length - at)
        filling.set(bytes.subarray(at, at + taken), filled)
        at += taken
        filled += taken
        if (filled === size) await send(filling)
      }
    },
    settle: async () => {
      await onItsWay
      spare = undefined
      return (filling ?? new Uint8Array(0)).subarray(0, filled)
    },
  }
}
