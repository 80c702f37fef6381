import { createRoute, z } from '@hono/zod-openapi'
import type { Context } from 'hono'
import {
  type ContainerView,
  containerSchema,
  createContainerSchema,
  killSchema,
  removeQuerySchema,
  renameSchema,
  stopSchema,
  updateContainerSchema,
  type WaitState,
  waitForContainerQuerySchema,
  waitForContainerSchema,
  waitQuerySchema,
} from '#shared/protocol/containers.ts'
import { pageQuerySchema, pageSchema } from '#shared/protocol/paging.ts'
import { awaitEnd, endOfRemoved } from '../intent/container-end.ts'
import { renameContainer } from '../intent/container-names.ts'
import { updateContainer } from '../intent/container-updates.ts'
import { viewContainer } from '../intent/container-view.ts'
import { awaitContainer } from '../intent/container-wait.ts'
import { createContainer, listContainerPage, orderContainer, requireContainer } from '../intent/containers.ts'
import type { Order } from '../intent/goals.ts'
import type { ContainerOnHost } from '../store/containers.ts'
import {
  type AppEnv,
  body,
  creationOf,
  idempotencyHeader,
  json,
  markReplay,
  optionalBody,
  problems,
  router,
} from './environment.ts'

const params = z.object({ container: z.string().meta({ description: 'Id or name' }) })
const tags = ['containers']
const one = { 200: json(containerSchema, 'The container'), 204: { description: 'It is gone' }, ...problems }
const path = (verb: string) => `/v1/containers/{container}/${verb}`

const list = createRoute({
  ...{ method: 'get', path: '/v1/containers', tags, summary: 'List containers' },
  request: { query: pageQuerySchema.extend({ host: z.string().optional() }) },
  responses: { 200: json(pageSchema(containerSchema), 'A page of containers'), ...problems },
})
const create = createRoute({
  ...{ method: 'post', path: '/v1/containers', tags, summary: 'Create a container and start it' },
  request: { headers: idempotencyHeader, query: waitQuerySchema, body: body(createContainerSchema) },
  responses: { 201: json(containerSchema, 'The container'), ...problems },
})
const inspect = createRoute({
  ...{ method: 'get', path: '/v1/containers/{container}', tags, summary: 'Inspect a container' },
  request: { params },
  responses: { 200: json(containerSchema, 'The container'), ...problems },
})
const start = createRoute({
  ...{ method: 'post', path: path('start'), tags, summary: 'Start a container that was made or has ended' },
  request: { params, query: waitQuerySchema },
  responses: one,
})
const stop = createRoute({
  ...{ method: 'post', path: path('stop'), tags, summary: 'Stop: a signal, then SIGKILL after a timeout' },
  request: { params, query: waitQuerySchema, body: optionalBody(stopSchema) },
  responses: one,
})
const restart = createRoute({
  ...{ method: 'post', path: path('restart'), tags, summary: 'Stop, then start; what does not run is started' },
  request: { params, query: waitQuerySchema, body: optionalBody(stopSchema) },
  responses: one,
})
const rename = createRoute({
  ...{ method: 'post', path: path('rename'), tags, summary: 'Give it another name' },
  request: { params, body: body(renameSchema) },
  responses: { 200: json(containerSchema, 'The container'), ...problems },
})
const kill = createRoute({
  ...{ method: 'post', path: path('kill'), tags, summary: 'Send a signal to the first process' },
  request: { params, query: waitQuerySchema, body: optionalBody(killSchema) },
  responses: one,
})
const pause = createRoute({
  ...{ method: 'post', path: path('pause'), tags, summary: 'Freeze all processes' },
  request: { params, query: waitQuerySchema },
  responses: one,
})
const unpause = createRoute({
  ...{ method: 'post', path: path('unpause'), tags, summary: 'Thaw all processes' },
  request: { params, query: waitQuerySchema },
  responses: one,
})
const update = createRoute({
  ...{ method: 'post', path: path('update'), tags, summary: 'Replace the image or other settings, in place' },
  description:
    'Id, name, host, address and published ports stay; what is left out stays as it is. The container begins with the files of its image and nothing that it wrote. What is asked to run is stopped once the new image is on its host, and started again; what is down stays down. Where memory, cpus, pidsLimit, restart, keepFor, stopSignal, stopTimeout and autoRemove are all that changes, the run goes on, with them.',
  request: { params, query: waitQuerySchema, body: body(updateContainerSchema) },
  responses: one,
})
const remove = createRoute({
  ...{ method: 'delete', path: '/v1/containers/{container}', tags, summary: 'Remove a container and what it wrote' },
  request: { params, query: removeQuerySchema },
  responses: { 202: json(containerSchema, 'It will be gone soon'), 204: { description: 'It is gone' }, ...problems },
})
const wait = createRoute({
  ...{ method: 'post', path: path('wait'), tags, summary: 'Wait until a container has ended or is gone' },
  request: { params, query: waitForContainerQuerySchema },
  responses: { 200: json(waitForContainerSchema, 'How it ended'), ...problems },
})

