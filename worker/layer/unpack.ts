import { extract } from './extract.ts'
import type { TarLimits } from './layer-writer.ts'

/** Far above real layers; what is beyond is an attack on the disk. */
export const LAYER_LIMITS: TarLimits = { maxBytes: 64 * 1024 ** 3, maxEntries: 1_000_000 }

/**
 * Unpacks a layer's uncompressed tar into an empty folder in overlay's form (see `LayerWriter`), with owners, modes,
 * times to the nanosecond, extended attributes, hard links, holes and devices. Needs root. Errors: `layer.invalid`
 * naming the entry, `host.disk-full`, `host.kernel-refused`, and what the stream throws. The caller removes the folder
 * after an error, and makes what is written durable.
 */
export async function unpackLayer(
  tar: AsyncIterable<Uint8Array>,
  folder: string,
  limits: TarLimits = LAYER_LIMITS,
): Promise<void> {
  await extract({ kind: 'layer', folder, limits }, tar)
}

/**
 * Unpacks the tar of a folder (`tarOfFolder`) into an empty one, which becomes as the first was: owners, modes, times and
 * attributes, its own too. No name leads through a link. Errors and what is left after one: as `unpackLayer`.
 */
export async function unpackFolder(
  tar: AsyncIterable<Uint8Array>,
  folder: string,
  limits: TarLimits = LAYER_LIMITS,
): Promise<void> {
  await extract({ kind: 'folder', folder, limits }, tar)
}
