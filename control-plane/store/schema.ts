import { sql } from 'drizzle-orm'
import { index, integer, primaryKey, sqliteTable, text, uniqueIndex } from 'drizzle-orm/sqlite-core'
import type { Digest } from '#shared/digest.ts'
import type { ContainerGoal, ContainerSpec, ObservedState, SignalOrder } from '#shared/domain/container.ts'
import type { DiskUsage, HostFacts } from '#shared/domain/host.ts'
import type { ContainerId, ContextId, HostId, TokenId, UploadId } from '#shared/domain/ids.ts'
import type { WriterState } from '#shared/ports/blob-store.ts'
import type { RetentionRule } from '#shared/protocol/retention.ts'

/** Times are milliseconds since 1970. One writer a field (DESIGN §5.2): `observed*` belongs to ingest, the rest to intent. */

export const tokens = sqliteTable(
  'tokens',
  {
    id: text().$type<TokenId>().primaryKey(),
    name: text().notNull(),
    /** SHA-256 of the token, hex: the token itself has 160 random bits, so no slow hash is needed. */
    hash: text().notNull(),
    /** A host's token reaches `/v1/agent` for that host and nothing else; null is an operator's. */
    hostId: text().$type<HostId>(),
    /** `repository:PATTERN:pull,push,delete`; a token that has them reaches the registry alone. Null: everything. */
    scopes: text({ mode: 'json' }).$type<string[]>(),
    createdAt: integer().notNull(),
  },
  table => [uniqueIndex('tokens_hash').on(table.hash)],
)

/** Texts that others must not see, sealed (`intent/secret-box.ts`). */
export const secrets = sqliteTable('secrets', {
  name: text().primaryKey(),
  sealed: text().notNull(),
  createdAt: integer().notNull(),
  updatedAt: integer().notNull(),
})

export const hosts = sqliteTable(
  'hosts',
  {
    id: text().$type<HostId>().primaryKey(),
    name: text().notNull(),
    /** Position of this host's subnet in the address pool. */
    subnetIndex: integer().notNull(),
    generation: integer().notNull().default(0),
    createdAt: integer().notNull(),
    observedGeneration: integer().notNull().default(0),
    /** Since when it has been heard of without a silence: who was cut off itself cannot say that others are gone. */
    observedSince: integer(),
    observedFacts: text({ mode: 'json' }).$type<HostFacts>(),
    observedDisk: text({ mode: 'json' }).$type<DiskUsage>(),
    observedAt: integer(),
  },
  table => [uniqueIndex('hosts_name').on(table.name), uniqueIndex('hosts_subnet').on(table.subnetIndex)],
)

export const containers = sqliteTable(
  'containers',
  {
    id: text().$type<ContainerId>().primaryKey(),
    name: text().notNull(),
    hostId: text().$type<HostId>().notNull(),
    generation: integer().notNull(),
    spec: text({ mode: 'json' }).$type<ContainerSpec>().notNull(),
    goal: text({ mode: 'json' }).$type<ContainerGoal>().notNull(),
    signal: text({ mode: 'json' }).$type<SignalOrder>(),
    /** Last octets of the address below the host's subnet: 2 is the first container. */
    addressIndex: integer().notNull(),
    createdAt: integer().notNull(),
    observed: text({ mode: 'json' }).$type<ObservedState>(),
    observedGeneration: integer().notNull().default(0),
    observedAt: integer(),
    observedRestarts: integer().notNull().default(0),
    observedWritableBytes: integer(),
    observedVirtualBytes: integer(),
  },
  table => [
    uniqueIndex('containers_name').on(table.name),
    uniqueIndex('containers_address').on(table.hostId, table.addressIndex),
    index('containers_host_generation').on(table.hostId, table.generation),
    index('containers_created').on(table.createdAt, table.id),
    index('containers_image').on(sql`${table.spec} ->> 'imageDigest'`),
  ],
)

