import { createHash, type Hash } from 'node:crypto'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { addAbortSignal } from 'node:stream'
import type { BuildSpecOf } from '#shared/domain/build.ts'
import type { ContextId } from '#shared/domain/ids.ts'
import type { ControlPlane } from '../agent/control-plane.ts'
import { isLeftOut } from '../dockerfile/ignore-rules.ts'
import { extractContext } from '../layer/context.ts'
import { applyIgnoreFile, CONTEXT_LIMITS, type IgnoreFile } from './build-context.ts'
import type { StepLog } from './build-log.ts'
import type { SharedWork } from './build-work.ts'
import { untilAborted } from './deadline.ts'
import type { SourceRoot } from './missing-source.ts'
import { once } from './once.ts'

type Api = Pick<ControlPlane, 'downloadContext'>

/** An uploaded context as a folder of the build's own; `name` is what provenance calls it. */
export async function unpackContext(
  id: ContextId,
  folder: string,
  { signal, log, materials }: Pick<SharedWork, 'signal' | 'materials'> & { log: Pick<StepLog, 'progress'> },
  api: Api,
  /** As provenance has it. */
  name: string,
  onWritten?: (bytes: number) => void,
): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o755 })
  const upload = await untilAborted(api.downloadContext(id), signal)
  const hash = materials.isAsked ? createHash('sha256') : undefined
  await extractContext(counted(addAbortSignal(signal, upload), log, hash), folder, CONTEXT_LIMITS, { onWritten })
  if (hash) materials.add({ name, digest: { sha256: hash.digest('hex') } })
}

/** Read to its end by whoever unpacks it. */
async function* counted(upload: AsyncIterable<Uint8Array>, { progress }: Pick<StepLog, 'progress'>, hash?: Hash) {
  let bytes = 0
  for await (const chunk of upload) {
    hash?.update(chunk)
    bytes += chunk.length
    progress({ bytes })
    yield chunk
  }
}

/** The context that instructions see, with what left files out of it. */
export function mainContext(path: string, ignore: IgnoreFile | undefined): SourceRoot {
  return {
    path,
    name: 'the build context',
    ignoredBy: wanted => (ignore && isLeftOut(wanted, ignore.rules) ? ignore.file : undefined),
  }
}

/** Contexts by name, each unpacked when it is first asked for. Undefined for a name that is none of files. */
export function namedContexts(contexts: BuildSpecOf<'dockerfile'>['contexts'], work: SharedWork, api: Api) {
  return once(async (name: string): Promise<SourceRoot | undefined> => {
    const found = Object.hasOwn(contexts, name) ? contexts[name] : undefined
    if (found?.kind !== 'files') return undefined
    const path = join(work.folder, 'contexts', found.contextId)
    return work.log.step(`loading the context ${name}`, work.signal, async log => {
      await unpackContext(found.contextId, path, { ...work, log }, api, `context:${name}`)
      const ignore = await applyIgnoreFile(path, 'Dockerfile', work.signal)
      return { ...mainContext(path, ignore), name: `the context ${name}` }
    })
  })
}
