import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import type { BuildSpecOf, BuildWarning } from '#shared/domain/build.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { ControlPlane } from '../agent/control-plane.ts'
import { parseDockerfile, parseInstructions } from '../dockerfile/dockerfile.ts'
import type { Instruction } from '../dockerfile/instruction.ts'
import { inPlace } from '../dockerfile/interpret.ts'
import { lint } from '../dockerfile/lint.ts'
import type { Scope } from '../dockerfile/scope.ts'
import { withConfig } from '../dockerfile/stage-state.ts'
import {
  findStage,
  globalArgs,
  platformArgs,
  resolveStages,
  type Stage,
  sourceStage,
  targetStage,
} from '../dockerfile/stages.ts'
import { undefinedVariables } from '../dockerfile/undefined-variables.ts'
import { openAdvice } from './advice.ts'
import { refuseOtherPlatform } from './base-image.ts'
import { applyIgnoreFile, readDockerfile } from './build-context.ts'
import type { BuildWork, SharedWork } from './build-work.ts'
import { untilAborted } from './deadline.ts'
import { mainContext, namedContexts, unpackContext } from './dockerfile-sources.ts'
import { epochOf } from './epoch.ts'
import { type Draft, draftOf, EMPTY_DRAFT, withEpoch } from './image-draft.ts'
import { once } from './once.ts'
import { buildInstruction } from './stage-builder.ts'
import { takeTriggers } from './triggers.ts'

export interface DockerfileOptions {
  api: Pick<ControlPlane, 'downloadContext'>
  /** What this host lets RUN ask for. */
  entitlements: ReadonlySet<string>
  warn(warnings: readonly BuildWarning[]): void
}

/** Builds a Dockerfile's target stage and those that it needs, each once, in order of need. */
export async function fromDockerfile(
  spec: BuildSpecOf<'dockerfile'>,
  shared: SharedWork & Pick<BuildWork, 'secrets'>,
  { api, entitlements, warn }: DockerfileOptions,
): Promise<Draft> {
  const { ports, signal, log } = shared
  const context = join(shared.folder, 'context')
  await unpackContext(spec.contextId, context, shared, api)
  const dockerfile = parseDockerfile(await readDockerfile(context, spec.dockerfile), spec.dockerfile)
  const ignore = await applyIgnoreFile(context, spec.dockerfile, signal)
  const platform = new Map([...platformArgs(ports.architecture), ['TARGETSTAGE', spec.target ?? 'default'] as const])
  const globals = globalArgs(dockerfile, spec.args, platform)
  const scope: Scope = { dockerfile, given: spec.args, globals }
  const stages = resolveStages(dockerfile, globals)
  const main = mainContext(context, ignore)
  const advice = openAdvice(dockerfile, spec, warn)
  advice.add(lint({ dockerfile, predefined: new Set(platform.keys()), ignoredBy: path => main.ignoredBy?.(path) }))
  advice.refuse()
  const named = namedContexts(spec.contexts, shared, api)

  const pull = once((reference: string) => ports.images.pull(reference))
  const pulled = async (name: string, platform: string | undefined) => {
    const other = Object.hasOwn(spec.contexts, name) ? spec.contexts[name] : undefined
    const reference = other?.kind === 'image' ? other.reference : name
    const image = await untilAborted(pull(reference), signal)
    refuseOtherPlatform(reference, platform, image.config.architecture, ports.architecture)
    return draftOf(image)
  }
  const workOf = (stage: Stage, instruction: Instruction): BuildWork => ({
    ...shared,
    ...{ isCacheUsed: !spec.noCache, epoch: epochOf(spec.args) },
    allowed: new Set(spec.allow.filter(name => entitlements.has(name))),
    contextOf: async from => (from === undefined ? main : named(from)),
    layersOf: async from => {
      if (Object.hasOwn(spec.contexts, from)) return (await pulled(from, undefined)).diffIds
      const source = sourceOf(stage, instruction, from)
      return (await (source ? draftFor(source) : pulled(from, undefined))).diffIds
    },
  })
  /** A name that is the Dockerfile's own was looked at when stages were resolved; one with variables may name earlier ones. */
  const sourceOf = (stage: Stage, instruction: Instruction, from: string): Stage | undefined => {
    const isPlain = instruction.flags.some(({ value }) => value?.includes(from))
    if (!isPlain) return findStage(stages.slice(0, stage.index), from)
    try {
      return sourceStage(stages, stage, from)
    } catch (error) {
      throw inPlace(error, instruction, dockerfile.file)
    }
  }
  const baseOf = async ({ base, platform, from }: Stage): Promise<Draft> => {
    const name = from.text.split(/\s/, 1)[0] ?? ''
    if (base.kind !== 'image' && Object.hasOwn(spec.contexts, name)) return pulled(name, platform)
    if (base.kind === 'stage') return afterStage(base.index)
    return base.kind === 'image' ? pulled(base.reference, platform) : EMPTY_DRAFT
  }
  /** A base that is a context of files: they are all that is in it. */
  const filesOf = (stage: Stage): Instruction[] => {
    const name = stage.base.kind === 'image' ? stage.base.reference : stage.from.text.split(/\s/, 1)[0]
    if (name === undefined || !Object.hasOwn(spec.contexts, name) || spec.contexts[name]?.kind !== 'files') return []
    const { line, column, source } = stage.from
    return parseInstructions(`COPY --from=${name} . /`, dockerfile.file).map(copy => ({
      ...copy,
      line,
      column,
      source,
    }))
  }
  const buildStage = async (stage: Stage): Promise<Draft> => {
    const { from, instructions } = stage
    const name = stage.name ? `${stage.name} ` : ''
    const files = filesOf(stage)
    const base = files.length > 0 ? EMPTY_DRAFT : await baseOf(stage)
    const { draft: begin, triggers } = takeTriggers(base, from, dockerfile.file)
    let draft = begin
    const all = [...files, ...triggers, ...instructions]
    log.write('step', `[${name}1/${all.length + 1}] FROM ${from.text}`)
    for (const [at, instruction] of all.entries()) {
      await setImmediate() // Thousands of instructions need no file, and would let nothing else of this process run.
      const label = `[${name}${at + 2}/${all.length + 1}]`
      advice.add(undefinedVariables(instruction, draft.state, scope))
      advice.refuse()
      draft = await buildInstruction(workOf(stage, instruction), draft, instruction, scope, label)
    }
    return draft
  }
  const draftFor = once(buildStage)
  /** Whoever builds on a stage has its ARGs, too (docs.docker.com/build/building/variables, "Scoping"). */
  const afterStage = async (index: number): Promise<Draft> => {
    const stage = stages[index]
    if (!stage) throw new SlipwayError('internal', `The Dockerfile has no stage ${index}.`)
    const draft = await draftFor(stage)
    return { ...draft, state: { ...draft.state, hasOwnCommand: false } }
  }
  const built = await draftFor(targetStage(stages, spec.target))
  return withEpoch(labelled(built, spec.labels), epochOf(spec.args))
}

/** Labels of the request win over those of the Dockerfile. */
function labelled(draft: Draft, labels: Record<string, string>): Draft {
  if (Object.keys(labels).length === 0) return draft
  return { ...draft, state: withConfig(draft.state, { Labels: { ...draft.state.config.Labels, ...labels } }) }
}
