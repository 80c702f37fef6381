import { SlipwayError } from '#shared/errors.ts'
import type { RunStep } from '../dockerfile/step.ts'
import type { BuildWork } from './build-work.ts'
import { excludesOf } from './copy-files.ts'
import { type CopySource, findSources } from './copy-sources.ts'
import { digestSources, rememberedDigest } from './digest-sources.ts'
import { contentOfMounts } from './run-mounts.ts'
import { fetchedSources } from './source-folders.ts'
import type { FileStep } from './step-inputs.ts'

/** What is known of a step before anything below it is there. */
export interface Look {
  /** What it reads besides what is below it, for the cache's key. */
  content: unknown
  /** Sources that were brought for it. */
  fetched: CopySource[]
}

/** Looks at what a step reads. May be long before its turn. Errors: those of sources and of what it is not allowed. */
export async function lookAtStep(work: BuildWork, step: FileStep): Promise<Look> {
  if (step.kind === 'folder') return { content: undefined, fetched: [] }
  if (step.kind === 'run') {
    refuseForbidden(work, step)
    if (step.network !== 'none') work.materials.reachedOut()
    return { content: await contentOfMounts(work, step), fetched: [] }
  }
  const context = await work.contextOf(step.from)
  const { digest, fetched } = await work.looks.add(async () => {
    work.signal.throwIfAborted()
    const brought = await fetchedSources(work, step)
    const read = async () => {
      const found = context ? findSources(context, step.sources, step.keepsParents) : []
      const terms = { excludes: excludesOf(step), known: context?.digests?.files }
      return digestSources([...found, ...brought], work.signal, terms)
    }
    const { sources, keepsParents, excludes } = step
    const known = brought.length > 0 ? undefined : context?.digests
    const hasAny = brought.length > 0 || (context !== undefined && sources.length > 0)
    const asked = [context?.leftOut, sources, keepsParents, excludes]
    return { digest: hasAny ? await rememberedDigest(known, asked, read) : undefined, fetched: brought }
  })
  // A stage's layers say what is in it, without reading it.
  return { content: { digest, layers: context ? undefined : (await work.layersOf(step.from ?? '')).diffIds }, fetched }
}

function refuseForbidden({ allowed }: BuildWork, { network, security }: RunStep): void {
  const asked = [network === 'host' ? 'network.host' : '', security === 'insecure' ? 'security.insecure' : '']
  const missing = asked.find(name => name !== '' && !allowed.has(name))
  if (missing === undefined) return
  const message = `This step asks for ${missing}: the build has to allow it ("allow"), and so has the host (SLIPWAY_BUILDS_MAY).`
  throw new SlipwayError('build.not-allowed', message, { facts: { missing } })
}
