import { posix } from 'node:path'
import type { Dockerfile, Instruction } from './dockerfile.ts'
import { dockerfileFault } from './dockerfile.ts'
import { DEFAULT_SHELL, type StageState, variablesOf, withConfig, withEnv } from './stage-state.ts'
import { expandWord, expandWords, refuseTooLarge, splitWords, type Variables, WordError } from './words.ts'

/** What an instruction asks for, with every variable in its place. */
export type Step =
  | { kind: 'config'; state: StageState }
  /** Folders that are missing are made, as `user`'s. */
  | { kind: 'folder'; path: string; user: string; state: StageState }
  | { kind: 'run'; args: string[]; env: string[] }
  | CopyStep

export interface CopyStep {
  kind: 'copy'
  sources: string[]
  /** Absolute; a slash at its end says that it is a folder. */
  to: string
  /** A stage by name or number, or an image; undefined is the context. */
  from: string | undefined
  chown: string | undefined
  /** Octal, as a number. */
  chmod: number | undefined
  /** ADD: local archives are unpacked. */
  unpacks: boolean
}

export interface Scope {
  dockerfile: Pick<Dockerfile, 'file' | 'escapeChar'>
  /** Values given with the build. */
  given: Readonly<Record<string, string>>
  /** ARGs before the first FROM, and those of the platform: a stage gets them when it asks. */
  globals: Variables
}

/** Known to RUN without being asked for, and no part of the cache's key (Dockerfile reference, "Predefined ARGs"). */
const PROXIES = ['HTTP_PROXY', 'HTTPS_PROXY', 'FTP_PROXY', 'NO_PROXY', 'ALL_PROXY'].flatMap(name => [
  name,
  name.toLowerCase(),
])

/** One instruction of a stage in the state before it. Throws a Dockerfile's fault with its place. Pure. */
export function interpret(instruction: Instruction, state: StageState, scope: Scope): Step {
  const fault = (why: string) => dockerfileFault({ ...instruction, file: scope.dockerfile.file }, why)
  try {
    const change = CONFIG_CHANGES[instruction.keyword]
    if (change) return { kind: 'config', state: bounded(change(instruction, state, scope)) }
    return fileStep(instruction, state, scope)
  } catch (error) {
    if (error instanceof WordError) throw fault(error.message)
    throw error
  }
}

/** `ARG a b=c` as values, given ones first. Also for the ARGs before the first FROM. */
export function argValues(instruction: Instruction, known: Variables, scope: Scope): [string, string][] {
  const { given, globals, dockerfile } = scope
  const variables = new Map(known)
  return splitWords(instruction.text, dockerfile.escapeChar).flatMap(word => {
    const at = word.indexOf('=')
    const name = at < 0 ? word : word.slice(0, at)
    const usual = at < 0 ? globals.get(name) : expandWord(word.slice(at + 1), variables, dockerfile.escapeChar)
    const value = Object.hasOwn(given, name) ? given[name] : usual
    if (value === undefined) return []
    variables.set(name, value)
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
    args: new Map([...state.args, ...argValues(instruction, variablesOf(state), scope)]),
  }),
  ENV: (instruction, state, scope) => withEnv(state, pairs(instruction, state, scope)),
  LABEL: (instruction, state, scope) =>
    withConfig(state, {
      Labels: { ...state.config.Labels, ...Object.fromEntries(pairs(instruction, state, scope)) },
    }),
  USER: (instruction, state, scope) => withConfig(state, { User: expanded(instruction, state, scope) }),
  STOPSIGNAL: (instruction, state, scope) => withConfig(state, { StopSignal: expanded(instruction, state, scope) }),
  MAINTAINER: ({ text }, state) => ({ ...state, author: text }),
  SHELL: ({ json }, state) => {
    if (!json || json.length === 0) throw new WordError('SHELL takes a JSON array, such as SHELL ["/bin/sh", "-c"]')
    return withConfig(state, { Shell: json })
  },
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
            .flatMap(exposed)
            .map(port => [port, {}]),
        ),
      },
    }),
  VOLUME: (instruction, state, scope) =>
    withConfig(state, {
      Volumes: {
        ...state.config.Volumes,
        ...Object.fromEntries(words(instruction, state, scope).map(path => [path, {}])),
      },
    }),
}

function fileStep(instruction: Instruction, state: StageState, scope: Scope): Step {
  switch (instruction.keyword) {
    case 'WORKDIR': {
      const path = posix.resolve('/', state.config.WorkingDir ?? '', expanded(instruction, state, scope))
      return { kind: 'folder', path, user: state.config.User ?? '', state: withConfig(state, { WorkingDir: path }) }
    }
    case 'RUN':
      return runStep(instruction, state, scope)
    case 'COPY':
    case 'ADD':
      return copyStep(instruction, state, scope)
    default:
      throw new WordError(`Unknown instruction: ${instruction.keyword}`)
  }
}

