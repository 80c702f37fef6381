import { createRoute, z } from '@hono/zod-openapi'
import { digestSchema } from '#shared/digest.ts'
import { type ContainerId, idSchema } from '#shared/domain/ids.ts'
import { SlipwayError } from '#shared/errors.ts'
import {
  agentSecretsSchema,
  appendBuildLogSchema,
  claimBuildSchema,
  claimedBuildSchema,
  containerSecretsSchema,
  desiredStateSchema,
  missingBlobsRequestSchema,
  missingBlobsSchema,
  partCameSchema,
  publishedImageSchema,
  publishImageSchema,
  reportSchema,
  resolvedImageSchema,
  signedUploadSchema,
} from '#shared/protocol/agent.ts'
import { ingestBuildLog } from '../ingest/build-log.ts'
import { ingestReport } from '../ingest/report.ts'
import { claimFor, releaseFor } from '../intent/build-claims.ts'
import { secretsForBuild } from '../intent/build-secrets.ts'
import { isBuildingContext } from '../intent/builds.ts'
import { tellForges } from '../intent/commit-statuses.ts'
import { secretsForContainer } from '../intent/container-secrets.ts'
import { expireContainer } from '../intent/containers.ts'
import { contextKey, requireContext } from '../intent/contexts.ts'
import { desiredState } from '../intent/desired.ts'
import { SIGNED_URL_MS } from '../registry/blob-keys.ts'
import { forgetIfLost, requireAnyBlob } from '../registry/blobs.ts'
import { missingBlobs, partCame, signPart, takeUpload } from '../registry/host-uploads.ts'
import { takeLayerSizes } from '../registry/layer-sizes.ts'
import { publishImage } from '../registry/publish.ts'
import { resolveImage } from '../registry/resolve.ts'
import { body, hostOf, json, problems, router } from './environment.ts'

/** What only agents ask, each with its host's token; see `shared/protocol/agent.ts`. */
const tags = ['agent']
const done = { 204: { description: 'Taken' }, ...problems }
const redirect = { 307: { description: 'To a signed URL' }, ...problems }

const desired = createRoute({
  ...{ method: 'get', path: '/v1/agent/desired', tags, summary: 'What this host should hold' },
  request: { query: z.object({ since: z.coerce.number().int().min(0).optional() }) },
  responses: {
    200: json(desiredStateSchema, 'All, or what changed'),
    304: { description: 'Nothing changed' },
    ...problems,
  },
})
const report = createRoute({
  ...{ method: 'post', path: '/v1/agent/report', tags, summary: 'What this host holds' },
  request: { body: body(reportSchema) },
  responses: done,
})
const resolve = createRoute({
  ...{ method: 'get', path: '/v1/agent/images', tags, summary: 'Manifest and configuration of an image' },
  request: { query: z.object({ reference: z.string().max(600), architecture: z.string().max(32).optional() }) },
  responses: { 200: json(resolvedImageSchema, 'The image'), ...problems },
})
const publish = createRoute({
  ...{ method: 'post', path: '/v1/agent/images', tags, summary: 'Record what a build made' },
  request: { body: body(publishImageSchema) },
  responses: { 201: json(publishedImageSchema, 'Its digest'), ...problems },
})
const missing = createRoute({
  ...{ method: 'post', path: '/v1/agent/blobs', tags, summary: 'Which blobs are missing, and where to upload them' },
  request: { body: body(missingBlobsRequestSchema) },
  responses: { 200: json(missingBlobsSchema, 'The missing ones'), ...problems },
})
const partParams = z.object({ digest: digestSchema, number: z.coerce.number().int().min(1).max(10_000) })
const part = createRoute({
  ...{ method: 'post', path: '/v1/agent/blobs/{digest}/parts/{number}', tags, summary: 'Where to upload a part' },
  request: { params: partParams },
  responses: { 200: json(signedUploadSchema, 'A signed URL'), ...problems },
})
const partSent = createRoute({
  ...{ method: 'put', path: '/v1/agent/blobs/{digest}/parts/{number}', tags, summary: 'A part was uploaded' },
  request: { params: partParams, body: body(partCameSchema) },
  responses: done,
})
const sent = createRoute({
  ...{ method: 'put', path: '/v1/agent/blobs/{digest}', tags, summary: 'A blob was uploaded: verify and keep it' },
  request: { params: z.object({ digest: digestSchema }) },
  responses: done,
})
const blob = createRoute({
  ...{ method: 'get', path: '/v1/agent/blobs/{digest}', tags, summary: 'A blob' },
  request: { params: z.object({ digest: digestSchema }) },
  responses: redirect,
})
const lost = createRoute({
  ...{ method: 'delete', path: '/v1/agent/blobs/{digest}', tags, summary: 'Forget a blob if the store has lost it' },
  description: 'For a host to whom the URL of a blob brought nothing. The store is asked first.',
  request: { params: z.object({ digest: digestSchema }) },
  responses: done,
})
const context = createRoute({
  ...{ method: 'get', path: '/v1/agent/contexts/{context}', tags, summary: 'The tar of a build context' },
  request: { params: z.object({ context: z.string() }) },
  responses: redirect,
})
const claim = createRoute({
  ...{ method: 'post', path: '/v1/agent/builds/claims', tags, summary: 'A build for this host to begin' },
  request: { body: body(claimBuildSchema) },
  responses: {
    200: json(claimedBuildSchema, 'It is its own'),
    204: { description: 'There is none for it' },
    ...problems,
  },
})
const release = createRoute({
  ...{ method: 'post', path: '/v1/agent/builds/{build}/release', tags, summary: 'Give a build back that is not over' },
  request: { params: z.object({ build: z.string() }) },
  responses: { 204: { description: "It waits for a host, if it was this one's" }, ...problems },
})
const secrets = createRoute({
  ...{
    method: 'get',
    path: '/v1/agent/builds/{build}/secrets',
    tags,
    summary: 'The secrets of a build that this host has',
  },
  request: { params: z.object({ build: z.string() }) },
  responses: { 200: json(agentSecretsSchema, 'What they hold'), ...problems },
})
const containerSecrets = createRoute({
  ...{
    method: 'get',
    path: '/v1/agent/containers/{container}/secrets',
    tags,
    summary: 'The secrets of a container that this host has',
  },
  request: { params: z.object({ container: idSchema<ContainerId>() }) },
  responses: { 200: json(containerSecretsSchema, 'What they hold'), ...problems },
})
const expire = createRoute({
  ...{
    method: 'post',
    path: '/v1/agent/containers/{container}/expire',
    tags,
    summary: 'Give up an ended one for room',
  },
  request: { params: z.object({ container: idSchema<ContainerId>() }) },
  responses: done,
})
const log = createRoute({
  ...{ method: 'post', path: '/v1/agent/builds/{build}/log', tags, summary: "Lines of a build's log" },
  request: { params: z.object({ build: z.string() }), body: body(appendBuildLogSchema) },
  responses: done,
})

