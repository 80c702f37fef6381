import { extract } from './extract.ts'
import type { IndexPaths } from './index-writer.ts'
import type { TarLimits } from './layer-writer.ts'
import { LAYER_LIMITS } from './unpack.ts'

/**
 * Keeps a layer's uncompressed tar as a file and makes its index (see `IndexWriter`), in overlay's form, with what
 * `unpackLayer` keeps. Errors: `layer.invalid` naming the entry, `host.disk-full`, `host.kernel-refused`, and what the
 * stream throws. The caller removes both files after an error, and makes what is written durable.
 */
export async function indexLayer(
  tar: AsyncIterable<Uint8Array>,
  paths: IndexPaths,
  limits: TarLimits = LAYER_LIMITS,
): Promise<void> {
  await extract({ kind: 'index', limits, ...paths }, tar)
}
