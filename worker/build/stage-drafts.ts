import { setImmediate } from 'node:timers/promises'
import type { BuildSpecOf } from '#shared/domain/build.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { Instruction } from '../dockerfile/instruction.ts'
import { inPlace } from '../dockerfile/interpret.ts'
import type { Scope } from '../dockerfile/scope.ts'
import { findStage, isNamedPlainly, type Stage, sourceStage } from '../dockerfile/stages.ts'
import { undefinedVariables } from '../dockerfile/undefined-variables.ts'
import type { openAdvice } from './advice.ts'
import { baseName, contextOf, filesOfBase, openBaseImages } from './base-images.ts'
import type { BuildWork } from './build-work.ts'
import { type Draft, EMPTY_DRAFT } from './image-draft.ts'
import { once } from './once.ts'
import { buildInstruction } from './stage-builder.ts'
import { takeTriggers } from './triggers.ts'

export interface StageOptions {
  stages: Stage[]
  contexts: BuildSpecOf<'dockerfile'>['contexts']
  scope: Scope
  /** Everything of the work but what depends on the stage. */
  work: Omit<BuildWork, 'layersOf'>
  advice: ReturnType<typeof openAdvice>
}

/** Builds stages, each once, and those that they need before them. */
export function openStageDrafts({ stages, contexts, scope, work, advice }: StageOptions) {
  const { file } = scope.dockerfile
  const pulled = openBaseImages(contexts, work)

  const layersOf = (stage: Stage, instruction: Instruction) => async (from: string) => {
    const source = contextOf(contexts, from) ? undefined : sourceOf(stages, stage, instruction, from, file)
    return (await (source ? draftFor(source) : pulled(from))).diffIds
  }
  const buildStage = async (stage: Stage): Promise<Draft> => {
    const { from } = stage
    const files = filesOfBase(stage, contexts, file)
    const base = files.length > 0 ? EMPTY_DRAFT : await baseOf(stage)
    const { draft: begin, triggers } = takeTriggers(base, from, file)
    const all = [...files, ...triggers, ...stage.instructions]
    const label = (at: number) => `[${stage.name ? `${stage.name} ` : ''}${at}/${all.length + 1}]`
    work.log.write('step', `${label(1)} FROM ${from.text}`)
    let draft = begin
    for (const [at, instruction] of all.entries()) {
      await setImmediate() // Thousands of instructions need no file, and would let nothing else of this process run.
      advice.add(undefinedVariables(instruction, draft.state, scope))
      advice.refuse()
      const own = { ...work, layersOf: layersOf(stage, instruction) }
      draft = await buildInstruction(own, draft, instruction, scope, label(at + 2))
    }
    return draft
  }
  const draftFor = once(buildStage)
  const baseOf = async (stage: Stage): Promise<Draft> => {
    const { base, platform } = stage
    const name = baseName(stage)
    if (base.kind === 'image' || contextOf(contexts, name)) return pulled(name, platform)
    return base.kind === 'stage' ? afterStage(base.index) : EMPTY_DRAFT
  }
  /** Whoever builds on a stage has its ARGs, too (docs.docker.com/build/building/variables, "Scoping"). */
  const afterStage = async (index: number): Promise<Draft> => {
    const stage = stages[index]
    if (!stage) throw new SlipwayError('internal', `The Dockerfile has no stage ${index}.`)
    const draft = await draftFor(stage)
    return { ...draft, state: { ...draft.state, hasOwnCommand: false } }
  }
  return draftFor
}

/**
 * A name that stands in the Dockerfile itself was looked at when stages were resolved: no circle is left. One from a variable
 * or a trigger was not, and so names earlier stages alone.
 */
function sourceOf(
  stages: Stage[],
  stage: Stage,
  instruction: Instruction,
  from: string,
  file: string,
): Stage | undefined {
  const isLookedAt = stage.instructions.includes(instruction) && isNamedPlainly(instruction, from)
  if (!isLookedAt) return findStage(stages.slice(0, stage.index), from)
  try {
    return sourceStage(stages, stage, from)
  } catch (error) {
    throw inPlace(error, instruction, file)
  }
}
