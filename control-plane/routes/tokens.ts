import { createRoute, z } from '@hono/zod-openapi'
import { pageQuerySchema, pageSchema } from '#shared/protocol/paging.ts'
import { createdTokenSchema, createTokenSchema, tokenSchema } from '#shared/protocol/tokens.ts'
import { createToken, listTokenPage, removeToken } from '../intent/tokens.ts'
import { body, creationOf, idempotencyHeader, json, problems, router } from './environment.ts'

const tags = ['tokens']
const list = createRoute({
  ...{ method: 'get', path: '/v1/tokens', tags, summary: 'List tokens' },
  request: { query: pageQuerySchema },
  responses: { 200: json(pageSchema(tokenSchema), 'A page of tokens, without their secrets'), ...problems },
})
const create = createRoute({
  ...{
    method: 'post',
    path: '/v1/tokens',
    tags,
    summary: "Make an operator's token, or with scopes one for the registry alone; the answer has it, once",
  },
  request: { headers: idempotencyHeader, body: body(createTokenSchema) },
  responses: { 201: json(createdTokenSchema, 'The token'), ...problems },
})
const remove = createRoute({
  ...{ method: 'delete', path: '/v1/tokens/{token}', tags, summary: 'Revoke a token at once' },
  request: { params: z.object({ token: z.string() }) },
  responses: { 204: { description: 'It is worth nothing any more' }, ...problems },
})

export function tokenRoutes() {
  const routes = router()
  routes.openapi(list, async c => {
    const { limit, cursor } = c.req.valid('query')
    return c.json(await listTokenPage(c.get('ports'), limit, cursor), 200)
  })
  routes.openapi(create, async c => {
    const asked = c.req.valid('json')
    return c.json(await createToken(c.get('ports'), asked.name, asked.scopes ?? null, creationOf(c, asked)), 201)
  })
  routes.openapi(remove, async c => {
    await removeToken(c.get('ports'), c.req.valid('param').token)
    return c.body(null, 204)
  })
  return routes
}
