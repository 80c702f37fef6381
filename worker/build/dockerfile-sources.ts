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
import type { KnownDigests } from './digest-sources.ts'
import type { KeptContexts, LayUpload } from './kept-contexts.ts'
import type { SourceRoot } from './missing-source.ts'
import { once } from './once.ts'

/** Where uploaded contexts come from. */
export interface Uploads {
  api: Pick<ControlPlane, 'downloadContext'>
  kept: KeptContexts
}

/**
 * Uploaded contexts, each over the one before, as a folder of the build's own; `name` is what provenance calls them. Returns what
 * is known of their files.
 */
export async function unpackContext(
  ids: readonly ContextId[],
  folder: string,
  {
    signal,
    log,
    materials,
    opened,
    keeps,
  }: Pick<SharedWork, 'signal' | 'materials' | 'opened' | 'keeps'> & { log: Pick<StepLog, 'progress'> },
  { api, kept }: Uploads,
  /** As provenance has it. */
  name: string,
  onWritten?: (bytes: number) => void,
): Promise<KnownDigests | undefined> {
  await mkdir(folder, { recursive: true, mode: 0o755 })
  const lay: LayUpload = async (id, into, isFirst) => {
    const upload = await untilAborted(api.downloadContext(id), signal)
    const hash = materials.isAsked ? createHash('sha256') : undefined
    const bytes = counted(addAbortSignal(signal, upload), log, hash)
    let written = 0
    const whenWritten = (soFar: number) => {
      written = soFar
      onWritten?.(soFar)
    }
    await extractContext(bytes, into, CONTEXT_LIMITS, { onWritten: whenWritten, isOver: !isFirst })
    if (hash) materials.add({ name: isFirst ? name : `${name}, over it ${id}`, digest: { sha256: hash.digest('hex') } })
    return written
  }
  if (!materials.isAsked) {
    const brought = opened.use(await kept.bring(ids, folder, lay))
    keeps(brought.bytes)
    return brought.digests
  }
  // Digests of uploads are those of their bytes, which are read for that.
  for (const [at, id] of ids.entries()) await lay(id, folder, at === 0)
  return undefined
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
export function mainContext(path: string, ignore: IgnoreFile | undefined, digests?: KnownDigests): SourceRoot {
  return {
    path,
    digests,
    leftOut: ignore && createHash('sha256').update(ignore.text).digest('hex'),
    name: 'the build context',
    ignoredBy: wanted => (ignore && isLeftOut(wanted, ignore.rules) ? ignore.file : undefined),
  }
}

/** Contexts by name, each unpacked when it is first asked for. Undefined for a name that is none of files. */
export function namedContexts(contexts: BuildSpecOf<'dockerfile'>['contexts'], work: SharedWork, uploads: Uploads) {
  return once(async (name: string): Promise<SourceRoot | undefined> => {
    const found = Object.hasOwn(contexts, name) ? contexts[name] : undefined
    if (found?.kind !== 'files') return undefined
    const path = join(work.folder, 'contexts', found.contextId)
    return work.log.step(`loading the context ${name}`, work.signal, async log => {
      const digests = await unpackContext([found.contextId], path, { ...work, log }, uploads, `context:${name}`)
      const ignore = await applyIgnoreFile(path, 'Dockerfile', work.signal)
      return { ...mainContext(path, ignore, digests), name: `the context ${name}` }
    })
  })
}
