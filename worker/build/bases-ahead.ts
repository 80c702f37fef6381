import { lstatSync } from 'node:fs'
import type { BuildSpecOf } from '#shared/domain/build.ts'
import { neededStages, targetStage } from '../dockerfile/stages.ts'
import { resolveInRootSync } from '../host/rooted-fs.ts'
import { type BaseImages, baseName, contextOf } from './base-images.ts'
import { DOCKERFILE_LIMIT } from './build-context.ts'
import type { SharedWork } from './build-work.ts'
import { readStages } from './read-stages.ts'

/** What a tar has around a file's bytes, generously. */
const AROUND_BYTES = 64 * 1024

export interface BasesAhead {
  spec: BuildSpecOf<'dockerfile'>
  /** The folder that the context comes into. */
  context: string
  ports: Pick<SharedWork['ports'], 'architecture'>
  bases: BaseImages
  begin(work: () => Promise<void>): Promise<void>
}

/**
 * Begins to pull base images as soon as the Dockerfile is there, while the rest of a large context still comes. It is whole once as
 * many bytes have followed as a Dockerfile may have. All of it is a guess, which says nothing of what is wrong: whoever needs the
 * images finds the same pulls, and the errors.
 */
export function basesAhead(options: BasesAhead): (bytesWritten: number) => void {
  const { spec, context, begin } = options
  let seenAt: number | undefined
  let hasBegun = false
  return written => {
    if (hasBegun) return
    if (seenAt === undefined) {
      if (isThere(context, spec.dockerfile)) seenAt = written
      return
    }
    if (written - seenAt < DOCKERFILE_LIMIT + AROUND_BYTES) return
    hasBegun = true
    void begin(() => pullBases(options).catch(() => {}))
  }
}

function isThere(context: string, path: string): boolean {
  try {
    return lstatSync(resolveInRootSync(context, path), { throwIfNoEntry: false })?.isFile() ?? false
  } catch {
    return false
  }
}

async function pullBases({ spec, context, ports, bases }: BasesAhead): Promise<void> {
  const { stages } = await readStages(context, spec, ports.architecture)
  const needed = neededStages(stages, targetStage(stages, spec.target, spec.dockerfile), spec.dockerfile)
  const images = needed.filter(stage => stage.base.kind === 'image' && !contextOf(spec.contexts, baseName(stage)))
  await Promise.allSettled(images.map(stage => bases.draftOf(baseName(stage), stage.platform)))
}
