import { BRANCH, TAG } from './push-filter.ts'

const PLACEHOLDER = /\{(branch|tag|commit|short)\}/g
const SHORT = 12

/**
 * The tags of a push's image: placeholders become the push's names, in letters that a tag may have; one that asks for what
 * the push is not, a tag of a branch, is left out. Pure.
 */
export function imageTags(templates: readonly string[], push: { ref: string; commit: string }): string[] {
  const known: Record<string, string | undefined> = {
    branch: push.ref.startsWith(BRANCH) ? tagLike(push.ref.slice(BRANCH.length)) : undefined,
    tag: push.ref.startsWith(TAG) ? tagLike(push.ref.slice(TAG.length)) : undefined,
    ...{ commit: push.commit, short: push.commit.slice(0, SHORT) },
  }
  const isKnown = (template: string) =>
    Array.from(template.matchAll(PLACEHOLDER), ([, name = '']) => known[name]).every(value => value !== undefined)
  const filled = templates
    .filter(isKnown)
    .map(text => text.replace(PLACEHOLDER, (_, name: string) => known[name] ?? ''))
  return [...new Set(filled.map(cut))]
}

/** What is left of a template once placeholders are something: to see whether it can be a tag at all. */
export function exampleTag(template: string): string {
  return template.replace(PLACEHOLDER, 'x')
}

/** The OCI distribution specification's form of tags; its beginning has fewer letters to choose from. */
function tagLike(name: string): string {
  return name.replace(/[^A-Za-z0-9_.-]/g, '-').replace(/^[.-]+/, '') || 'x'
}

/** A tag has at most 128 characters. */
function cut(reference: string): string {
  const colon = reference.lastIndexOf(':')
  return colon === -1 ? reference : reference.slice(0, colon + 1 + 128)
}
