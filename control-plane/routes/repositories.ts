import { createRoute, z } from '@hono/zod-openapi'
import { parseRepository } from '#shared/domain/repository.ts'
import { pageQuerySchema, pageSchema } from '#shared/protocol/paging.ts'
import { repositorySchema, repositorySummarySchema } from '#shared/protocol/repositories.ts'
import { pageByName } from '../intent/page-position.ts'
import {
  inspectRepository,
  removeRepository,
  repositoryPage,
  tagPage,
  viewRepository,
} from '../registry/repositories.ts'
import { json, problems, router } from './environment.ts'

const tags = ['repositories']
const params = z.object({ repository: z.string().meta({ description: 'Its name, URL-encoded (a slash is %2F)' }) })

const list = createRoute({
  ...{ method: 'get', path: '/v1/repositories', tags, summary: 'List repositories with what they hold' },
  request: { query: pageQuerySchema },
  responses: { 200: json(pageSchema(repositorySummarySchema), 'A page of repositories, by name'), ...problems },
})
const inspect = createRoute({
  ...{ method: 'get', path: '/v1/repositories/{repository}', tags, summary: 'Usage of a repository, and its tags' },
  request: { params, query: pageQuerySchema },
  responses: { 200: json(repositorySchema, 'The repository, with a page of its tags'), ...problems },
})
const remove = createRoute({
  ...{ method: 'delete', path: '/v1/repositories/{repository}', tags },
  summary: 'Remove all tags and manifests of a repository',
  request: { params },
  responses: { 204: { description: 'It is gone' }, ...problems },
})

export function repositoryRoutes() {
  const routes = router()
  routes.openapi(list, async c => {
    const { limit, cursor } = c.req.valid('query')
    const answer = await pageByName(
      { limit, cursor },
      (after, count) => repositoryPage(c.get('ports'), after, count),
      viewRepository,
      ({ name }) => name,
    )
    return c.json(answer, 200)
  })
  routes.openapi(inspect, async c => {
    const repository = parseRepository(c.req.valid('param').repository)
    const { limit, cursor } = c.req.valid('query')
    const whole = await inspectRepository(c.get('ports'), repository)
    const { items, nextCursor } = await pageByName(
      { limit, cursor },
      (after, count) => tagPage(c.get('ports'), repository, after, count),
      ({ updatedAt, ...tag }) => ({ ...tag, updatedAt: new Date(updatedAt).toISOString() }),
      ({ tag }) => tag,
    )
    return c.json({ ...whole, tags: items, ...(nextCursor === undefined ? {} : { nextCursor }) }, 200)
  })
  routes.openapi(remove, async c => {
    await removeRepository(c.get('ports'), parseRepository(c.req.valid('param').repository))
    return c.body(null, 204)
  })
  return routes
}
