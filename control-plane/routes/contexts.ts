import { createRoute, z } from '@hono/zod-openapi'
import { contextSchema, createdContextSchema } from '#shared/protocol/contexts.ts'
import { iso } from '../intent/container-view.ts'
import { createContext, requireContext, signContextUpload, viewContext } from '../intent/contexts.ts'
import { creationOf, idempotencyHeader, json, markReplay, optionalBody, problems, router } from './environment.ts'

const tags = ['contexts']
const create = createRoute({
  ...{ method: 'post', path: '/v1/contexts', tags, summary: 'Make room for a build context' },
  description:
    'PUT a tar of the context (plain, or compressed with gzip or zstd) to `upload.url` with `upload.headers`; it goes straight to the blob store.',
  request: { headers: idempotencyHeader, body: optionalBody(z.strictObject({})) },
  responses: { 201: json(createdContextSchema, 'Where to upload the tar'), ...problems },
})
const inspect = createRoute({
  ...{ method: 'get', path: '/v1/contexts/{context}', tags, summary: 'Whether a context was uploaded' },
  request: { params: z.object({ context: z.string() }) },
  responses: { 200: json(contextSchema, 'The context'), ...problems },
})

export function contextRoutes() {
  const routes = router()
  routes.openapi(create, async c => {
    const ports = c.get('ports')
    const { id, isReplayed } = await createContext(ports, creationOf(c, {}))
    markReplay(c, isReplayed)
    const { expiresAt } = await requireContext(ports, id)
    return c.json({ id, upload: await signContextUpload(ports, id), expiresAt: iso(expiresAt) }, 201)
  })
  routes.openapi(inspect, async c => {
    const ports = c.get('ports')
    return c.json(await viewContext(ports, await requireContext(ports, c.req.valid('param').context)), 200)
  })
  return routes
}
