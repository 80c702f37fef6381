import type { ImageDefaults } from '#shared/domain/image.ts'
import type { Variables } from './words.ts'

/** What instructions know and change besides files. Never mutated. */
export interface StageState {
  config: ImageDefaults
  /** ARGs that the stage asked for and that have a value. */
  args: Variables
  author: string | undefined
  /** Whether this very stage set CMD: an ENTRYPOINT takes only an inherited one away. */
  hasOwnCommand: boolean
}

/** What an image without a base has, as BuildKit sets it: else no program would be found by name. */
export const DEFAULT_ENV = ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin']
export const DEFAULT_SHELL = ['/bin/sh', '-c']

export function firstState(config: ImageDefaults | undefined, author?: string): StageState {
  return { config: config ?? { Env: DEFAULT_ENV }, args: new Map(), author, hasOwnCommand: false }
}

/** ENV wins over ARG of the same name. */
export function variablesOf(state: StageState): Variables {
  return new Map([...state.args, ...(state.config.Env ?? []).map(splitEntry)])
}

export function withConfig(state: StageState, changes: Partial<ImageDefaults>): StageState {
  return { ...state, config: { ...state.config, ...changes } }
}

/** Names keep their place when they get another value. */
export function withEnv(state: StageState, pairs: readonly [string, string][]): StageState {
  const merged = new Map([...(state.config.Env ?? []).map(splitEntry), ...pairs])
  return withConfig(state, { Env: [...merged].map(([name, value]) => `${name}=${value}`) })
}

/** `NAME=VALUE` in two. */
export function splitEntry(entry: string): [string, string] {
  const at = entry.indexOf('=')
  return at < 0 ? [entry, ''] : [entry.slice(0, at), entry.slice(at + 1)]
}
