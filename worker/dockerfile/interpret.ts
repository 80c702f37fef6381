import { posix } from 'node:path'
import { signalName } from '#shared/domain/signal.ts'
import { copyStep } from './copy-step.ts'
import { dockerfileFault } from './fault.ts'
import { healthCheck } from './health-check.ts'
import { type Instruction, placeOf } from './instruction.ts'
import { runStep } from './run-step.ts'
import { expandedText, type Scope, words } from './scope.ts'
import { DEFAULT_SHELL, type StageState, variablesOf, withConfig, withEnv } from './stage-state.ts'
import type { Step } from './step.ts'
import { expandWord, expandWords, refuseTooLarge, splitWords, type Variables, WordError } from './words.ts'

/** One instruction of a stage in the state before it. Throws a Dockerfile's fault with its place. Pure. */
export function interpret(instruction: Instruction, state: StageState, scope: Scope): Step {
  try {
    const change = CONFIG_CHANGES[instruction.keyword]
    if (change) return { kind: 'config', state: bounded(change(instruction, state, scope)) }
    return fileStep(instruction, state, scope)
  } catch (error) {
    throw inPlace(error, instruction, scope.dockerfile.file)
  }
}

/** A fault of words becomes one of the Dockerfile, at the part of the instruction that it is about. */
export function inPlace(error: unknown, instruction: Instruction, file: string): unknown {
  if (!(error instanceof WordError)) return error
  return dockerfileFault({ ...placeOf(instruction, error.part), file }, error.message)
}

/**
 * `ARG a b=c` as values, given ones first. Before the first FROM a default sees those to its left, in a stage only what was
 * known before the instruction, as with BuildKit.
 */
export function argValues(
  instruction: Instruction,
  known: Variables,
  scope: Scope,
  where: 'global' | 'stage',
): [string, string][] {
  const { given, globals, dockerfile } = scope
  const variables = new Map(known)
  return splitWords(instruction.text, dockerfile.escapeChar).flatMap(word => {
    const at = word.indexOf('=')
    const name = at < 0 ? word : word.slice(0, at)
    if (name === '') throw new WordError(`ARG takes a name, or name=default, not ${word}`, word)
    const usual = at < 0 ? globals.get(name) : expandWord(word.slice(at + 1), variables, dockerfile.escapeChar, scope)
    const value = Object.hasOwn(given, name) ? given[name] : usual
    if (value === undefined) return []
    if (where === 'global') variables.set(name, value)
    return [[name, value] as [string, string]]
  })
}

function bounded(state: StageState): StageState {
  const { Env, Labels, Volumes } = state.config
  const records = [...Object.entries(Labels ?? {}), ...state.args].flat()
  refuseTooLarge([...(Env ?? []), ...Object.keys(Volumes ?? {}), ...records])
  return state
}

type Change = (instruction: Instruction, state: StageState, scope: Scope) => StageState

const CONFIG_CHANGES: Record<string, Change> = {
  ARG: (instruction, state, scope) => ({
    ...state,
    args: new Map([...state.args, ...argValues(instruction, variablesOf(state), scope, 'stage')]),
  }),
  ENV: (instruction, state, scope) => withEnv(state, pairs(instruction, state, scope)),
  LABEL: (instruction, state, scope) =>
    withConfig(state, {
      Labels: { ...state.config.Labels, ...Object.fromEntries(pairs(instruction, state, scope)) },
    }),
  USER: (instruction, state, scope) => withConfig(state, { User: expandedText(instruction.text, state, scope) }),
  STOPSIGNAL: (instruction, state, scope) => {
    const signal = expandedText(instruction.text, state, scope)
    if (signalName(signal)) return withConfig(state, { StopSignal: signal })
    throw new WordError(`${signal} is no signal: write a name such as SIGTERM, or a number`, instruction.text)
  },
  MAINTAINER: ({ text }, state) => ({ ...state, author: text }),
  SHELL: ({ json }, state) => withConfig(state, { Shell: json ?? [] }),
  HEALTHCHECK: (instruction, state, scope) =>
    withConfig(state, { Healthcheck: healthCheck(instruction, scope.dockerfile.file) }),
  ONBUILD: (instruction, state) =>
    withConfig(state, { OnBuild: [...(state.config.OnBuild ?? []), triggerText(instruction)] }),
  CMD: (instruction, state) => ({
    ...withConfig(state, { Cmd: commandOf(instruction, state) }),
    hasOwnCommand: true,
  }),
  ENTRYPOINT: (instruction, state) => {
    const { Cmd: command, ...rest } = state.config
    const kept = state.hasOwnCommand && command !== undefined ? { Cmd: command } : {}
    return { ...state, config: { ...rest, ...kept, Entrypoint: commandOf(instruction, state) } }
  },
  EXPOSE: (instruction, state, scope) =>
    withConfig(state, {
      ExposedPorts: {
        ...state.config.ExposedPorts,
        ...Object.fromEntries(
          words(instruction, state, scope)
            .flatMap(word => word.split(/\s+/).filter(Boolean))
            .flatMap(exposed)
            .map(port => [port, {}]),
        ),
      },
    }),
  VOLUME: (instruction, state, scope) =>
    withConfig(state, {
      Volumes: {
        ...state.config.Volumes,
        ...Object.fromEntries(volumes(instruction, state, scope).map(path => [path, {}])),
      },
    }),
}

