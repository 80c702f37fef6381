import type { Repository } from '#shared/domain/repository.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { RepositorySummary, RepositoryView } from '#shared/protocol/repositories.ts'
import type { Ports } from '../ports.ts'
import { containersOfRepository, removeRepository as removeAll } from '../store/manifests.ts'
import { listRepositories, listTags } from '../store/tags.ts'
import { findRepositoryRow, listRepositoryRows, listTagUsage, type RepositoryRow, usageOf } from '../store/usage.ts'
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

/** Repositories that hold a manifest, with what they need of the store. */
export function repositoryPage(ports: Ports, after: string, limit: number): Promise<RepositoryRow[]> {
  return listRepositoryRows(ports.db, after, limit)
}

export function viewRepository({ updatedAt, ...row }: RepositoryRow): RepositorySummary {
  return { ...row, updatedAt: new Date(updatedAt).toISOString() }
}

/** A repository, its usage, and a page of its tags. Errors: `repository.not-found`. */
export async function inspectRepository(
  ports: Ports,
  repository: Repository,
): Promise<Pick<RepositoryView, 'usage'> & RepositorySummary> {
  const row = await findRepositoryRow(ports.db, repository)
  if (!row) throw noRepository(repository)
  const { total, shared } = await usageOf(ports.db, repository)
  return { ...viewRepository(row), usage: { total, shared, unique: total - shared } }
}

export function tagPage(ports: Ports, repository: Repository, after: string, limit: number) {
  return listTagUsage(ports.db, repository, after, limit)
}

/**
 * Removes all tags and manifests of a repository; what no other one needs is collected later.
 * Errors: `image.in-use` while a container runs one of its images, `repository.not-found`.
 */
export async function removeRepository(ports: Ports, repository: Repository): Promise<void> {
  if (await removeAll(ports.db, repository)) return
  const users = (await containersOfRepository(ports.db, repository)).map(({ name }) => name)
  if (users.length === 0) throw noRepository(repository)
  throw new SlipwayError(
    'image.in-use',
    `Images of ${repository} are used by ${users.join(', ')}: remove them first.`,
    {
      facts: { containers: users },
    },
  )
}

function noRepository(repository: string): SlipwayError {
  return new SlipwayError(
    'repository.not-found',
    `There is no repository ${repository}. GET /v1/repositories lists them.`,
  )
}
