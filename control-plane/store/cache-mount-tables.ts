import { index, integer, sqliteTable, text } from 'drizzle-orm/sqlite-core'
import type { Digest } from '#shared/digest.ts'
import type { BuildId, HostId } from '#shared/domain/ids.ts'

/** What hosts saved of cache mounts; the rules of `schema.ts`, which has all tables. A row keeps its blob from being collected. */
export const cacheMounts = sqliteTable(
  'cache_mounts',
  {
    /** A digest of id and architecture (`intent/cache-mounts.ts`): an id is any text. */
    key: text().primaryKey(),
    mountId: text().notNull(),
    architecture: text().notNull(),
    digest: text().$type<Digest>().notNull(),
    size: integer().notNull(),
    /** Of the tar in it. */
    diffId: text().$type<Digest>().notNull(),
    unpackedBytes: integer().notNull(),
    buildId: text().$type<BuildId>().notNull(),
    hostId: text().$type<HostId>().notNull(),
    savedAt: integer().notNull(),
    usedAt: integer().notNull(),
  },
  table => [index('cache_mounts_digest').on(table.digest), index('cache_mounts_used').on(table.usedAt)],
)
