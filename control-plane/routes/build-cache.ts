import { createRoute } from '@hono/zod-openapi'
import { buildCacheSchema, pruneBuildCacheSchema, prunedBuildCacheSchema } from '#shared/protocol/build-cache-usage.ts'
import { buildCacheUsage, pruneBuildCache } from '../registry/build-cache-prune.ts'
import { body, json, problems, router } from './environment.ts'

const tags = ['builds']

const usage = createRoute({
  ...{ method: 'get', path: '/v1/builds/cache', tags, summary: 'What the cache of build steps takes' },
  responses: { 200: json(buildCacheSchema, 'The steps that hosts share, and the bounds'), ...problems },
})
const prune = createRoute({
  ...{ method: 'post', path: '/v1/builds/cache/prune', tags, summary: 'Remove steps from the build cache' },
  description:
    'As `docker builder prune`: either `all`, or what was not used for a while (`unusedFor`), or the longest unused until `keepBytes` are left. What hosts have on their own disks stays there.',
  request: { body: body(pruneBuildCacheSchema) },
  responses: { 200: json(prunedBuildCacheSchema, 'What went'), ...problems },
})

/** Before `buildRoutes`: `cache` is no id of a build. */
export function buildCacheRoutes() {
  const routes = router()
  routes.openapi(usage, async c => c.json(await buildCacheUsage(c.get('ports')), 200))
  routes.openapi(prune, async c => c.json(await pruneBuildCache(c.get('ports'), c.req.valid('json')), 200))
  return routes
}
