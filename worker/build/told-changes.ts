import type { BuildSpecOf } from '#shared/domain/build.ts'
import { parseInstructions } from '../dockerfile/dockerfile.ts'
import { dockerfileFault } from '../dockerfile/fault.ts'
import { interpret } from '../dockerfile/interpret.ts'
import type { Scope } from '../dockerfile/scope.ts'
import type { Draft } from './image-draft.ts'

type Told = Pick<BuildSpecOf<'container' | 'tar'>, 'changes' | 'author'>

/** Where faults are said to be: each change begins a line of it. */
const FILE = 'changes'
const SCOPE: Scope = { dockerfile: { file: FILE, escapeChar: '\\' }, given: {}, globals: new Map() }

/**
 * The configuration with what a commit or an import was told of it, by instructions that change no file. Throws a
 * Dockerfile's fault. Pure.
 */
export function withChanges(draft: Draft, { changes, author }: Told): Draft {
  let { state } = draft
  for (const instruction of parseInstructions(changes.join('\n'), FILE)) {
    const place = { ...instruction, file: FILE }
    if (instruction.keyword === 'FROM') throw dockerfileFault(place, 'FROM can only be in a Dockerfile')
    const step = interpret(instruction, state, SCOPE)
    if (step.kind === 'run' || step.kind === 'copy') {
      throw dockerfileFault(place, `${instruction.keyword} changes files: it can only be in a Dockerfile`)
    }
    state = step.state
  }
  return { ...draft, state: author === undefined ? state : { ...state, author } }
}
