import { SlipwayError } from '#shared/errors.ts'
import { nearestOf } from '#shared/nearest.ts'
import type { Dockerfile } from './dockerfile.ts'
import { atPlace, dockerfileFault } from './fault.ts'
import { flagOf, flagsOf } from './flags.ts'
import { type Instruction, placeOf } from './instruction.ts'
import { argValues, inPlace } from './interpret.ts'
import type { Scope } from './scope.ts'
import { expandWord, refuseTooLarge, type Variables, WordError } from './words.ts'

/** A stage with its base known: `scratch`, an image, or an earlier stage by its index. */
export interface Stage {
  index: number
  name: string | undefined
  base: { kind: 'scratch' } | { kind: 'image'; reference: string } | { kind: 'stage'; index: number }
  platform: string | undefined
  from: Instruction
  instructions: Instruction[]
}

/** The ARGs of the platform (Dockerfile reference, "Automatic platform ARGs in the global scope"). */
export function platformArgs(architecture: string): Variables {
  const values = { PLATFORM: `linux/${architecture}`, OS: 'linux', ARCH: architecture, VARIANT: '' }
  return new Map(
    ['TARGET', 'BUILD'].flatMap(side => Object.entries(values).map(([name, value]) => [side + name, value] as const)),
  )
}

/** ARGs before the first FROM, with what the build gave. */
export function globalArgs(dockerfile: Dockerfile, given: Scope['given'], platform: Variables): Variables {
  let known = new Map(platform)
  for (const instruction of dockerfile.globals) {
    const values = placed(dockerfile, instruction, () =>
      argValues(instruction, known, { dockerfile, given, globals: known }, 'global'),
    )
    known = new Map([...known, ...values])
    placed(dockerfile, instruction, () => refuseTooLarge([...known].flat()))
  }
  return known
}

/** Stages with their bases. Throws for one that needs itself, too. Pure. */
export function resolveStages(dockerfile: Dockerfile, globals: Variables): Stage[] {
  const stages: Stage[] = []
  for (const [index, { from, base, name, instructions }] of dockerfile.stages.entries()) {
    const expand = (text: string) => placed(dockerfile, from, () => expandWord(text, globals, dockerfile.escapeChar))
    const reference = expand(base)
    const platform = flagOf(from, 'platform')
    if (reference === '') {
      throw dockerfileFault(
        { ...placeOf(from, base), file: dockerfile.file },
        'FROM names no image: an ARG in it has no value',
      )
    }
    stages.push({
      ...{ index, name, from, instructions },
      base: baseOf(reference, stages),
      platform: platform === undefined ? undefined : expand(platform),
    })
  }
  refuseCircles(stages, dockerfile.file)
  return stages
}

function baseOf(reference: string, earlier: Stage[]): Stage['base'] {
  if (reference === 'scratch') return { kind: 'scratch' }
  const stage = namedStage(earlier, reference)
  return stage ? { kind: 'stage', index: stage.index } : { kind: 'image', reference }
}

/**
 * The stage to build: the last one, or the one that `target` names by name or number. A fault stands at the FROM of the stage with
 * the nearest name, or at the first one.
 */
export function targetStage(stages: Stage[], target: string | undefined, file: string): Stage {
  const stage = target === undefined ? stages.at(-1) : findStage(stages, target)
  if (stage) return stage
  const [first] = stages
  if (target === undefined || !first) {
    throw dockerfileFault({ file, line: 1, column: 1 }, 'The Dockerfile has no FROM: write one')
  }
  const names = stages.map(({ name, index }) => name ?? String(index))
  const nearest = nearestOf(target.toLowerCase(), names)
  const help = nearest === undefined ? '' : ` Did you mean ${nearest}?`
  const { line, column } = ((nearest === undefined ? undefined : findStage(stages, nearest)) ?? first).from
  const place = { file, line, column }
  const message = `The Dockerfile has no stage ${target}, which "target" names: it has ${names.join(', ')}.${help}`
  throw new SlipwayError('build.target-not-found', atPlace(place, message), { facts: { ...place, target } })
}

