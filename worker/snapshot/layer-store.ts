import type { Digest } from '#shared/digest.ts'

/**
 * Where the layers of a host lie, each once, by its diff ID, and how they become folders that a snapshot can lie over.
 * Everything is found again from the disk and the mount table.
 */
export interface LayerStore {
  /** Makes the store's folders where they are missing. */
  open(): Promise<void>
  /** Asking says that the layer may be in use soon: `sweepUnused` counts its age from here. */
  has(diffId: Digest): Promise<boolean>
  /** The same without saying so. The cost does not grow with the number of layers. */
  holds(diffId: Digest): Promise<boolean>
  list(): Promise<Digest[]>
  /**
   * Makes a layer from its uncompressed tar, whole or not at all. `verify` runs after the last byte, and its rejection
   * discards the layer. Errors: `layer.invalid`, `host.disk-full`, and what the stream throws.
   */
  add(diffId: Digest, tar: AsyncIterable<Uint8Array>, verify: () => Promise<void>): Promise<void>
  /**
   * Makes a layer out of a folder in overlay's form that lies on the store's filesystem and that nobody writes to any
   * more. The folder is gone afterwards or, where the layer was there already, is left to the caller.
   */
  adopt(diffId: Digest, folder: string): Promise<void>
  /**
   * The layers as folders in overlay's form, in the order given, mounted where they need to be. Safe to call again, also
   * after a reboot. Throws `internal` when one is missing.
   */
  lowerFolders(diffIds: readonly Digest[]): Promise<string[]>
  /** Bytes that the layer takes on the disk. Written down when it came, so that nobody walks a tree to know it. */
  sizeOf(diffId: Digest): Promise<number>
  /** Removes layers that came and were asked for before `olderThan` (Unix milliseconds) and are not kept; says which. */
  sweepUnused(kept: ReadonlySet<Digest>, olderThan: number): Promise<Digest[]>
  /** Removes what a crash left half made. Call before any other work. */
  sweep(): Promise<void>
  /** Resolves when what was added until now is known to be on the disk; nothing needs to wait for it. */
  settled(): Promise<void>
}

/** Bytes of the layers that are neither kept nor named by a snapshot. `named` is undefined where that is not known: none are. */
export async function spareIn(
  layers: LayerStore,
  kept: ReadonlySet<Digest>,
  named: readonly Digest[][] | undefined,
): Promise<Map<Digest, number>> {
  const spare = new Map<Digest, number>()
  if (!named) return spare
  const needed = kept.union(new Set(named.flat()))
  for (const layer of (await layers.list()).filter(layer => !needed.has(layer))) {
    spare.set(layer, await layers.sizeOf(layer).catch(() => 0)) // It may be leaving.
  }
  return spare
}