export function agentRoutes() {
  const routes = router()
  routes.openapi(desired, async c => {
    const known = /^"(\d+)"$/.exec(c.req.header('if-none-match') ?? '')?.[1]
    const since = c.req.valid('query').since ?? (known === undefined ? undefined : Number(known))
    const state = await desiredState(c.get('ports'), hostOf(c), since)
    if (!state) return c.body(null, 304)
    c.header('ETag', `"${state.generation}"`)
    return c.json(state, 200)
  })
  routes.openapi(report, async c => {
    const said = c.req.valid('json')
    await ingestReport(c.get('ports'), hostOf(c), said)
    await takeLayerSizes(c.get('ports'), said.layerSizes ?? [])
    if (said.builds.length > 0) c.get('ports').later(() => tellForges(c.get('ports')))
    return c.body(null, 204)
  })
  routes.openapi(resolve, async c => {
    const { reference, architecture } = c.req.valid('query')
    return c.json(await resolveImage(c.get('ports'), reference, architecture ? [architecture] : []), 200)
  })
  routes.openapi(publish, async c =>
    c.json({ digest: await publishImage(c.get('ports'), hostOf(c), c.req.valid('json')) }, 201),
  )
  routes.openapi(missing, async c =>
    c.json(await missingBlobs(c.get('ports'), hostOf(c), c.req.valid('json').blobs), 200),
  )
  routes.openapi(part, async c => {
    const { digest, number } = c.req.valid('param')
    return c.json(await signPart(c.get('ports'), hostOf(c), digest, number), 200)
  })
  routes.openapi(partSent, async c => {
    const { digest, number } = c.req.valid('param')
    await partCame(c.get('ports'), hostOf(c), digest, number, c.req.valid('json').tag)
    return c.body(null, 204)
  })
  routes.openapi(sent, async c => {
    await takeUpload(c.get('ports'), hostOf(c), c.req.valid('param').digest)
    return c.body(null, 204)
  })
  routes.openapi(blob, async c => {
    const ports = c.get('ports')
    const { objectKey } = await requireAnyBlob(ports, c.req.valid('param').digest)
    return c.redirect(await ports.blobs.signDownload(objectKey, SIGNED_URL_MS), 307)
  })
  routes.openapi(lost, async c => {
    hostOf(c)
    await forgetIfLost(c.get('ports'), c.req.valid('param').digest)
    return c.body(null, 204)
  })
  routes.openapi(context, async c => {
    const ports = c.get('ports')
    const { id } = await requireContext(ports, c.req.valid('param').context)
    if (!(await isBuildingContext(ports, hostOf(c), id))) {
      throw new SlipwayError('context.not-found', `This host has no build of context ${id}.`)
    }
    return c.redirect(await ports.blobs.signDownload(contextKey(id), SIGNED_URL_MS), 307)
  })
  routes.openapi(secrets, async c => {
    c.header('Cache-Control', 'no-store')
    return c.json(await secretsForBuild(c.get('ports'), hostOf(c), c.req.valid('param').build), 200)
  })
  routes.openapi(containerSecrets, async c => {
    c.header('Cache-Control', 'no-store')
    return c.json(await secretsForContainer(c.get('ports'), hostOf(c), c.req.valid('param').container), 200)
  })
  routes.openapi(claim, async c => {
    const ports = c.get('ports')
    const claimed = await claimFor(ports, hostOf(c), c.req.valid('json').build)
    if (!claimed) return c.body(null, 204)
    return c.json(claimed, 200)
  })
  routes.openapi(release, async c => {
    await releaseFor(c.get('ports'), hostOf(c), c.req.valid('param').build)
    return c.body(null, 204)
  })
  routes.openapi(expire, async c => {
    await expireContainer(c.get('ports'), hostOf(c), c.req.valid('param').container)
    return c.body(null, 204)
  })
  routes.openapi(log, async c => {
    await ingestBuildLog(c.get('ports'), hostOf(c), c.req.valid('param').build, c.req.valid('json'))
    return c.body(null, 204)
  })
  return routes
}
