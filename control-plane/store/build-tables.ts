import { sql } from 'drizzle-orm'
import { index, integer, primaryKey, sqliteTable, text, uniqueIndex } from 'drizzle-orm/sqlite-core'
import type { Digest } from '#shared/digest.ts'
import type { Attestation } from '#shared/domain/attestation.ts'
import type { BuildSpec, BuildState, BuildTrigger, BuildUpdate, BuildWarning } from '#shared/domain/build.ts'
import type { BuildLimits, Placement } from '#shared/domain/build-needs.ts'
import type { StepResult } from '#shared/domain/cached-step.ts'
import type { CommitStatusTarget, HookSpec } from '#shared/domain/hook.ts'
import type { BuildId, HookId, HostId } from '#shared/domain/ids.ts'
import type { Fault } from '#shared/errors.ts'
import type { BuildLogLine } from '#shared/protocol/agent.ts'

/** Builds and what begins them; the rules of `schema.ts`, which has all tables. */

export const builds = sqliteTable(
  'builds',
  {
    id: text().$type<BuildId>().primaryKey(),
    /** Who has it; null while it waits for a host. Others' calls about it are refused. */
    hostId: text().$type<HostId>(),
    generation: integer().notNull(),
    spec: text({ mode: 'json' }).$type<BuildSpec>().notNull(),
    limits: text({ mode: 'json' }).$type<BuildLimits>().notNull().default({}),
    /** Which hosts may take it. */
    placement: text({ mode: 'json' }).$type<Placement>().notNull().default({}),
    /** What its host's cache is good for: builds of one repository have it in common. */
    lineage: text(),
    /** Who built the lineage last: others wait a moment for it. */
    preferredHostId: text().$type<HostId>(),
    /** How often a host began it. */
    attempts: integer().notNull().default(0),
    /** When a host took it; of one that waits anew, since when it does. */
    claimedAt: integer(),
    /** Tells one claim from all others; null: no host took it, not even the only one that may. */
    claim: text(),
    /** What was given as secrets, sealed for `build:ID` (`intent/secret-box.ts`); null once the build has ended. */
    sealedSecrets: text(),
    goal: text().$type<'built' | 'canceled'>().notNull(),
    createdAt: integer().notNull(),
    state: text().$type<BuildState>().notNull().default('queued'),
    observedStartedAt: integer(),
    observedFinishedAt: integer(),
    observedError: text({ mode: 'json' }).$type<Fault>(),
    /** Of a git source. */
    observedCommit: text(),
    imageDigest: text().$type<Digest>(),
    observedWarnings: text({ mode: 'json' }).$type<BuildWarning[]>(),
    observedAttestations: text({ mode: 'json' }).$type<Attestation[]>(),
    /** Of the containers that it names: written with its success. */
    updates: text({ mode: 'json' }).$type<BuildUpdate[]>(),
    logLines: integer().notNull().default(0),
    /** What a newer push makes stale: a hook's id and a ref. */
    line: text(),
    /** What began it; null: a person. */
    trigger: text({ mode: 'json' }).$type<BuildTrigger>(),
  },
  table => [
    index('builds_line').on(table.line),
    index('builds_lineage').on(table.lineage, table.createdAt),
    index('builds_open').on(table.createdAt).where(sql`state in ('queued', 'running')`),
    index('builds_host_generation').on(table.hostId, table.generation),
    index('builds_created').on(table.createdAt, table.id),
  ],
)

export const hooks = sqliteTable(
  'hooks',
  {
    id: text().$type<HookId>().primaryKey(),
    name: text().notNull(),
    spec: text({ mode: 'json' }).$type<HookSpec>().notNull(),
    /** What deliveries are signed with, sealed for `hook:ID`. */
    sealedSecret: text().notNull(),
    createdAt: integer().notNull(),
  },
  table => [uniqueIndex('hooks_name').on(table.name)],
)

/** Deliveries that were taken, each by what tells it from others: it is written in the batch of its build. */
export const hookDeliveries = sqliteTable(
  'hook_deliveries',
  {
    hookId: text().$type<HookId>().notNull(),
    key: text().notNull(),
    buildId: text().$type<BuildId>().notNull(),
    createdAt: integer().notNull(),
  },
  table => [primaryKey({ columns: [table.hookId, table.key] }), index('hook_deliveries_created').on(table.createdAt)],
)

/** What pushes did to refs, in the order in which they came: late ones are known by it. Kept for an hour. */
export const hookPushes = sqliteTable(
  'hook_pushes',
  {
    hookId: text().$type<HookId>().notNull(),
    ref: text().notNull(),
    /** Counts the pushes of the ref: of two at once one fails, and looks again. */
    position: integer().notNull(),
    before: text().notNull(),
    after: text().notNull(),
    isBuilt: integer({ mode: 'boolean' }).notNull(),
    createdAt: integer().notNull(),
  },
  table => [
    primaryKey({ columns: [table.hookId, table.ref, table.position] }),
    index('hook_pushes_created').on(table.createdAt),
  ],
)

/** What forges are to be told of builds: only the newest state of each matters. */
export const commitStatuses = sqliteTable(
  'commit_statuses',
  {
    buildId: text().$type<BuildId>().primaryKey(),
    target: text({ mode: 'json' }).$type<CommitStatusTarget>().notNull(),
    state: text().$type<BuildState>().notNull(),
    tries: integer().notNull().default(0),
    /** When it is to be told; null: it was, or never will be. */
    dueAt: integer(),
    /** Somebody is telling it until then. */
    claimedUntil: integer().notNull().default(0),
    /** Why the last try was none. */
    error: text(),
  },
  table => [index('commit_statuses_due').on(table.dueAt)],
)

/** A build's log in the chunks it arrived in: `[firstLine, firstLine + lines.length)`. */
export const buildLogs = sqliteTable(
  'build_logs',
  {
    buildId: text().$type<BuildId>().notNull(),
    firstLine: integer().notNull(),
    lines: text({ mode: 'json' }).$type<BuildLogLine[]>().notNull(),
  },
  table => [primaryKey({ columns: [table.buildId, table.firstLine] })],
)

/** What steps of builds gave, for all hosts. A blob that one of them names stays. */
export const cachedSteps = sqliteTable(
  'cached_steps',
  {
    key: text().primaryKey(),
    result: text({ mode: 'json' }).$type<StepResult>().notNull(),
    /** Of its layer's blob; null: it changed no file. */
    digest: text().$type<Digest>(),
    /** Bytes of that blob. */
    size: integer().notNull().default(0),
    /** Key of the step before it. */
    after: text(),
    createdAt: integer().notNull(),
    /** When a host last said that it did it, or was told of it: to the hour. */
    usedAt: integer().notNull(),
    /** Who did it. */
    hostId: text().$type<HostId>().notNull(),
  },
  table => [
    index('cached_steps_digest').on(table.digest, table.size, table.usedAt),
    index('cached_steps_after').on(table.after, table.usedAt),
    index('cached_steps_used').on(table.usedAt),
  ],
)