type Waiting = { wait?: WaitState | undefined; timeout: number }

export function containerRoutes() {
  const routes = router()
  routes.openapi(list, async c => {
    const { limit, cursor, host } = c.req.valid('query')
    return c.json(await listContainerPage(c.get('ports'), limit, cursor, host), 200)
  })
  routes.openapi(create, async c => {
    const asked = c.req.valid('json')
    const { wait: state, timeout } = c.req.valid('query')
    const { id, isReplayed } = await createContainer(c.get('ports'), asked, creationOf(c, asked))
    markReplay(c, isReplayed)
    c.header('Location', `/v1/containers/${id}`)
    const ports = c.get('ports')
    const made = viewContainer(ports, await requireContainer(ports, id))
    if (!state) return c.json(made, 201)
    const waited = await awaitContainer(ports, id, state, timeout * 1000)
    // One that removes itself may be gone before anyone saw how it ended.
    return c.json(waited ?? { ...made, ...(await endOfRemoved(ports, id, 0)), state: 'removing' as const }, 201)
  })
  routes.openapi(inspect, async c => {
    const found = await requireContainer(c.get('ports'), c.req.valid('param').container)
    return c.json(viewContainer(c.get('ports'), found), 200)
  })
  routes.openapi(start, c => changed(c, c.req.valid('param').container, { kind: 'start' }, c.req.valid('query')))
  routes.openapi(pause, c => changed(c, c.req.valid('param').container, { kind: 'pause' }, c.req.valid('query')))
  routes.openapi(unpause, c => changed(c, c.req.valid('param').container, { kind: 'unpause' }, c.req.valid('query')))
  routes.openapi(stop, c => {
    const { signal, timeoutMs } = endOf(c.req.valid('json'))
    return changed(c, c.req.valid('param').container, { kind: 'stop', signal, timeoutMs }, c.req.valid('query'))
  })
  routes.openapi(restart, c => {
    const end = endOf(c.req.valid('json'))
    return changed(c, c.req.valid('param').container, { kind: 'restart', end }, c.req.valid('query'))
  })
  routes.openapi(rename, async c => {
    const found = await renameContainer(c.get('ports'), c.req.valid('param').container, c.req.valid('json').name)
    return c.json(viewContainer(c.get('ports'), found), 200)
  })
  routes.openapi(kill, c => {
    const { signal = 'SIGKILL' } = c.req.valid('json') ?? {}
    return changed(c, c.req.valid('param').container, { kind: 'kill', signal }, c.req.valid('query'))
  })
  routes.openapi(update, async c => {
    const found = await updateContainer(
      c.get('ports'),
      c.get('principal'),
      c.req.valid('param').container,
      c.req.valid('json'),
    )
    return reached(c, found, c.req.valid('query'))
  })
  routes.openapi(remove, async c => {
    const { force = false, wait: state, timeout } = c.req.valid('query')
    const ports = c.get('ports')
    const found = await orderContainer(ports, c.req.valid('param').container, { kind: 'remove', isForced: force })
    if (!state) return c.json(viewContainer(ports, found), 202)
    const waited = await awaitContainer(ports, found.container.id, state, timeout * 1000)
    return waited ? c.json(waited, 202) : c.body(null, 204)
  })
  routes.openapi(wait, async c => {
    const { condition, timeout } = c.req.valid('query')
    const ports = c.get('ports')
    const { container } = await requireContainer(ports, c.req.valid('param').container)
    return c.json(await awaitEnd(ports, container.id, condition, timeout * 1000), 200)
  })
  return routes
}

/** Seconds as people give them; what is left out is the container's own. */
function endOf({ signal, timeout }: { signal?: string | undefined; timeout?: number | undefined } = {}) {
  return { signal, timeoutMs: timeout === undefined ? undefined : Math.round(timeout * 1000) }
}

/** The container after an order or an update, once it is in the state that the client waits for. */
async function changed(c: Context<AppEnv>, idOrName: string, order: Order, { wait: state, timeout }: Waiting) {
  return reached(c, await orderContainer(c.get('ports'), idOrName, order), { wait: state, timeout })
}

async function reached(c: Context<AppEnv>, found: ContainerOnHost, { wait: state, timeout }: Waiting) {
  const ports = c.get('ports')
  if (!state) return c.json(viewContainer(ports, found), 200)
  const waited: ContainerView | undefined = await awaitContainer(ports, found.container.id, state, timeout * 1000)
  return waited ? c.json(waited, 200) : c.body(null, 204)
}