function volumes(instruction: Instruction, state: StageState, scope: Scope): string[] {
  const paths = words(instruction, state, scope)
  if (paths.length > 0) return paths
  throw new WordError('VOLUME takes folders, and there is none', instruction.text)
}

/** As whoever builds on the image reads it again. */
function triggerText({ text, heredocs }: Instruction): string {
  return text + heredocs.map(document => `\n${document.text}${document.name}`).join('')
}

function fileStep(instruction: Instruction, state: StageState, scope: Scope): Step {
  switch (instruction.keyword) {
    case 'WORKDIR': {
      const path = posix.resolve('/', state.config.WorkingDir ?? '', expandedText(instruction.text, state, scope))
      return { kind: 'folder', path, user: state.config.User ?? '', state: withConfig(state, { WorkingDir: path }) }
    }
    case 'RUN':
      return runStep(instruction, state, scope)
    case 'COPY':
    case 'ADD':
      return copyStep(instruction, state, scope)
    default:
      throw new WordError(`${instruction.keyword} cannot stand here`)
  }
}

function commandOf({ json, text }: Instruction, { config }: StageState): string[] {
  return json ?? [...(config.Shell ?? DEFAULT_SHELL), text]
}

/** `A=1 B="x y"`, or the old form `A the rest`. All values see what was before the instruction. */
function pairs(instruction: Instruction, state: StageState, scope: Scope): [string, string][] {
  const { escapeChar } = scope.dockerfile
  const variables = variablesOf(state)
  const found = splitWords(instruction.text, escapeChar)
  if (!found[0]?.includes('=')) {
    const [, name = '', value = ''] = /^(\S+)\s+(.*)$/s.exec(instruction.text) ?? []
    if (name === '') throw new WordError(`${instruction.keyword} takes name=value`, instruction.text)
    return inPairs(expandWords([name, value], variables, escapeChar, scope))
  }
  const halves = found.flatMap(word => {
    const at = word.indexOf('=')
    if (at < 1) throw new WordError(`${instruction.keyword} takes name=value, not ${word}`, word)
    return [word.slice(0, at), word.slice(at + 1)]
  })
  return inPairs(expandWords(halves, variables, escapeChar, scope))
}

function inPairs(words: readonly string[]): [string, string][] {
  const pairOf = (at: number): [string, string] => [words[2 * at] ?? '', words[2 * at + 1] ?? '']
  return Array.from({ length: words.length / 2 }, (_, at) => pairOf(at))
}

const PORT_LIMIT = 65535

function exposed(text: string): string[] {
  const [, first = '', last = first, protocol = 'tcp'] = /^(\d{1,5})(?:-(\d{1,5}))?(?:\/([a-z]+))?$/i.exec(text) ?? []
  const [from, to] = [Number(first), Number(last)]
  if (first === '' || from < 1 || to > PORT_LIMIT || from > to || !/^(tcp|udp|sctp)$/i.test(protocol)) {
    throw new WordError(`${JSON.stringify(text)} is no port: write 80, 80/udp or 8000-8010`, text)
  }
  return Array.from({ length: to - from + 1 }, (_, at) => `${from + at}/${protocol.toLowerCase()}`)
}
