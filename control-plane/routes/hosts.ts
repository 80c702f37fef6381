import { createRoute, z } from '@hono/zod-openapi'
import { createdHostSchema, createHostSchema, hostSchema } from '#shared/protocol/hosts.ts'
import { flagSchema, pageQuerySchema, pageSchema } from '#shared/protocol/paging.ts'
import { prunedHostSchema, pruneHostSchema } from '#shared/protocol/prune-host.ts'
import { pruneHost } from '../intent/host-prune.ts'
import { createHost, listHostPage, removeHost, requireHost, viewHost } from '../intent/hosts.ts'
import { body, creationOf, idempotencyHeader, json, problems, router } from './environment.ts'

const params = z.object({ host: z.string().meta({ description: 'Id or name' }) })
const tags = ['hosts']

const list = createRoute({
  ...{ method: 'get', path: '/v1/hosts', tags, summary: 'List hosts' },
  request: { query: pageQuerySchema },
  responses: { 200: json(pageSchema(hostSchema), 'A page of hosts'), ...problems },
})
const create = createRoute({
  ...{
    method: 'post',
    path: '/v1/hosts',
    tags,
    summary: 'Register a host; the answer has the token for its agent, once',
  },
  request: { headers: idempotencyHeader, body: body(createHostSchema) },
  responses: { 201: json(createdHostSchema, 'The host and its token'), ...problems },
})
const inspect = createRoute({
  ...{ method: 'get', path: '/v1/hosts/{host}', tags, summary: 'Inspect a host' },
  request: { params },
  responses: { 200: json(hostSchema, 'The host'), ...problems },
})
const remove = createRoute({
  ...{ method: 'delete', path: '/v1/hosts/{host}', tags, summary: 'Forget a host that holds no containers' },
  description:
    'With `?force=true` a host that is lost (`unknown`) goes with its containers and builds; unfinished builds that another may do wait for one again.',
  request: { params, query: z.strictObject({ force: flagSchema.optional() }) },
  responses: { 204: { description: 'It is gone, and its token with it' }, ...problems },
})

const prune = createRoute({
  ...{ method: 'post', path: '/v1/hosts/{host}/prune', tags, summary: 'Free a disk of what can be made again' },
  description:
    'As `docker image prune --all` and `docker builder prune` there. Containers, the images that they have, and what a build that runs may need stay. The host must be up, and the message bus.',
  request: { params, body: body(pruneHostSchema) },
  responses: { 200: json(prunedHostSchema, 'What went'), ...problems },
})

export function hostRoutes() {
  const routes = router()
  routes.openapi(list, async c => {
    const { limit, cursor } = c.req.valid('query')
    return c.json(await listHostPage(c.get('ports'), limit, cursor), 200)
  })
  routes.openapi(create, async c => {
    const asked = c.req.valid('json')
    const { host, token } = await createHost(c.get('ports'), asked.name, creationOf(c, asked))
    return c.json({ ...viewHost(c.get('ports'), host), token }, 201)
  })
  routes.openapi(inspect, async c => {
    const host = await requireHost(c.get('ports'), c.req.valid('param').host)
    return c.json(viewHost(c.get('ports'), host), 200)
  })
  routes.openapi(prune, async c => {
    const host = await requireHost(c.get('ports'), c.req.valid('param').host)
    return c.json(await pruneHost(c.get('ports'), host.id, c.req.valid('json')), 200)
  })
  routes.openapi(remove, async c => {
    await removeHost(c.get('ports'), c.req.valid('param').host, c.req.valid('query').force ?? false)
    return c.body(null, 204)
  })
  return routes
}
