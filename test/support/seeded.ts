/** A small seeded generator (mulberry32): the same seed gives the same moments. A failing test names its seed. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}

/** The seed of this run: from SLIPWAY_SEED to repeat one, else from the clock. */
export function chooseSeed(): number {
  return Number(process.env.SLIPWAY_SEED ?? Date.now() % 1_000_000)
}
