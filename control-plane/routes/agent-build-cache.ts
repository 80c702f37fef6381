import { createRoute, z } from '@hono/zod-openapi'
import { stepKeySchema } from '#shared/domain/cached-step.ts'
import { foundStepsSchema, shareStepSchema } from '#shared/protocol/build-cache.ts'
import { foundSteps, shareStep } from '../registry/build-cache.ts'
import { body, hostOf, json, problems, router } from './environment.ts'

/** The fleet's build cache as agents ask for it; see `shared/protocol/build-cache.ts`. */
const tags = ['agent']
const path = '/v1/agent/builds/cache/steps/{key}'
const params = z.object({ key: stepKeySchema })

const find = createRoute({
  ...{ method: 'get', path, tags, summary: 'A cached step of a build, and what was built on it' },
  request: { params },
  responses: { 200: json(foundStepsSchema, 'The steps that the fleet has'), ...problems },
})
const share = createRoute({
  ...{ method: 'put', path, tags, summary: 'What a step of a build gave' },
  request: { params, body: body(shareStepSchema) },
  responses: { 204: { description: 'Taken' }, ...problems },
})

export function agentBuildCacheRoutes() {
  const routes = router()
  routes.openapi(find, async c => {
    hostOf(c)
    return c.json(await foundSteps(c.get('ports'), c.req.valid('param').key), 200)
  })
  routes.openapi(share, async c => {
    await shareStep(c.get('ports'), hostOf(c), c.req.valid('param').key, c.req.valid('json'))
    return c.body(null, 204)
  })
  return routes
}
