import { z } from 'zod'
import { digestSchema } from '../digest.ts'
import { buildSecretsSchema, desiredBuildSchema, observedBuildSchema } from '../domain/build.ts'
import { containerSizeSchema, desiredContainerSchema, observedContainerSchema } from '../domain/container.ts'
import { diskUsageSchema, hostFactsSchema } from '../domain/host.ts'
import { type BuildId, type HostId, idSchema } from '../domain/ids.ts'
import { descriptorSchema, imageConfigSchema, imageManifestSchema } from '../domain/image.ts'

/**
 * What an agent asks the API, all under `/v1/agent` with the host's own token:
 *
 * - `GET desired?since=G`: the state after generation G. `ETag: "<generation>"`; 304 when nothing changed.
 * - `POST report`: what the agent saw. Idempotent; older generations than the recorded are ignored.
 * - `GET images?reference=R&architecture=A`: a tag or digest resolved to manifest and configuration.
 * - `POST images`: the image a build made, after its layers are blobs.
 * - `POST blobs`: which blobs are missing, each with a signed URL to upload it to or, if it is large, the parts that lack.
 * - `POST blobs/{digest}/parts/{number}`: a signed URL for a part; `PUT` there says that it came, with its tag (`ETag`).
 * - `PUT blobs/{digest}`: its bytes are all uploaded; they are verified, and a blob from then on. Idempotent.
 * - `GET blobs/{digest}`, `GET contexts/{id}`: 307 to a signed URL. A blob of an upstream is fetched first: the answer takes
 *   up to four minutes, and `upstream.busy` means that it is not over and to ask again.
 * - `POST builds/claims`: takes a build that fits this host and waits, or this one; 204 when there is none for it. Whoever
 *   took it last has it: all other calls about a build are refused to others. Begins are counted.
 * - `GET builds/{id}/secrets`: what the secrets hold of an unfinished build of this host. Never kept on disk.
 * - `GET containers/{id}/secrets`: what the secrets hold that a container of this host names; asked at each of its starts.
 * - `POST containers/{id}/expire`: one that has ended, was kept for its time and whose room is needed is to be removed.
 * - `POST builds/{id}/log`: lines of a build's log, at an offset, so that a repeat adds nothing.
 */
export const desiredStateSchema = z.object({
  hostId: idSchema<HostId>(),
  generation: z.int().min(0),
  /** True: this is everything, and what is not in it should not be. False: only what changed after `since`. */
  isFull: z.boolean(),
  network: z.object({ subnet: z.cidrv4(), gateway: z.ipv4(), prefixLength: z.int() }),
  containers: z.array(desiredContainerSchema),
  builds: z.array(desiredBuildSchema),
  /** All unfinished builds that this host has as of this generation: others are not its own any more. */
  openBuilds: z.array(idSchema<BuildId>()).optional(),
})
export type DesiredState = z.infer<typeof desiredStateSchema>

/** What only those know who unpack or pack a layer. */
export const layerSizeSchema = z.object({
  /** Of the layer's blob. */
  digest: digestSchema,
  /** Of the tar in it. */
  unpackedBytes: z.int().min(0),
})
export type LayerSize = z.infer<typeof layerSizeSchema>

/** What takes room on a host's disk, and what each of its containers does. */
export const hostUsageSchema = z.object({ disk: diskUsageSchema, containers: z.array(containerSizeSchema).max(10_000) })
export type HostUsage = z.infer<typeof hostUsageSchema>

export const reportSchema = z.object({
  /** The host generation that the agent has fetched and planned for. */
  generation: z.int().min(0),
  facts: hostFactsSchema.optional(),
  usage: hostUsageSchema.optional(),
  /** Of layers that came here. What the store knows already, or does not have, is passed over. */
  layerSizes: z.array(layerSizeSchema).max(1000).optional(),
  containers: z.array(observedContainerSchema).max(1000),
  builds: z.array(z.object({ id: idSchema<BuildId>(), observed: observedBuildSchema })).max(100),
})
export type Report = z.infer<typeof reportSchema>

export const resolvedImageSchema = z.object({
  digest: digestSchema,
  manifest: imageManifestSchema,
  config: imageConfigSchema,
})
export type ResolvedImage = z.infer<typeof resolvedImageSchema>

