import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import type { BuildSpecOf } from '#shared/domain/build.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { ControlPlane } from '../agent/control-plane.ts'
import { refuseOtherPlatform, refuseTriggers } from './base-image.ts'
import { applyIgnoreFile, readDockerfile } from './build-context.ts'
import { untilAborted } from './deadline.ts'
import { parseDockerfile } from './dockerfile.ts'
import { type Draft, draftOf, EMPTY_DRAFT } from './image-draft.ts'
import type { Scope } from './interpret.ts'
import { once } from './once.ts'
import { buildInstruction, type SharedWork } from './stage-builder.ts'
import { findStage, globalArgs, platformArgs, resolveStages, type Stage, targetStage } from './stages.ts'
import { takeSource } from './take-source.ts'

/** Builds a Dockerfile's target stage and those that it needs, each once, in order of need. */
export async function fromDockerfile(
  spec: BuildSpecOf<'dockerfile'>,
  shared: SharedWork,
  api: Pick<ControlPlane, 'downloadContext'>,
): Promise<Draft> {
  const { ports, signal, log } = shared
  const context = join(shared.folder, 'context')
  await mkdir(context, { mode: 0o755 })
  await takeSource(spec.source, context, shared, api)
  const dockerfile = parseDockerfile(await readDockerfile(context, spec.dockerfile), spec.dockerfile)
  await applyIgnoreFile(context, spec.dockerfile, signal)
  const globals = globalArgs(dockerfile, spec.args, platformArgs(ports.architecture))
  const scope: Scope = { dockerfile, given: spec.args, globals }
  const stages = resolveStages(dockerfile, globals)

  const pull = once((reference: string) => ports.images.pull(reference))
  const pulled = async (reference: string, platform: string | undefined) => {
    const image = await untilAborted(pull(reference), signal)
    refuseOtherPlatform(reference, platform, image.config.architecture, ports.architecture)
    return draftOf(image)
  }
  const buildStage = async (stage: Stage): Promise<Draft> => {
    const { base, from, instructions } = stage
    const name = stage.name ? `${stage.name} ` : ''
    const count = instructions.length + 1
    log.write('step', `[${name}1/${count}] FROM ${from.text}`)
    // A stage sees earlier ones alone, so that there is no circle.
    const earlier = stages.slice(0, stage.index)
    const layersOf = async (wanted: string) => {
      const source = findStage(earlier, wanted)
      return (await (source ? draftFor(source) : pulled(wanted, undefined))).diffIds
    }
    let draft = EMPTY_DRAFT
    if (base.kind === 'image') {
      draft = await pulled(base.reference, stage.platform)
      refuseTriggers(draft.state.config, from, dockerfile.file)
    }
    if (base.kind === 'stage') draft = await afterStage(base.index)
    for (const [at, instruction] of instructions.entries()) {
      await setImmediate() // Thousands of instructions need no file, and would let nothing else of this process run.
      const label = `[${name}${at + 2}/${count}]`
      draft = await buildInstruction(
        { ...shared, isCacheUsed: !spec.noCache, layersOf },
        draft,
        instruction,
        scope,
        label,
      )
    }
    return draft
  }
  const draftFor = once(buildStage)
  /** ARGs end with their stage. */
  const afterStage = async (index: number): Promise<Draft> => {
    const stage = stages[index]
    if (!stage) throw new SlipwayError('internal', `The Dockerfile has no stage ${index}.`)
    const draft = await draftFor(stage)
    return { ...draft, state: { ...draft.state, args: new Map(), hasOwnCommand: false } }
  }
  return draftFor(targetStage(stages, spec.target))
}
