import { digestHex } from '#shared/digest.ts'
import type { BuildSpecOf } from '#shared/domain/build.ts'
import { parseImageReference } from '#shared/domain/reference.ts'
import type { ResolvedImage } from '#shared/protocol/agent.ts'
import { parseInstructions } from '../dockerfile/dockerfile.ts'
import type { Instruction } from '../dockerfile/instruction.ts'
import type { Stage } from '../dockerfile/stages.ts'
import { imagePurl } from '../sbom/purl.ts'
import { refuseOtherPlatform } from './base-image.ts'
import type { SharedWork } from './build-work.ts'
import { untilAborted } from './deadline.ts'
import { type Draft, draftOf } from './image-draft.ts'
import { once } from './once.ts'

type Contexts = BuildSpecOf<'dockerfile'>['contexts']

export interface BaseImages extends AsyncDisposable {
  /** The image that this names, known before its layers are here: they are pulled meanwhile (`have-layers`). */
  draftOf(name: string, platform?: string): Promise<Draft>
}

type Work = Pick<SharedWork, 'ports' | 'signal' | 'log' | 'materials' | 'arriving'>

/**
 * Images by their names, each pulled once a build; a named context that is an image stands in for its name. Disposing of it waits
 * for no layer that was not needed: it comes all the same, for the next build. A check needs none at all.
 */
export function openBaseImages(
  contexts: Contexts,
  { ports, signal, log, materials, arriving }: Work,
  isCheck = false,
): BaseImages {
  const over = new AbortController()
  const pulls: Promise<void>[] = []
  const resolve = once((reference: string) => {
    const resolved = Promise.withResolvers<ResolvedImage>()
    const until = AbortSignal.any([signal, over.signal])
    const pull = log.step(`${isCheck ? 'looking at' : 'pulling'} ${reference}`, until, async ({ progress }) => {
      const image = await untilAborted(ports.images.resolve(reference), until)
      if (isCheck) return resolved.resolve(image)
      const fetched = untilAborted(ports.images.fetch(image, progress), until)
      for (const diffId of image.config.rootfs.diff_ids) arriving.set(diffId, fetched)
      resolved.resolve(image)
      await fetched
    })
    pull.catch(resolved.reject) // Once it is resolved, whoever needs the layers is told.
    pulls.push(pull)
    return resolved.promise
  })
  return {
    draftOf: async (name, platform) => {
      const other = contextOf(contexts, name)
      const reference = other?.kind === 'image' ? other.reference : name
      const image = await resolve(reference)
      materials.add({ uri: purlOf(reference, ports.architecture), digest: { sha256: digestHex(image.digest) } })
      refuseOtherPlatform(reference, platform, image.config.architecture, ports.architecture)
      return draftOf(image)
    },
    [Symbol.asyncDispose]: async () => {
      over.abort()
      arriving.clear()
      await Promise.allSettled(pulls)
    },
  }
}

function purlOf(reference: string, architecture: string): string {
  const { repository, tag, digest } = parseImageReference(reference)
  return imagePurl(repository, tag ?? digest ?? 'latest', `linux/${architecture}`)
}

export function contextOf(contexts: Contexts, name: string): Contexts[string] | undefined {
  return Object.hasOwn(contexts, name) ? contexts[name] : undefined
}

/** What FROM names, with its variables replaced where it is an image's. */
export function baseName({ base, from }: Stage): string {
  return base.kind === 'image' ? base.reference : (from.text.split(/\s/, 1)[0] ?? '')
}

/** A base that is a context of files: they are all that is in it, so it begins by copying them. */
export function filesOfBase(stage: Stage, contexts: Contexts, file: string): Instruction[] {
  const name = baseName(stage)
  if (contextOf(contexts, name)?.kind !== 'files') return []
  const { line, column, source } = stage.from
  return parseInstructions(`COPY --from=${name} . /`, file).map(copy => ({ ...copy, line, column, source }))
}