/** `manifest` and `config` are the exact bytes as text, since their digests depend on every one of them. */
export const publishImageSchema = z.object({
  buildId: idSchema<BuildId>(),
  tags: z.array(z.string()).max(100),
  manifest: z.string().max(4 * 1024 * 1024),
  config: z.string().max(4 * 1024 * 1024),
  /** As far as the host knows them. */
  layerSizes: z.array(layerSizeSchema).max(1000).default([]),
  /** Manifests of attestations whose subject is the image, as text; their blobs are there. */
  attestations: z
    .array(z.string().max(64 * 1024))
    .max(8)
    .default([]),
})
export type PublishImage = z.infer<typeof publishImageSchema>
export const publishedImageSchema = z.object({ digest: digestSchema })

export const missingBlobsRequestSchema = z.object({ blobs: z.array(descriptorSchema).max(1000) })
export const signedUploadSchema = z.object({ url: z.url(), headers: z.record(z.string(), z.string()) })
export const blobPartsSchema = z.object({
  /** Of each part but the last, which is shorter. Parts count from 1. */
  bytes: z.int().min(1),
  missing: z.array(z.int().min(1)).max(10_000),
})
export type BlobParts = z.infer<typeof blobPartsSchema>
export const missingBlobSchema = z.union([
  z.object({ digest: digestSchema, upload: signedUploadSchema }),
  z.object({ digest: digestSchema, parts: blobPartsSchema }),
])
export type MissingBlob = z.infer<typeof missingBlobSchema>
export const missingBlobsSchema = z.object({ missing: z.array(missingBlobSchema) })
export const partCameSchema = z.object({ tag: z.string().min(1).max(1024) })
export type MissingBlobs = z.infer<typeof missingBlobsSchema>

/** `kept`: those that the source of the build names; the others are for RUN. */
export const agentSecretsSchema = buildSecretsSchema.extend({ kept: z.record(z.string(), z.string()) })
export type AgentSecrets = z.infer<typeof agentSecretsSchema>

/** What the secrets hold that a container has as files, by name. */
export const containerSecretsSchema = z.object({ secrets: z.record(z.string(), z.string()) })
export type ContainerSecrets = z.infer<typeof containerSecretsSchema>

export const claimBuildSchema = z.strictObject({
  /** Left out: the next that waits and fits. */
  build: idSchema<BuildId>().optional(),
})
export const claimedBuildSchema = z.object({
  build: desiredBuildSchema,
  /** Lines that its log has: those of this attempt follow. */
  logFrom: z.int().min(0),
  /** The highest number that a step has in it: those of this attempt go on from there. */
  stepFrom: z.int().min(0).default(0),
})
export type ClaimedBuild = z.infer<typeof claimedBuildSchema>

export const BUILD_LOG_LINE_LIMIT = 16 * 1024
/** Lines kept of one build's log; what comes after is counted in a last line, not kept. */
export const BUILD_LOG_LINES = 50_000
/** What a line says of its step: `cached` to `canceled` that it is over. `anew`, without a step: all that was under way is, and the build begins again. */
export const STEP_MARKS = ['begin', 'progress', 'cached', 'done', 'failed', 'canceled', 'anew'] as const
/** Times are Unix milliseconds. */
export const buildLogLineSchema = z.object({
  at: z.int(),
  /** `step` is what the builder says, of a step or of the build; the others are a program's output. */
  stream: z.enum(['step', 'stdout', 'stderr']),
  text: z.string().max(BUILD_LOG_LINE_LIMIT),
  /** The step that it belongs to, from 1 on in order of their beginnings. Left out: the build as a whole. */
  step: z.int().min(1).optional(),
  /** Left out: a line of its output. */
  mark: z.enum(STEP_MARKS).optional(),
  /** How long the step took, once it is over. */
  durationMs: z.int().min(0).optional(),
  /** Of what is brought from or to somewhere: how much has come, and of how much where that is known. */
  bytes: z.int().min(0).optional(),
  totalBytes: z.int().min(0).optional(),
})
export type BuildLogLine = z.infer<typeof buildLogLineSchema>
export const appendBuildLogSchema = z.object({
  /** The number of lines sent before these. */
  offset: z.int().min(0),
  lines: z.array(buildLogLineSchema).max(1000),
})
export type AppendBuildLog = z.infer<typeof appendBuildLogSchema>
