import { z } from 'zod'
import { nearestOf } from '#shared/nearest.ts'

const SHOWN = 12

/**
 * The sentence for a field that a strict object has not: with the field that was probably meant, else with those that there are. For
 * zod's `customError`, so that it holds for each body, query and part of one. Other issues keep zod's words. Pure.
 */
export function unknownField(issue: z.core.$ZodRawIssue): string | undefined {
  if (issue.code !== 'unrecognized_keys' || !(issue.inst instanceof z.ZodObject)) return undefined
  const known = Object.keys(issue.inst.shape)
  const [unknown = ''] = issue.keys
  const meant = fieldNear(unknown, known)
  if (meant !== undefined) return `there is no field "${unknown}": did you mean "${meant}"?`
  const more = known.length > SHOWN ? ` and ${known.length - SHOWN} more` : ''
  const fields = known.length === 0 ? 'there is none' : `there are ${known.slice(0, SHOWN).join(', ')}${more}`
  return `there is no field "${unknown}": ${fields}`
}

/** A part of a name that is shorter says nothing. */
const PART_LENGTH = 3

/** Of `known` the same word written otherwise, else one that is in it or has it in itself (`buildArgs`: args), else the nearest. Pure. */
export function fieldNear(word: string, known: readonly string[]): string | undefined {
  const plain = (text: string) => text.replaceAll(/[-_ ]/g, '').toLowerCase()
  const byPlain = new Map(known.map(name => [plain(name), name]))
  const wanted = plain(word)
  const isPart = (name: string) =>
    Math.min(name.length, wanted.length) >= PART_LENGTH && (wanted.includes(name) || name.includes(wanted))
  const parts = [...byPlain.keys()].filter(isPart).sort((a, b) => distance(a, wanted) - distance(b, wanted))
  return byPlain.get(byPlain.has(wanted) ? wanted : (parts[0] ?? nearestOf(wanted, byPlain.keys()) ?? ''))
}

function distance(a: string, b: string): number {
  return Math.abs(a.length - b.length)
}
