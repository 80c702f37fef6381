import { SlipwayError } from '#shared/errors.ts'
import { type Dockerfile, dockerfileFault, type Instruction } from './dockerfile.ts'
import { argValues, type Scope } from './interpret.ts'
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
    if (instruction.keyword !== 'ARG') {
      throw dockerfileFault({ ...instruction, file: dockerfile.file }, 'The first instruction has to be FROM (or ARG)')
    }
    const values = inPlace(dockerfile, instruction, () =>
      argValues(instruction, known, { dockerfile, given, globals: known }),
    )
    known = new Map([...known, ...values])
    inPlace(dockerfile, instruction, () => refuseTooLarge([...known].flat()))
  }
  return known
}

export function resolveStages(dockerfile: Dockerfile, globals: Variables): Stage[] {
  const stages: Stage[] = []
  for (const [index, { from, base, name, instructions }] of dockerfile.stages.entries()) {
    const expand = (text: string) => inPlace(dockerfile, from, () => expandWord(text, globals, dockerfile.escapeChar))
    const reference = expand(base)
    const platform = from.flags.find(flag => flag.name === 'platform')?.value
    if (reference === '') {
      throw dockerfileFault({ ...from, file: dockerfile.file }, 'FROM names no image: an ARG in it has no value')
    }
    stages.push({
      ...{ index, name, from, instructions },
      base: baseOf(reference, stages),
      platform: platform === undefined ? undefined : expand(platform),
    })
  }
  return stages
}

function baseOf(reference: string, earlier: Stage[]): Stage['base'] {
  if (reference === 'scratch') return { kind: 'scratch' }
  const stage = namedStage(earlier, reference)
  return stage ? { kind: 'stage', index: stage.index } : { kind: 'image', reference }
}

/** The stage to build: the last one, or the one that `target` names by name or number. */
export function targetStage(stages: Stage[], target: string | undefined): Stage {
  const stage = target === undefined ? stages.at(-1) : findStage(stages, target)
  if (stage) return stage
  const names = stages.map(({ name, index }) => name ?? String(index)).join(', ')
  throw new SlipwayError('build.target-not-found', `The Dockerfile has no stage ${target}: it has ${names}.`)
}

/** A stage by name or number. */
export function findStage(stages: Stage[], name: string): Stage | undefined {
  return namedStage(stages, name) ?? (/^\d+$/.test(name) ? stages[Number(name)] : undefined)
}

/** Of two stages with one name the later counts, as in Docker. */
function namedStage(stages: Stage[], name: string): Stage | undefined {
  return stages.findLast(stage => stage.name === name.toLowerCase())
}

function inPlace<T>(dockerfile: Dockerfile, instruction: Instruction, work: () => T): T {
  try {
    return work()
  } catch (error) {
    if (error instanceof WordError) throw dockerfileFault({ ...instruction, file: dockerfile.file }, error.message)
    throw error
  }
}
