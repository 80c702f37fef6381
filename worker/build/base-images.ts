import { digestHex } from '#shared/digest.ts'
import type { BuildSpecOf } from '#shared/domain/build.ts'
import { parseImageReference } from '#shared/domain/reference.ts'
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

/** Images by their names, each pulled once a build; a named context that is an image stands in for its name. */
export function openBaseImages(
  contexts: Contexts,
  { ports, signal, log, materials }: Pick<SharedWork, 'ports' | 'signal' | 'log' | 'materials'>,
) {
  const pull = once((reference: string) =>
    log.step(`pulling ${reference}`, signal, ({ progress }) =>
      untilAborted(ports.images.pull(reference, progress), signal),
    ),
  )
  return async (name: string, platform?: string): Promise<Draft> => {
    const other = contextOf(contexts, name)
    const reference = other?.kind === 'image' ? other.reference : name
    const image = await pull(reference)
    materials.add({ uri: purlOf(reference, ports.architecture), digest: { sha256: digestHex(image.digest) } })
    refuseOtherPlatform(reference, platform, image.config.architecture, ports.architecture)
    return draftOf(image)
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
