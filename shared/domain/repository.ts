import { z } from 'zod'
import { SlipwayError } from '../errors.ts'

export type Repository = string & { readonly __repository: true }

// distribution-spec 1.1, "Pulling manifests": the grammars of <name> and of <reference> as a tag. What is pulled through
// from a registry with a port (`registry.example.com:5000/team/app`) keeps it in its name.
const NAME =
  /^(?:[a-z0-9]+(?:[.-][a-z0-9]+)*:\d{1,5}\/)?[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/
const NAME_LIMIT = 255
const TAG = /^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/

export function isTag(text: string): boolean {
  return TAG.test(text)
}

/** Errors: `repository.name-invalid`. */
export function parseRepository(text: string): Repository {
  if (text.length <= NAME_LIMIT && NAME.test(text)) return text as Repository
  throw new SlipwayError(
    'repository.name-invalid',
    `${JSON.stringify(text.slice(0, NAME_LIMIT))} is no repository: use lower-case letters and digits, with . _ - and / between them, at most ${NAME_LIMIT} characters.`,
  )
}

export const ACTIONS = ['pull', 'push', 'delete'] as const
export type Action = (typeof ACTIONS)[number]

const SCOPE = /^repository:([a-z0-9*][a-z0-9*._/:-]*):((?:pull|push|delete)(?:,(?:pull|push|delete))*)$/

/** `repository:PATTERN:pull,push,delete`, as Docker writes scopes; `*` in the pattern stands for any characters. */
export const scopeSchema = z
  .string()
  .max(512)
  .regex(
    SCOPE,
    'a scope is repository:PATTERN:ACTIONS, such as repository:team/*:pull,push; actions are pull, push and delete',
  )

/** Whether scopes let their bearer do this there. Null means everything. Pure. */
export function allows(scopes: readonly string[] | null, repository: string, action: Action): boolean {
  if (scopes === null) return true
  return scopes.some(scope => {
    const [, pattern = '', actions = ''] = SCOPE.exec(scope) ?? []
    return actions.split(',').includes(action) && matches(pattern, repository)
  })
}

/** `*` stands for any characters. Walks the pieces between the stars from left to right: linear, whatever the pattern. */
export function matches(pattern: string, text: string): boolean {
  const pieces = pattern.split('*')
  const first = pieces[0] ?? ''
  if (pieces.length === 1) return text === pattern
  if (!text.startsWith(first)) return false
  let at = first.length
  for (const piece of pieces.slice(1, -1)) {
    const found = text.indexOf(piece, at)
    if (found < 0) return false
    at = found + piece.length
  }
  const last = pieces.at(-1) ?? ''
  return text.length - at >= last.length && text.endsWith(last)
}
