import { sql } from 'drizzle-orm'
import type { Digest } from '#shared/digest.ts'
import type { Database } from './database.ts'

/** Bytes by what needs them: edges of manifests in repositories, each blob counted once. */

export interface RepositoryRow {
  name: string
  tagCount: number
  manifestCount: number
  size: number
  updatedAt: number
}

/** Repositories by name, after one of them. Costs a look at every manifest of the page's repositories and what it names. */
export function listRepositoryRows(db: Database, after: string, limit: number): Promise<RepositoryRow[]> {
  return repositoryRows(db, sql`r.repository > ${after}`, limit)
}

export async function findRepositoryRow(db: Database, repository: string): Promise<RepositoryRow | undefined> {
  const rows = await repositoryRows(db, sql`r.repository = ${repository}`, 1)
  return rows[0]
}

function repositoryRows(db: Database, where: ReturnType<typeof sql>, limit: number): Promise<RepositoryRow[]> {
  return db.all<RepositoryRow>(sql`select r.repository as name, count(*) as manifestCount,
      (select count(*) from tags t where t.repository = r.repository) as tagCount,
      max(max(r.pushed_at), coalesce((select max(t.updated_at) from tags t where t.repository = r.repository), 0)) as updatedAt,
      (select coalesce(sum(b.size), 0) from blobs b where b.digest in (select e.child from repository_manifests m
        join manifest_edges e on e.parent = m.digest where m.repository = r.repository)) as size
    from repository_manifests r where ${where} group by r.repository order by r.repository limit ${limit}`)
}

/** Bytes that a repository needs, and which of them another one needs as well. */
export async function usageOf(db: Database, repository: string): Promise<{ total: number; shared: number }> {
  return db.get<{ total: number; shared: number }>(sql`select coalesce(sum(b.size), 0) as total,
      coalesce(sum(case when exists (select 1 from manifest_edges e join repository_manifests o on o.digest = e.parent
        where e.child = b.digest and o.repository <> ${repository}) then b.size else 0 end), 0) as shared
    from blobs b where b.digest in (select e.child from repository_manifests m
      join manifest_edges e on e.parent = m.digest where m.repository = ${repository})`)
}

export interface TagUsage {
  tag: string
  digest: Digest
  mediaType: string
  size: number
  updatedAt: number
}

/** Tags by name, after one of them, with the bytes of all that each names, however deep. */
export function listTagUsage(db: Database, repository: string, after: string, limit: number): Promise<TagUsage[]> {
  return db.all<TagUsage>(sql`with recursive
    page as (select * from tags where repository = ${repository} and tag > ${after} order by tag limit ${limit}),
    tree(root, digest) as (select digest, digest from page
      union select root, child from tree join manifest_edges on parent = tree.digest),
    sizes as (select root, sum(b.size) as size from tree join blobs b on b.digest = tree.digest group by root)
    select page.tag, page.digest, m.media_type as mediaType, coalesce(sizes.size, 0) as size, page.updated_at as updatedAt
    from page join manifests m on m.digest = page.digest left join sizes on sizes.root = page.digest order by page.tag`)
}

export interface ImageSizes {
  digest: Digest
  total: number
  shared: number
  /** Of the layers' tars; null while one of them is not known, be it that an upstream alone has the layer. */
  unpacked: number | null
}

/** Bytes of images, and which of them other manifests that some repository holds need as well. */
export function sizesOfImages(db: Database, digests: readonly Digest[]): Promise<ImageSizes[]> {
  return db.all<ImageSizes>(sql`select e.parent as digest, coalesce(sum(b.size), 0) as total,
      sum(case when exists (select 1 from manifest_edges o join repository_manifests r on r.digest = o.parent
        where o.child = e.child and o.parent <> e.parent) then coalesce(b.size, 0) else 0 end) as shared,
      case when sum(e.position > 0 and b.unpacked_bytes is null) = 0
        then coalesce(sum(case when e.position > 0 then b.unpacked_bytes end), 0) end as unpacked
    from json_each(${JSON.stringify(digests)}) as page
    join manifest_edges e on e.parent = page.value left join blobs b on b.digest = e.child group by e.parent`)
}