function runStep(instruction: Instruction, state: StageState, scope: Scope): Step {
  refuseFlags(instruction, [], scope)
  const proxies = PROXIES.filter(name => scope.given[name] !== undefined)
  const env = new Map([...proxies.map(name => [name, scope.given[name] ?? ''] as [string, string]), ...state.args])
  return {
    kind: 'run',
    args: commandOf(instruction, state),
    // The image's own settings win over ARGs: `runtimeConfig` merges these first.
    env: [...env].map(([name, value]) => `${name}=${value}`),
  }
}

/** As `git clone` takes it. */
const GIT_OVER_SSH = /^[\w-]+@[\w.-]+:/

function copyStep(instruction: Instruction, state: StageState, scope: Scope): CopyStep {
  const isCopy = instruction.keyword === 'COPY'
  refuseFlags(instruction, isCopy ? ['from', 'chown', 'chmod', 'link'] : ['chown', 'chmod', 'link'], scope)
  const flag = (name: string) => {
    const value = instruction.flags.findLast(given => given.name === name)?.value
    return value === undefined ? undefined : expandWord(value, variablesOf(state), scope.dockerfile.escapeChar)
  }
  const paths = words(instruction, state, scope)
  const destination = paths.at(-1)
  const sources = paths.slice(0, -1)
  if (destination === undefined || sources.length === 0) {
    throw new WordError(`${instruction.keyword} takes one or more sources and a destination`)
  }
  if (sources.some(source => /^(https?|git|ssh):\/\//.test(source) || (!isCopy && GIT_OVER_SSH.test(source)))) {
    const place = { ...instruction, file: scope.dockerfile.file }
    throw dockerfileFault(place, 'ADD of a URL is not supported yet: use RUN', 'build.instruction-unsupported')
  }
  const to = posix.resolve('/', state.config.WorkingDir ?? '', destination)
  const isFolder = /(^|\/)\.{0,2}$/.test(destination)
  if (sources.length > 1 && !isFolder) {
    throw new WordError(`Several sources need a destination that is a folder: write ${destination}/`)
  }
  return {
    kind: 'copy',
    sources,
    to: isFolder && to !== '/' ? `${to}/` : to,
    from: flag('from'),
    chown: flag('chown'),
    chmod: modeOf(flag('chmod')),
    unpacks: !isCopy,
  }
}

function modeOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  if (/^[0-7]{3,4}$/.test(text)) return Number.parseInt(text, 8)
  throw new WordError(`--chmod takes an octal mode such as 0755, not ${JSON.stringify(text)}`)
}

function refuseFlags(instruction: Instruction, known: string[], scope: Scope): void {
  const unknown = instruction.flags.find(({ name }) => !known.includes(name))
  if (!unknown) return
  const why = `${instruction.keyword} --${unknown.name} is not supported yet: leave it out`
  throw dockerfileFault({ ...instruction, file: scope.dockerfile.file }, why, 'build.instruction-unsupported')
}

function commandOf({ json, text }: Instruction, { config }: StageState): string[] {
  return json ?? [...(config.Shell ?? DEFAULT_SHELL), text]
}

function expanded({ text }: Instruction, state: StageState, scope: Scope): string {
  return expandWord(text, variablesOf(state), scope.dockerfile.escapeChar)
}

function words({ json, text }: Instruction, state: StageState, scope: Scope): string[] {
  const { escapeChar } = scope.dockerfile
  const variables = variablesOf(state)
  return expandWords(json ?? splitWords(text, escapeChar), variables, escapeChar).filter(Boolean)
}

/** `A=1 B="x y"`, or the old form `A the rest`. All values see what was before the instruction. */
function pairs(instruction: Instruction, state: StageState, scope: Scope): [string, string][] {
  const { escapeChar } = scope.dockerfile
  const variables = variablesOf(state)
  const found = splitWords(instruction.text, escapeChar)
  if (!found[0]?.includes('=')) {
    const [, name = '', value = ''] = /^(\S+)\s+(.*)$/s.exec(instruction.text) ?? []
    if (name === '') throw new WordError(`${instruction.keyword} takes name=value`)
    return inPairs(expandWords([name, value], variables, escapeChar))
  }
  const halves = found.flatMap(word => {
    const at = word.indexOf('=')
    if (at < 1) throw new WordError(`${instruction.keyword} takes name=value, not ${word}`)
    return [word.slice(0, at), word.slice(at + 1)]
  })
  return inPairs(expandWords(halves, variables, escapeChar))
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
    throw new WordError(`${JSON.stringify(text)} is no port: write 80, 80/udp or 8000-8010`)
  }
  return Array.from({ length: to - from + 1 }, (_, at) => `${from + at}/${protocol.toLowerCase()}`)
}
