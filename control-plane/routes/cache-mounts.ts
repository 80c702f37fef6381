import { createRoute, z } from '@hono/zod-openapi'
import {
  cacheMountQuerySchema,
  cacheMountSchema,
  foundMountSchema,
  saveMountSchema,
} from '#shared/protocol/cache-mounts.ts'
import { pageQuerySchema, pageSchema } from '#shared/protocol/paging.ts'
import { findSavedMount, listCacheMountPage, removeCacheMount, saveMount } from '../intent/cache-mounts.ts'
import { body, hostOf, json, problems, router } from './environment.ts'

/** What was saved of `RUN --mount=type=cache`: for operators, and for agents. */
const builds = ['builds']
const agent = ['agent']
const list = createRoute({
  ...{ method: 'get', path: '/v1/builds/cache/mounts', tags: builds, summary: 'List saved cache mounts' },
  description:
    'Folders of `RUN --mount=type=cache` that builds with `cacheMounts.save` left in the blob store for other hosts.',
  request: { query: pageQuerySchema },
  responses: { 200: json(pageSchema(cacheMountSchema), 'A page of them, by key'), ...problems },
})
const remove = createRoute({
  ...{ method: 'delete', path: '/v1/builds/cache/mounts/{key}', tags: builds, summary: 'Remove a saved cache mount' },
  description: 'Hosts that have the folder keep it. The bytes go with the next garbage collection of the registry.',
  request: { params: z.object({ key: z.string() }) },
  responses: { 204: { description: 'It is gone' }, ...problems },
})
const find = createRoute({
  ...{ method: 'get', path: '/v1/agent/builds/cache/mounts', tags: agent, summary: 'What was saved of a cache mount' },
  request: { query: cacheMountQuerySchema },
  responses: { 200: json(foundMountSchema, 'The last, if anything was saved'), ...problems },
})
const save = createRoute({
  ...{ method: 'put', path: '/v1/agent/builds/cache/mounts', tags: agent, summary: 'A cache mount was uploaded' },
  request: { body: body(saveMountSchema) },
  responses: { 204: { description: 'It takes the place of the one before' }, ...problems },
})

export function cacheMountRoutes() {
  const routes = router()
  routes.openapi(list, async c => {
    const { limit, cursor } = c.req.valid('query')
    return c.json(await listCacheMountPage(c.get('ports'), limit, cursor), 200)
  })
  routes.openapi(remove, async c => {
    await removeCacheMount(c.get('ports'), c.req.valid('param').key)
    return c.body(null, 204)
  })
  routes.openapi(find, async c => {
    const { id, architecture } = c.req.valid('query')
    return c.json(await findSavedMount(c.get('ports'), id, architecture), 200)
  })
  routes.openapi(save, async c => {
    await saveMount(c.get('ports'), hostOf(c), c.req.valid('json'))
    return c.body(null, 204)
  })
  return routes
}
