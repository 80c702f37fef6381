import { createRoute, z } from '@hono/zod-openapi'
import { fileChangeSchema } from '#shared/domain/container.ts'
import { containerChanges, containerTar } from '../intent/container-files.ts'
import { requireContainer } from '../intent/containers.ts'
import { json, problems, router } from './environment.ts'
import { streamed } from './streamed.ts'

const tags = ['containers']
const params = z.object({ container: z.string() })

const changes = createRoute({
  ...{ method: 'get', path: '/v1/containers/{container}/changes', tags },
  summary: 'What a container changed in the files of its image',
  description:
    'A folder with a change in it counts as changed, as `docker diff` has it; what is in volumes and other mounts does not count. ' +
    'Asks the host that the container is on.',
  request: { params },
  responses: { 200: json(z.object({ items: z.array(fileChangeSchema) }), 'In order of the paths'), ...problems },
})

const exported = createRoute({
  ...{ method: 'get', path: '/v1/containers/{container}/export', tags },
  summary: 'The filesystem of a container as a tar',
  description:
    'Without what is mounted into it: volumes are empty folders. A container that runs goes on: each file is as it was ' +
    'when its turn came. The tar ends in two blocks of zeros; without them it was cut off.',
  request: { params },
  responses: {
    200: {
      content: { 'application/x-tar': { schema: z.string().meta({ format: 'binary' }) } },
      description: 'The tar',
    },
    ...problems,
  },
})

export function containerFileRoutes() {
  const routes = router()
  routes.openapi(changes, async c => {
    const { container, host } = await requireContainer(c.get('ports'), c.req.valid('param').container)
    const encoder = new TextEncoder()
    const answer = streamed(c, { 'content-type': 'application/json' }, async function* (gone) {
      for await (const text of containerChanges(c.get('ports'), host.id, container.id, gone)) yield encoder.encode(text)
    })
    return answer as Promise<never> // JSON of that shape, though made in pieces.
  })
  routes.openapi(exported, async c => {
    const { container, host } = await requireContainer(c.get('ports'), c.req.valid('param').container)
    const headers = { 'content-type': 'application/x-tar' }
    return streamed(c, headers, gone => containerTar(c.get('ports'), host.id, container.id, gone))
  })
  return routes
}
