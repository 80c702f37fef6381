import { createRoute, z } from '@hono/zod-openapi'
import { secretNameSchema } from '#shared/domain/secret.ts'
import { pageQuerySchema, pageSchema } from '#shared/protocol/paging.ts'
import { secretSchema, setSecretSchema } from '#shared/protocol/secrets.ts'
import { listSecretPage, putSecret, removeSecret } from '../intent/secrets.ts'
import { body, json, problems, router } from './environment.ts'

const tags = ['secrets']
const params = z.object({ secret: secretNameSchema })
const list = createRoute({
  ...{ method: 'get', path: '/v1/secrets', tags, summary: 'List secrets by name' },
  request: { query: pageQuerySchema },
  responses: { 200: json(pageSchema(secretSchema), 'A page of secrets, without their values'), ...problems },
})
const put = createRoute({
  ...{ method: 'put', path: '/v1/secrets/{secret}', tags, summary: 'Set a secret' },
  description:
    'Kept encrypted, and in no answer ever again. Builds and what fetches their sources name it; a change is seen by what begins after it.',
  request: { params, body: body(setSecretSchema) },
  responses: { 200: json(secretSchema, 'The secret, without its value'), ...problems },
})
const remove = createRoute({
  ...{ method: 'delete', path: '/v1/secrets/{secret}', tags, summary: 'Remove a secret' },
  request: { params },
  responses: { 204: { description: 'It is gone' }, ...problems },
})

export function secretRoutes() {
  const routes = router()
  routes.openapi(list, async c => {
    const { limit, cursor } = c.req.valid('query')
    return c.json(await listSecretPage(c.get('ports'), limit, cursor), 200)
  })
  routes.openapi(put, async c =>
    c.json(await putSecret(c.get('ports'), c.req.valid('param').secret, c.req.valid('json').value), 200),
  )
  routes.openapi(remove, async c => {
    await removeSecret(c.get('ports'), c.req.valid('param').secret)
    return c.body(null, 204)
  })
  return routes
}
