import { createRoute } from '@hono/zod-openapi'
import { collectGarbageSchema, garbageSchema } from '#shared/protocol/garbage.ts'
import { retentionSchema } from '#shared/protocol/retention.ts'
import { collectGarbage } from '../registry/garbage.ts'
import { retentionRules, setRetentionRules } from '../registry/retention.ts'
import { body, json, problems, router } from './environment.ts'

const tags = ['registry']
const collect = createRoute({
  ...{ method: 'post', path: '/v1/registry/gc', tags, summary: 'Collect garbage now, or say what would go' },
  request: { body: body(collectGarbageSchema) },
  responses: { 200: json(garbageSchema, 'What went, or would go'), ...problems },
})
const rules = createRoute({
  ...{ method: 'get', path: '/v1/registry/retention', tags, summary: 'Rules of retention' },
  responses: { 200: json(retentionSchema, 'The rules, in the order in which they are tried'), ...problems },
})
const replace = createRoute({
  ...{ method: 'put', path: '/v1/registry/retention', tags, summary: 'Replace the rules of retention' },
  request: { body: body(retentionSchema) },
  responses: { 200: json(retentionSchema, 'The rules'), ...problems },
})

export function garbageRoutes() {
  const routes = router()
  routes.openapi(collect, async c => {
    const { dryRun, rules: tried } = c.req.valid('json')
    return c.json(await collectGarbage(c.get('ports'), dryRun, tried), 200)
  })
  routes.openapi(rules, async c => c.json({ rules: await retentionRules(c.get('ports')) }, 200))
  routes.openapi(replace, async c => {
    await setRetentionRules(c.get('ports'), c.req.valid('json').rules)
    return c.json({ rules: await retentionRules(c.get('ports')) }, 200)
  })
  return routes
}
