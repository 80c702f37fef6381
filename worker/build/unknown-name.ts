import { SlipwayError } from '#shared/errors.ts'
import { nearestOf } from '#shared/nearest.ts'

/** What else a name in a Dockerfile may stand for where it is written. */
export interface KnownNames {
  stages: readonly string[]
  contexts: readonly string[]
}

/** An image's name with a registry, a folder, a tag or a digest is no stage's. */
const MAY_BE_A_STAGE = /^[a-z0-9][a-z0-9_.-]*$/i

/**
 * The fault for a name that is none of the stages and contexts, and was looked for as an image in vain: with the nearest name, and
 * what there is. The registry's word comes first where the name is near nothing, since then it may well be an image's. The code
 * stays the registry's. Other errors stay as they are. Pure.
 */
export function unknownName(error: unknown, name: string, { stages, contexts }: KnownNames): unknown {
  if (!(error instanceof SlipwayError) || !isOfAnImage(error)) return error
  if (contexts.includes(name)) return error // It is known: the image that stands for it is not there.
  const nearest = nearestOf(name.toLowerCase(), [...stages, ...contexts])
  if (nearest === undefined && !MAY_BE_A_STAGE.test(name)) return error
  const facts = { ...error.facts, name, stages, contexts, ...(nearest === undefined ? {} : { nearest }) }
  const known = `the stages here are ${listed(stages)}, the named contexts ${listed(contexts)}`
  const message =
    nearest === undefined
      ? `${error.message} No stage and no context is called ${name}, either: ${known}.`
      : `No stage and no context is called ${name}: did you mean ${nearest}? (${known[0]?.toUpperCase()}${known.slice(1)}.) It was looked for as an image, too: ${error.message}`
  return new SlipwayError(error.code, message, { cause: error, facts })
}

function isOfAnImage({ code }: SlipwayError): boolean {
  return /^(image|upstream|manifest|repository)\./.test(code)
}

const SHOWN = 20

function listed(names: readonly string[]): string {
  if (names.length === 0) return 'none'
  const more = names.length > SHOWN ? ` and ${names.length - SHOWN} more` : ''
  return names.slice(0, SHOWN).join(', ') + more
}
