import { join } from 'node:path'
import { addAbortSignal } from 'node:stream'
import type { BuildSpecOf } from '#shared/domain/build.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { ControlPlane } from '../agent/control-plane.ts'
import { plainTar } from '../layer/context.ts'
import { packTar } from '../layer/pack.ts'
import { CONTEXT_LIMITS } from './build-context.ts'
import type { SharedWork } from './build-work.ts'
import { untilAborted } from './deadline.ts'
import { annotated, type Draft, EMPTY_DRAFT, withStep } from './image-draft.ts'
import { keepLayer } from './plain-layer.ts'
import { withChanges } from './told-changes.ts'

/**
 * An image of one layer, which is the tar as it came (`docker import`): what it says of owners, times and attributes is
 * kept to the byte. Errors: `context.invalid`, `layer.invalid`, `build.dockerfile-invalid` for changes, `request.too-large`.
 */
export async function fromTar(
  spec: BuildSpecOf<'tar'>,
  work: SharedWork,
  api: Pick<ControlPlane, 'downloadContext'>,
): Promise<Draft> {
  const draft = withChanges(EMPTY_DRAFT, spec)
  const upload = addAbortSignal(work.signal, await untilAborted(api.downloadContext(spec.contextId), work.signal))
  const path = join(work.folder, 'import.layer')
  const { compression, compressionLevel: level } = spec
  const packing = { path, compression, level, signal: work.signal }
  const packed = await packTar(await plainTar(upload, CONTEXT_LIMITS), packing)
  if (packed.unpackedBytes === 0) throw new SlipwayError('context.invalid', 'The upload has no bytes: send a tar.')
  const said = withStep(draft, await keepLayer(packed, work), 'import of a tar')
  return annotated(said, { comment: spec.message, author: spec.author })
}
