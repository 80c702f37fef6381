import { SlipwayError } from '#shared/errors.ts'
import { parseInstructions } from '../dockerfile/dockerfile.ts'
import { dockerfileFault } from '../dockerfile/fault.ts'
import type { Instruction } from '../dockerfile/instruction.ts'
import { withConfig } from '../dockerfile/stage-state.ts'
import type { Draft } from './image-draft.ts'

/**
 * The instructions that a base image has for whoever builds on it (ONBUILD), to run right after FROM, and the draft without
 * them: they are inherited once. Faults stand at FROM, since the Dockerfile of the base is not here.
 */
export function takeTriggers(draft: Draft, from: Instruction, file: string): { draft: Draft; triggers: Instruction[] } {
  const { OnBuild, ...config } = draft.state.config
  if (!OnBuild?.length) return { draft, triggers: [] }
  const triggers = OnBuild.map(text => oneInstruction(text, from, file))
  return { draft: { ...draft, state: withConfig({ ...draft.state, config }, {}) }, triggers }
}

function oneInstruction(text: string, from: Instruction, file: string): Instruction {
  const fault = (why: string) =>
    dockerfileFault(
      { ...from, file },
      `The base image has ONBUILD ${JSON.stringify(text)}, and ${why}: use another base`,
    )
  let found: Instruction[]
  try {
    found = parseInstructions(text, file)
  } catch (error) {
    throw error instanceof SlipwayError ? fault('that is no instruction') : error
  }
  const [only, more] = found
  if (!only || more || ['FROM', 'MAINTAINER', 'ONBUILD'].includes(only.keyword)) throw fault('that cannot be a trigger')
  const { line, column } = from
  return { ...only, line, column, source: from.source }
}
