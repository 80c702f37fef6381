import type { Repository } from '#shared/domain/repository.ts'
import type { Ports } from '../ports.ts'
import { listRepositories, listTags } from '../store/tags.ts'
import { requireRepository } from './manifests.ts'

export interface NamePage {
  names: string[]
  /** The name after which the next page begins. */
  next: string | undefined
}

/** Names after `last`, in order, those that may be seen. Reads on until the page is full or the names are over. */
export async function repositoryNames(
  ports: Ports,
  last: string,
  limit: number,
  isVisible: (name: string) => boolean,
): Promise<NamePage> {
  const names: string[] = []
  const size = Math.max(limit, 100) + 1
  for (let after = last; ; ) {
    const some = await listRepositories(ports.db, after, size)
    names.push(...some.filter(isVisible))
    after = some.at(-1) ?? after
    if (some.length < size || names.length > limit) break
  }
  return cut(names, limit)
}

/** Tags after `last` in the order of their bytes. Errors: `repository.not-found`. */
export async function tagNames(ports: Ports, repository: Repository, last: string, limit: number): Promise<NamePage> {
  const names = await listTags(ports.db, repository, last, limit + 1)
  if (names.length === 0) await requireRepository(ports, repository)
  return cut(names, limit)
}

function cut(names: string[], limit: number): NamePage {
  const shown = names.slice(0, limit)
  return { names: shown, next: names.length > limit ? shown.at(-1) : undefined }
}