/** One row a published port: the unique index is what refuses a clash, whoever asks at the same moment. */
export const publishedPorts = sqliteTable(
  'published_ports',
  {
    hostId: text().$type<HostId>().notNull(),
    protocol: text().notNull(),
    hostPort: integer().notNull(),
    containerId: text().$type<ContainerId>().notNull(),
  },
  table => [
    primaryKey({ columns: [table.hostId, table.protocol, table.hostPort] }),
    index('published_ports_container').on(table.containerId),
  ],
)

export const contexts = sqliteTable('contexts', {
  id: text().$type<ContextId>().primaryKey(),
  createdAt: integer().notNull(),
  expiresAt: integer().notNull(),
})

export * from './build-tables.ts'
export * from './cache-mount-tables.ts'

/**
 * Bytes that are whole and verified. A digest is stored once, whatever repositories link it; the object behind it has a
 * name of its own, so that removing an old object can never hit one that was pushed again meanwhile.
 */
export const blobs = sqliteTable(
  'blobs',
  {
    digest: text().$type<Digest>().primaryKey(),
    objectKey: text().notNull(),
    size: integer().notNull(),
    createdAt: integer().notNull(),
    /** When somebody was last told that it is here: what is found this way is not collected for a while. */
    touchedAt: integer().notNull(),
    /** Bytes of a layer's tar, as the first host that had it in hand said; null until one did. */
    unpackedBytes: integer(),
  },
  table => [uniqueIndex('blobs_object_key').on(table.objectKey), index('blobs_touched').on(table.touchedAt)],
)

/** Which repository may hand a blob out. */
export const repositoryBlobs = sqliteTable(
  'repository_blobs',
  {
    repository: text().notNull(),
    digest: text().$type<Digest>().notNull(),
    linkedAt: integer().notNull(),
  },
  table => [
    primaryKey({ columns: [table.repository, table.digest] }),
    index('repository_blobs_digest').on(table.digest),
  ],
)

/** Manifests and indexes, each once. `config` and what follows it are there for images that can be run. */
export const manifests = sqliteTable(
  'manifests',
  {
    digest: text().$type<Digest>().primaryKey(),
    mediaType: text().notNull(),
    /** Bytes of the document itself. */
    size: integer().notNull(),
    /** The exact bytes that the digest is of; null for large ones, which are objects: a row of D1 has at most 2 MB. */
    body: text(),
    objectKey: text(),
    artifactType: text(),
    annotations: text({ mode: 'json' }).$type<Record<string, string>>(),
    config: text(),
    architecture: text(),
    os: text(),
    variant: text(),
    /** Compressed bytes of configuration and layers. */
    imageSize: integer().notNull().default(0),
    createdAt: integer().notNull(),
    touchedAt: integer().notNull(),
  },
  table => [
    index('manifests_created').on(table.createdAt, table.digest),
    index('manifests_touched').on(table.touchedAt),
  ],
)

/** What a manifest names: blobs, or manifests of an index, in its order. The marks of garbage collection. */
export const manifestEdges = sqliteTable(
  'manifest_edges',
  {
    parent: text().$type<Digest>().notNull(),
    child: text().$type<Digest>().notNull(),
    position: integer().notNull(),
  },
  table => [primaryKey({ columns: [table.parent, table.child] }), index('manifest_edges_child').on(table.child)],
)

/** A manifest in a repository, tagged or not; `subject` makes it one of the subject's referrers. */
export const repositoryManifests = sqliteTable(
  'repository_manifests',
  {
    repository: text().notNull(),
    digest: text().$type<Digest>().notNull(),
    subject: text().$type<Digest>(),
    pushedAt: integer().notNull(),
    /** When a tag last stopped naming it: what was tagged until now is not old as an untagged one. */
    untaggedAt: integer(),
  },
  table => [
    primaryKey({ columns: [table.repository, table.digest] }),
    index('repository_manifests_digest').on(table.digest),
    index('repository_manifests_subject').on(table.repository, table.subject),
  ],
)

/**
 * Bytes on their way: a client's upload session, what an agent uploads by a signed URL (`digest` set), or what is pulled
 * from an upstream (both set; its id is made of the digest, so that there is one for all who want it).
 */
