import { createRoute, z } from '@hono/zod-openapi'
import { imageHistorySchema, imageSchema, imageSummarySchema, tagImageSchema } from '#shared/protocol/images.ts'
import { pageQuerySchema, pageSchema } from '#shared/protocol/paging.ts'
import { decodeCursor, page } from '../intent/page-position.ts'
import { imageHistory, imagePage, inspectImage, removeImage, tagImage } from '../registry/images.ts'
import { body, json, problems, router } from './environment.ts'

const tags = ['images']
const params = z.object({
  image: z.string().meta({ description: 'repository[:tag] or repository@digest, URL-encoded (a slash is %2F)' }),
})

const list = createRoute({
  ...{ method: 'get', path: '/v1/images', tags, summary: 'List images' },
  request: { query: pageQuerySchema.extend({ repository: z.string().max(255).optional() }) },
  responses: { 200: json(pageSchema(imageSummarySchema), 'A page of images'), ...problems },
})
const inspect = createRoute({
  ...{ method: 'get', path: '/v1/images/{image}', tags, summary: 'Inspect an image: configuration and layers' },
  request: { params },
  responses: { 200: json(imageSchema, 'The image'), ...problems },
})
const history = createRoute({
  ...{ method: 'get', path: '/v1/images/{image}/history', tags, summary: 'What made each layer, newest first' },
  request: { params },
  responses: { 200: json(imageHistorySchema, 'The history'), ...problems },
})
const tag = createRoute({
  ...{ method: 'post', path: '/v1/images/{image}/tag', tags, summary: 'Give an image another tag' },
  request: { params, body: body(tagImageSchema) },
  responses: { 201: json(imageSchema, 'The image'), ...problems },
})
const remove = createRoute({
  ...{ method: 'delete', path: '/v1/images/{image}', tags, summary: 'Remove a tag, and the image with its last one' },
  request: { params },
  responses: { 204: { description: 'It is gone' }, ...problems },
})

const positionSchema = z.strictObject({ createdAt: z.number(), digest: z.string() })

export function imageRoutes() {
  const routes = router()
  routes.openapi(list, async c => {
    const { limit, cursor, repository } = c.req.valid('query')
    const after = decodeCursor(cursor, { createdAt: -1, digest: '' }, positionSchema)
    const answer = await page(
      limit,
      count => imagePage(c.get('ports'), after, count, repository),
      ({ view }) => view,
      ({ row }) => ({ createdAt: row.createdAt, digest: row.digest }),
    )
    return c.json(answer, 200)
  })
  routes.openapi(inspect, async c => c.json(await inspectImage(c.get('ports'), c.req.valid('param').image), 200))
  routes.openapi(history, async c => c.json(await imageHistory(c.get('ports'), c.req.valid('param').image), 200))
  routes.openapi(tag, async c => {
    const newTag = c.req.valid('json').tag
    await tagImage(c.get('ports'), c.req.valid('param').image, newTag)
    return c.json(await inspectImage(c.get('ports'), newTag), 201)
  })
  routes.openapi(remove, async c => {
    await removeImage(c.get('ports'), c.req.valid('param').image)
    return c.body(null, 204)
  })
  return routes
}