/** A stage by name or number. */
export function findStage(stages: Stage[], name: string): Stage | undefined {
  return namedStage(stages, name) ?? (/^\d+$/.test(name) ? stages[Number(name)] : undefined)
}

/** Of two stages with one name the later counts, as in Docker. */
function namedStage(stages: Stage[], name: string): Stage | undefined {
  return stages.findLast(stage => stage.name === name.toLowerCase())
}

/**
 * The stage that `from` names inside of `own`; undefined where it is an image or another context. A name may be a later
 * stage's, too. Throws a WordError for a number without a stage, and for `own` itself.
 */
export function sourceStage(stages: Stage[], own: Stage, from: string): Stage | undefined {
  const found = findStage(stages, from)
  if (found?.index === own.index) throw new WordError(`${from} is this very stage: copy from another one`, from)
  if (found || !/^\d+$/.test(from)) return found
  throw new WordError(`There is no stage ${from}: the last one is ${stages.length - 1}`, from)
}

export interface Need {
  stage: Stage
  instruction: Instruction
}

/** What FROM, COPY and RUN take from other stages, as far as they name it without a variable. */
function needsOf(stages: Stage[], own: Stage, file: string): Need[] {
  const base = own.base.kind === 'stage' ? stages[own.base.index] : undefined
  const needs: Need[] = base ? [{ stage: base, instruction: own.from }] : []
  for (const instruction of own.instructions) {
    for (const from of plainNames(instruction)) {
      const stage = placed({ file }, instruction, () => sourceStage(stages, own, from))
      if (stage) needs.push({ stage, instruction })
    }
  }
  return needs
}

/** What an instruction names as a source, as far as it does so without a variable. */
export function plainNames(instruction: Instruction): string[] {
  const mounts = flagsOf(instruction, 'mount').map(mount => /(?:^|,)from=([^,]*)/.exec(mount)?.[1])
  const names = [flagOf(instruction, 'from'), ...mounts]
  return names.flatMap(from => (from && !from.includes('$') ? [from] : []))
}

/** Whether an instruction names `from` as it is, without a variable. */
export function isNamedPlainly(instruction: Instruction, from: string): boolean {
  return plainNames(instruction).includes(from)
}

/** Depth first, each stage once. */
function refuseCircles(stages: Stage[], file: string): void {
  const done = new Set<Stage>()
  const visit = (stage: Stage, path: readonly Stage[]) => {
    if (done.has(stage)) return
    for (const need of needsOf(stages, stage, file)) {
      const begin = [...path, stage].indexOf(need.stage)
      if (begin >= 0) {
        throw circleFault([...path, stage].slice(begin).concat(need.stage), need.instruction, file)
      }
      visit(need.stage, [...path, stage])
    }
    done.add(stage)
  }
  for (const stage of stages) visit(stage, [])
}

/** A stage and all that it needs, as far as they are named without a variable. The stages have no circle. Pure. */
export function neededStages(stages: Stage[], stage: Stage, file: string): Stage[] {
  const needed = new Set([stage])
  for (const one of needed) for (const need of needsOf(stages, one, file)) needed.add(need.stage)
  return [...needed]
}

/** Of stages of which each needs the next, and the last is the first. */
export function circleFault(circle: readonly Stage[], instruction: Instruction, file: string): SlipwayError {
  const names = circle.map(({ name, index }) => name ?? String(index)).join(' → ')
  return dockerfileFault(
    { ...instruction, file },
    `The stages need each other in a circle: ${names}. Take one of these out`,
  )
}

function placed<T>({ file }: Pick<Dockerfile, 'file'>, instruction: Instruction, work: () => T): T {
  try {
    return work()
  } catch (error) {
    throw inPlace(error, instruction, file)
  }
}
