import { choiceOf, flagOf, flagsOf } from './flags.ts'
import { announced, bodyOf } from './heredoc.ts'
import type { Instruction } from './instruction.ts'
import { parseMount } from './mount-flag.ts'
import { expandedText, PROXIES, type Scope } from './scope.ts'
import { DEFAULT_SHELL, type StageState } from './stage-state.ts'
import { type Document, type RunMount, type RunStep, SCRIPT_FOLDER } from './step.ts'
import { WordError } from './words.ts'

/** RUN with everything that it asks for. Throws a WordError. Pure. */
export function runStep(instruction: Instruction, state: StageState, scope: Scope): RunStep {
  const proxies = PROXIES.filter(name => scope.given[name] !== undefined)
  const env = new Map([...proxies.map(name => [name, scope.given[name] ?? ''] as [string, string]), ...state.args])
  const { text, script } = commandText(instruction)
  const flag = (name: string) => {
    const value = flagOf(instruction, name)
    return value === undefined ? undefined : expandedText(value, state, scope)
  }
  return {
    kind: 'run',
    args: instruction.json ?? [...(state.config.Shell ?? DEFAULT_SHELL), text],
    // The image's own settings win over ARGs: `runtimeConfig` merges these first.
    env: [...env].map(([name, value]) => `${name}=${value}`),
    script,
    mounts: mountsOf(instruction, state, scope),
    network: choiceOf(flag('network'), '--network', ['default', 'none', 'host']),
    security: choiceOf(flag('security'), '--security', ['sandbox', 'insecure']),
  }
}

function mountsOf(instruction: Instruction, state: StageState, scope: Scope): RunMount[] {
  const mounts: RunMount[] = []
  for (const flag of flagsOf(instruction, 'mount')) {
    const count = mounts.filter(({ type }) => type === 'ssh').length
    const mount = parseMount(expandedText(flag, state, scope), state.config.WorkingDir || '/', count)
    const other = mounts.find(({ target }) => target !== undefined && target === mount.target)
    if (other) throw new WordError(`Two mounts have the target ${mount.target}: give one another`, flag)
    mounts.push(mount)
  }
  return mounts
}

/**
 * A here-document alone is the command: as the shell's text, or as a file to run where it begins with `#!`. With other
 * words before it the shell gets it as it was written. The shell replaces variables, so nobody does before.
 */
function commandText({ text, heredocs }: Instruction): { text: string; script: Document | undefined } {
  const [first] = heredocs
  if (!first) return { text, script: undefined }
  if (heredocs.length > 1 || !announced(text)) {
    const documents = heredocs.map(document => `\n${document.text}${document.name}`).join('')
    return { text: text + documents, script: undefined }
  }
  const body = bodyOf(first)
  if (!body.startsWith('#!')) return { text: body, script: undefined }
  const name = first.name.replaceAll('/', '_')
  return { text: `${SCRIPT_FOLDER}/${name}`, script: { name, text: body } }
}