export const uploads = sqliteTable(
  'uploads',
  {
    id: text().$type<UploadId>().primaryKey(),
    /** Null for an agent's, which names its repositories when it publishes. */
    repository: text(),
    objectKey: text().notNull(),
    digest: text().$type<Digest>(),
    /** Bytes taken so far; an agent's: bytes that will come. */
    size: integer().notNull().default(0),
    /** Where the object's writer goes on. */
    writerState: text().$type<WriterState>(),
    /** Digest of the bytes so far, while one request brought them all; null once that is not known. */
    digestSoFar: text().$type<Digest>(),
    /** Who writes now, and since when it was last heard of. */
    claim: text(),
    claimedAt: integer().notNull().default(0),
    expiresAt: integer().notNull(),
    /** Where the hash of an upload in chunks goes on (`registry/running-hash.ts`). */
    hashState: text(),
    /** The store's id of an upload in parts (`SignedParts`), and a JSON object of the tags of the parts that came, by number. */
    partsId: text(),
    partTags: text(),
  },
  table => [index('uploads_expires').on(table.expiresAt), index('uploads_digest').on(table.digest)],
)

/** Blobs that a manifest from an upstream names, whether or not they were fetched: where to get them. */
export const upstreamBlobs = sqliteTable(
  'upstream_blobs',
  {
    /** Ours, that may hand it out. */
    repository: text().notNull(),
    digest: text().$type<Digest>().notNull(),
    /** The repository that was pulled through (`docker.io/library/debian`): the same, or what a tag was copied from. */
    source: text().notNull(),
    size: integer().notNull(),
  },
  table => [primaryKey({ columns: [table.repository, table.digest] }), index('upstream_blobs_digest').on(table.digest)],
)

/** When a tag of an upstream was last looked up there. */
export const upstreamTags = sqliteTable(
  'upstream_tags',
  {
    repository: text().notNull(),
    tag: text().notNull(),
    checkedAt: integer().notNull(),
  },
  table => [primaryKey({ columns: [table.repository, table.tag] })],
)

/** Objects that nothing names any more; they go once no signed URL for them works. */
export const doomedObjects = sqliteTable(
  'doomed_objects',
  { objectKey: text().primaryKey(), since: integer().notNull() },
  table => [index('doomed_objects_since').on(table.since)],
)

export const tags = sqliteTable(
  'tags',
  {
    repository: text().notNull(),
    tag: text().notNull(),
    digest: text().$type<Digest>().notNull(),
    updatedAt: integer().notNull(),
  },
  table => [
    primaryKey({ columns: [table.repository, table.tag] }),
    index('tags_digest').on(table.digest),
    index('tags_updated').on(table.repository, table.updatedAt, table.tag),
  ],
)

/** What may go by itself, in the order in which rules are tried: the first that matches a repository decides. */
export const retentionRules = sqliteTable('retention_rules', {
  position: integer().primaryKey(),
  rule: text({ mode: 'json' }).$type<RetentionRule>().notNull(),
})

/** How far a sweep that goes through the store slice by slice has come. */
export const sweepPositions = sqliteTable('sweep_positions', {
  name: text().primaryKey(),
  position: text({ mode: 'json' }).$type<unknown>().notNull(),
})

export const events = sqliteTable('events', {
  seq: integer().primaryKey({ autoIncrement: true }),
  at: integer().notNull(),
  /** `container.start`, `build.succeeded`, `host.ready`… */
  type: text().notNull(),
  subjectId: text().notNull(),
  data: text({ mode: 'json' }).$type<Record<string, unknown>>().notNull().default(sql`'{}'`),
})

/** Written in the same batch as what the key created: a repeat finds both or neither, whatever died in between. */
export const idempotencyKeys = sqliteTable(
  'idempotency_keys',
  {
    tokenId: text().$type<TokenId>().notNull(),
    key: text().notNull(),
    requestHash: text().notNull(),
    subjectId: text().notNull(),
    createdAt: integer().notNull(),
  },
  table => [primaryKey({ columns: [table.tokenId, table.key] })],
)
