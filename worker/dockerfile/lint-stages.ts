import type { Dockerfile, StageSource } from './dockerfile.ts'
import type { Instruction } from './instruction.ts'
import type { Finding } from './lint.ts'
import { splitWords } from './words.ts'

/** Rules about what instructions are to each other. */
export function stageRules(dockerfile: Dockerfile): Finding[] {
  const all = [...dockerfile.globals, ...dockerfile.stages.flatMap(({ from, instructions }) => [from, ...instructions])]
  return [
    ...casing(all),
    ...duplicates(dockerfile.stages),
    ...dockerfile.stages.flatMap(repeated),
    ...relativeFolders(dockerfile.stages),
    ...all.flatMap(description),
  ]
}

function casing(all: readonly Instruction[]): Finding[] {
  const isLower = (word: string) => word === word.toLowerCase()
  const isUpper = (word: string) => word === word.toUpperCase()
  const lower = all.filter(({ written }) => isLower(written)).length
  const upper = all.filter(({ written }) => isUpper(written)).length
  const [usual, isUsual] = lower > upper ? (['lowercase', isLower] as const) : (['uppercase', isUpper] as const)
  return all
    .filter(({ written }) => !isUsual(written))
    .map(instruction => ({
      rule: 'ConsistentInstructionCasing',
      message: `Command '${instruction.written}' should match the case of the command majority (${usual})`,
      instruction,
    }))
}

function duplicates(stages: readonly StageSource[]): Finding[] {
  return stages.flatMap(({ name, from, writtenName }, at) => {
    if (name === undefined || !stages.slice(0, at).some(other => other.name === name)) return []
    const message = `Duplicate stage name "${name}", stage names should be unique`
    return [{ rule: 'DuplicateStageName', message, instruction: from, part: writtenName }]
  })
}

function repeated({ instructions }: StageSource): Finding[] {
  return ['CMD', 'ENTRYPOINT', 'HEALTHCHECK'].flatMap(keyword => {
    const found = instructions.filter(instruction => instruction.keyword === keyword)
    const message = `Multiple ${keyword} instructions should not be used in the same stage because only the last one will be used`
    return found.slice(0, -1).map(instruction => ({ rule: 'MultipleInstructionsDisallowed', message, instruction }))
  })
}

function relativeFolders(stages: readonly StageSource[]): Finding[] {
  const withFolder = new Set<string>()
  return stages.flatMap(({ name, base, instructions }) => {
    let isKnown = withFolder.has(base.toLowerCase())
    const found: Finding[] = []
    for (const instruction of instructions.filter(({ keyword }) => keyword === 'WORKDIR')) {
      const isAbsolute = /^["']?[/$]/.test(instruction.text)
      if (!isAbsolute && !isKnown) {
        const message = `Relative workdir "${instruction.text}" can have unexpected results if the base image changes`
        found.push({ rule: 'WorkdirRelativePath', message, instruction, part: instruction.text })
      }
      isKnown ||= isAbsolute
    }
    if (isKnown && name !== undefined) withFolder.add(name)
    return found
  })
}

/** On trial: a comment right above an ARG or a stage is about it, and begins with its name. */
function description(instruction: Instruction): Finding[] {
  const { keyword, text, source } = instruction
  const words = splitWords(text)
  const name = keyword === 'ARG' ? words[0]?.split('=')[0] : keyword === 'FROM' ? words[2] : undefined
  const said = source.comment.at(-1)
  if (name === undefined || said === undefined || /^[a-z]+\s*=/i.test(said)) return []
  if (source.comment.some(line => line.startsWith(`${name} `))) return []
  const message = `Comment for ${keyword === 'ARG' ? 'build argument' : 'build stage'} should follow the format: \`# ${name} <description>\``
  return [{ rule: 'InvalidDefinitionDescription', message, instruction }]
}
