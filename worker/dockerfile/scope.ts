import type { Dockerfile } from './dockerfile.ts'
import type { Instruction } from './instruction.ts'
import { type StageState, variablesOf } from './stage-state.ts'
import { expandWord, expandWords, type Reading, splitWords, type Variables } from './words.ts'

export interface Scope {
  dockerfile: Pick<Dockerfile, 'file' | 'escapeChar'>
  /** Values given with the build. */
  given: Readonly<Record<string, string>>
  /** ARGs before the first FROM, and those of the platform: a stage gets them when it asks. */
  globals: Variables
  /** Told of each variable that is used and has no value. */
  onUnset?: ((name: string) => void) | undefined
}

/** Known to RUN without being asked for, and no part of the cache's key (Dockerfile reference, "Predefined ARGs"). */
export const PROXIES = ['HTTP_PROXY', 'HTTPS_PROXY', 'FTP_PROXY', 'NO_PROXY', 'ALL_PROXY'].flatMap(name => [
  name,
  name.toLowerCase(),
])

/** A text of an instruction with the variables of its stage. */
export function expandedText(text: string, state: StageState, scope: Scope, reading?: Reading): string {
  return expandWord(text, variablesOf(state), scope.dockerfile.escapeChar, { ...reading, onUnset: scope.onUnset })
}

/** The words of an instruction, from JSON or from its text. */
export function words({ json, text }: Instruction, state: StageState, scope: Scope): string[] {
  const { escapeChar } = scope.dockerfile
  const written = json ?? splitWords(text, escapeChar)
  return expandWords(written, variablesOf(state), escapeChar, { onUnset: scope.onUnset }).filter(Boolean)
}
