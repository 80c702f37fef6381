import type { Draft } from './image-draft.ts'
import type { Step } from './interpret.ts'

export type FileStep = Exclude<Step, { kind: 'config' }>

/** Everything that the step's files depend on, and nothing else; `content` is what a COPY copies. Pure. */
export function stepInputs({ diffIds, state }: Draft, step: FileStep, content: unknown): unknown {
  const { Env, User, WorkingDir } = state.config
  if (step.kind === 'folder') return ['folder', diffIds, step.path, step.user]
  // Of `step.env` the ARGs alone: proxies that come without being declared change no result.
  if (step.kind === 'run') return ['run', diffIds, step.args, [...state.args], Env, User, WorkingDir]
  return ['copy', diffIds, step.sources, step.to, step.chown, step.chmod, step.unpacks, content]
}
