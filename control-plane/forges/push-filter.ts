import type { HookFilter } from '#shared/domain/hook.ts'
import type { Push } from './event.ts'
import { matchesGlob } from './glob.ts'

export const BRANCH = 'refs/heads/'
export const TAG = 'refs/tags/'

/**
 * Why a push is not built; undefined: it is. Without a filter every branch is, and no tag; with one for tags or branches
 * alone those alone. Where the forge does not say all that changed, paths keep nothing out. Pure.
 */
export function whyIgnored(push: Push, filter: HookFilter): string | undefined {
  if (push.commit === undefined) return `${push.ref} was deleted`
  if (push.ref.startsWith(TAG)) {
    const tag = push.ref.slice(TAG.length)
    return filter.tags && isWanted(filter.tags, tag) ? undefined : `tag ${tag} is not one that this hook builds`
  }
  if (!push.ref.startsWith(BRANCH)) return `${push.ref} is neither a branch nor a tag`
  const branch = push.ref.slice(BRANCH.length)
  const branches = filter.branches ?? (filter.tags ? [] : ['**'])
  if (!isWanted(branches, branch)) return `branch ${branch} is not one that this hook builds`
  const { paths } = filter
  if (!paths || !push.paths || push.paths.some(path => isWanted(paths, path))) return undefined
  return 'no file changed that this hook looks for'
}

/** The last pattern that is for it decides. */
function isWanted(patterns: readonly string[], text: string): boolean {
  const last = patterns.findLast(pattern => matchesGlob(pattern.replace(/^!/, ''), text))
  return last !== undefined && !last.startsWith('!')
}
