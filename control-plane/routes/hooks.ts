import { createRoute, z } from '@hono/zod-openapi'
import { createdHookSchema, createHookSchema, deliveryAnswerSchema, hookSchema } from '#shared/protocol/hooks.ts'
import { pageQuerySchema, pageSchema } from '#shared/protocol/paging.ts'
import { tellForges } from '../intent/commit-statuses.ts'
import { takeDelivery } from '../intent/hook-deliveries.ts'
import { createHook, listHookPage, removeHook, requireHook, viewHook } from '../intent/hooks.ts'
import { readDelivery } from './delivery-body.ts'
import { body, creationOf, idempotencyHeader, json, problems, router } from './environment.ts'

const tags = ['hooks']
const params = z.object({ hook: z.string() })
const list = createRoute({
  ...{ method: 'get', path: '/v1/hooks', tags, summary: 'List webhooks' },
  request: { query: pageQuerySchema },
  responses: { 200: json(pageSchema(hookSchema), 'A page of hooks, without their secrets'), ...problems },
})
const create = createRoute({
  ...{ method: 'post', path: '/v1/hooks', tags, summary: 'Make a webhook; the answer has its secret, once' },
  description: 'Give `url` and `secret` to the forge as a webhook for pushes, with the content type application/json.',
  request: { headers: idempotencyHeader, body: body(createHookSchema) },
  responses: { 201: json(createdHookSchema, 'The hook'), ...problems },
})
const inspect = createRoute({
  ...{ method: 'get', path: '/v1/hooks/{hook}', tags, summary: 'Inspect a webhook' },
  request: { params },
  responses: { 200: json(hookSchema, 'The hook, without its secret'), ...problems },
})
const remove = createRoute({
  ...{ method: 'delete', path: '/v1/hooks/{hook}', tags, summary: 'Remove a webhook' },
  request: { params },
  responses: { 204: { description: 'It takes nothing any more; its builds go on' }, ...problems },
})
const deliver = createRoute({
  ...{ method: 'post', path: '/hooks/{hook}', tags, summary: 'A delivery of a forge' },
  description:
    'Verified by its signature, without a token (docs/webhooks.md). The same delivery again is answered with the same build.',
  security: [],
  request: { params },
  responses: {
    200: json(deliveryAnswerSchema, 'Nothing new is built, and why'),
    202: json(deliveryAnswerSchema, 'It is being built'),
    ...problems,
  },
})

export function hookRoutes() {
  const routes = router()
  routes.openapi(list, async c => {
    const { limit, cursor } = c.req.valid('query')
    return c.json(await listHookPage(c.get('ports'), limit, cursor), 200)
  })
  routes.openapi(create, async c => {
    const asked = c.req.valid('json')
    return c.json(await createHook(c.get('ports'), asked, creationOf(c, asked)), 201)
  })
  routes.openapi(inspect, async c =>
    c.json(viewHook(c.get('ports'), await requireHook(c.get('ports'), c.req.valid('param').hook)), 200),
  )
  routes.openapi(remove, async c => {
    await removeHook(c.get('ports'), c.req.valid('param').hook)
    return c.body(null, 204)
  })
  routes.openapi(deliver, async c => {
    const ports = c.get('ports')
    const hook = await requireHook(ports, c.req.valid('param').hook) // Before the body is read.
    using held = await readDelivery(c.get('bodyOf')(), c.req.header('content-length'), ports.deliveries)
    const delivery = { headers: (name: string) => c.req.header(name), body: held.bytes }
    const answer = await takeDelivery(ports, hook, delivery)
    if (answer.result !== 'building' || answer.isRepeat) return c.json(answer, 200)
    ports.later(() => tellForges(ports))
    return c.json(answer, 202)
  })
  return routes
}
