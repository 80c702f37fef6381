import type { BuildSpecOf } from '#shared/domain/build.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { Instruction } from '../dockerfile/instruction.ts'
import { inPlace } from '../dockerfile/interpret.ts'
import type { Scope } from '../dockerfile/scope.ts'
import type { StageState } from '../dockerfile/stage-state.ts'
import { circleFault, findStage, isNamedPlainly, plainNames, type Stage, sourceStage } from '../dockerfile/stages.ts'
import { undefinedVariables } from '../dockerfile/undefined-variables.ts'
import { splitWords } from '../dockerfile/words.ts'
import type { openAdvice } from './advice.ts'
import { type BaseImages, baseName, contextOf, filesOfBase } from './base-images.ts'
import type { BuildWork } from './build-work.ts'
import { type Draft, EMPTY_DRAFT } from './image-draft.ts'
import { once } from './once.ts'
import { buildStep } from './stage-builder.ts'
import { openStageNeeds } from './stage-needs.ts'
import { begunAhead, isFileInstruction, type PlannedStep, plannedSteps, sourceNames } from './stage-plan.ts'
import { placed, rethrowIn } from './step-fault.ts'
import { lookAtStep } from './step-look.ts'
import { takeTriggers } from './triggers.ts'
import { type KnownNames, unknownName } from './unknown-name.ts'

export interface StageOptions {
  stages: Stage[]
  contexts: BuildSpecOf<'dockerfile'>['contexts']
  scope: Scope
  /** Everything of the work but what depends on the stage. */
  work: Omit<BuildWork, 'layersOf'>
  bases: BaseImages
  advice: ReturnType<typeof openAdvice>
  /** Nothing is built: drafts have no files, and only what they say of the configuration is true. */
  isCheck?: boolean | undefined
}

/** Whose inputs are looked at while a step before them is done: each holds the state of its stage. */
const STEPS_AHEAD = 16

/**
 * Builds stages, each once. What a stage needs is begun with it, as far as it is known by then: first what it names without
 * variables, and the rest once its base is there, for nothing else do variables depend on.
 */
