import { createRoute, z } from '@hono/zod-openapi'
import { healthLogSchema } from '#shared/protocol/container-life.ts'
import { containerHealth } from '../intent/container-health.ts'
import { requireContainer } from '../intent/containers.ts'
import { json, problems, router } from './environment.ts'

const read = createRoute({
  ...{ method: 'get', path: '/v1/containers/{container}/health', tags: ['containers'] },
  summary: 'The last health checks of a container',
  description: 'The last five, with up to 4 KiB of what each said. Asks the host that the container is on.',
  request: { params: z.object({ container: z.string() }) },
  responses: { 200: json(healthLogSchema, 'The checks, oldest first'), ...problems },
})

export function containerHealthRoutes() {
  const routes = router()
  routes.openapi(read, async c => {
    const { container, host } = await requireContainer(c.get('ports'), c.req.valid('param').container)
    return c.json(await containerHealth(c.get('ports'), host.id, container.id, c.req.raw.signal), 200)
  })
  return routes
}