export function openStageDrafts({ stages, contexts, scope, work, bases, advice, isCheck = false }: StageOptions) {
  const { file } = scope.dockerfile
  const needs = openStageNeeds()

  /** What an instruction names as a source: a context's folder, or the draft of a stage or an image. */
  const bring = async (stage: Stage, instruction: Instruction, from: string): Promise<Draft | undefined> => {
    const context = contextOf(contexts, from)
    if (isCheck && context) return undefined
    if (context?.kind === 'files') return void (await work.contextOf(from))
    const source = context ? undefined : sourceOf(stages, stage, instruction, from, file)
    if (!source) {
      if (isCheck) return undefined
      const others = isPlain(stage, instruction, from) ? stages : stages.slice(0, stage.index)
      return bases.draftOf(from).catch(error => {
        const known = knownBeside(stage, others)
        throw placed(unknownName(error, from, known), instruction, file, from, 'from=')
      })
    }
    const circle = needs.add(stage, source)
    if (circle) throw circleFault(circle, instruction, file)
    return draftFor(source)
  }
  const knownBeside = (own: Stage, others: readonly Stage[]): KnownNames => ({
    stages: others.flatMap(({ name }) => (name === undefined || name === own.name ? [] : [name])),
    contexts: Object.keys(contexts),
  })
  const beginSources = (stage: Stage, instruction: Instruction, names: readonly string[]) => {
    for (const from of names) {
      work.begin(() => bring(stage, instruction, from).catch(rethrowIn(instruction, file))).catch(() => {})
    }
  }
  const buildStage = async (stage: Stage): Promise<Draft> => {
    for (const instruction of stage.instructions) beginSources(stage, instruction, plainNames(instruction))
    const files = filesOfBase(stage, contexts, file)
    const base = files.length > 0 ? EMPTY_DRAFT : await baseOf(stage)
    const { draft, triggers } = takeTriggers(base, stage.from, file)
    const all = [...files, ...triggers, ...stage.instructions]
    const state = await lookThrough(stage, draft.state, all)
    return isCheck ? { ...draft, state } : buildSteps(stage, draft, all)
  }
  /** Faults of later instructions are found before the earlier ones are done, and what they need is begun. The state at the end. */
  const lookThrough = async (stage: Stage, begin: StageState, instructions: readonly Instruction[]) => {
    const seen = new Set<string>()
    let state = begin
    for await (const planned of plannedSteps(begin, instructions, scope)) {
      if ('state' in planned.step) state = planned.step.state
      advice.add(undefinedVariables(planned.instruction, planned.state, scope))
      advice.refuse()
      work.signal.throwIfAborted()
      const names = sourceNames(planned.step).filter(from => !seen.has(from))
      for (const from of names) seen.add(from)
      beginSources(stage, planned.instruction, names)
    }
    return state
  }
  const buildSteps = async (stage: Stage, begin: Draft, instructions: readonly Instruction[]): Promise<Draft> => {
    const workOf = (instruction: Instruction): BuildWork => ({
      ...work,
      layersOf: async from => (await bring(stage, instruction, from)) ?? EMPTY_DRAFT,
    })
    const look = ({ instruction, step }: PlannedStep) => {
      if (step.kind === 'config') return undefined
      const looked = work.begin(() => lookAtStep(workOf(instruction), step).catch(rethrowIn(instruction, file)))
      looked.catch(() => {}) // Whose turn it is learns of it then.
      return looked
    }
    const labelFor = labelsOf(stage, stages, instructions)
    let draft = begin
    const planned = plannedSteps(begin.state, instructions, scope)
    for await (const { item, begun } of begunAhead(planned, STEPS_AHEAD, look)) {
      const { instruction } = item
      draft = await buildStep(workOf(instruction), draft, item, { look: begun, file, label: labelFor(instruction) })
    }
    return draft
  }
  const draftFor = once((stage: Stage) => work.begin(() => buildStage(stage)))
  const baseOf = async (stage: Stage): Promise<Draft> => {
    const { base, platform } = stage
    const name = baseName(stage)
    if (base.kind === 'image' || contextOf(contexts, name)) {
      return bases.draftOf(name, platform).catch(error => {
        const known = knownBeside(stage, stages.slice(0, stage.index))
        throw placed(unknownName(error, name, known), stage.from, file, wordOf(stage.from))
      })
    }
    return base.kind === 'stage' ? afterStage(stage, base.index) : EMPTY_DRAFT
  }
  /** Whoever builds on a stage has its ARGs, too (docs.docker.com/build/building/variables, "Scoping"). */
  const afterStage = async (own: Stage, index: number): Promise<Draft> => {
    const stage = stages[index]
    if (!stage) throw new SlipwayError('internal', `The Dockerfile has no stage ${index}.`)
    const circle = needs.add(own, stage)
    if (circle) throw circleFault(circle, own.from, file)
    const draft = await draftFor(stage)
    return { ...draft, state: { ...draft.state, hasOwnCommand: false } }
  }
  return draftFor
}

/** `[build 2/4]`: instructions that change files, behind FROM, which is the first. */
function labelsOf({ name, index }: Stage, stages: readonly Stage[], instructions: readonly Instruction[]) {
  const counted = instructions.filter(isFileInstruction)
  const numbers = new Map(counted.map((instruction, at) => [instruction, at + 2]))
  const own = name ?? (stages.length > 1 ? `stage-${index}` : undefined)
  const stage = own === undefined ? '' : `${own} `
  return (instruction: Instruction) => `[${stage}${numbers.get(instruction) ?? 1}/${counted.length + 1}]`
}

const isPlain = (stage: Stage, instruction: Instruction, from: string) =>
  stage.instructions.includes(instruction) && isNamedPlainly(instruction, from)

/** What FROM names, as it is written. */
const wordOf = ({ text }: Instruction) => splitWords(text)[0]

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
  if (!isPlain(stage, instruction, from)) return findStage(stages.slice(0, stage.index), from)
  try {
    return sourceStage(stages, stage, from)
  } catch (error) {
    throw inPlace(error, instruction, file)
  }
}
