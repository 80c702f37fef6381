import { createRoute, z } from '@hono/zod-openapi'
import type { Context } from 'hono'
import { buildStateSchema } from '#shared/domain/build.ts'
import type { BuildId } from '#shared/domain/ids.ts'
import {
  type BuildView,
  buildSchema,
  buildStepsSchema,
  buildWaitQuerySchema,
  commitSchema,
  createBuildSchema,
  importSchema,
} from '#shared/protocol/builds.ts'
import { SUBJECTS } from '#shared/protocol/bus.ts'
import { flagSchema, pageQuerySchema, pageSchema } from '#shared/protocol/paging.ts'
import { readBuildSteps } from '../intent/build-steps.ts'
import { inspectBuild, requireBuild } from '../intent/build-view.ts'
import { awaitBuild, listBuildPage, readBuildLog } from '../intent/build-wait.ts'
import { createBuild, createCommit, createImport, orderCancel } from '../intent/builds.ts'
import { tellForges } from '../intent/commit-statuses.ts'
import { requireTags } from '../intent/container-scopes.ts'
import type { Created } from '../intent/idempotency.ts'
import { type AppEnv, body, creationOf, idempotencyHeader, json, markReplay, problems, router } from './environment.ts'
import { plainLog } from './plain-log.ts'
import { SSE, SSE_HEARTBEAT, sse, streamTail } from './tail.ts'

const tags = ['builds']
const params = z.object({ build: z.string() })

const list = createRoute({
  ...{ method: 'get', path: '/v1/builds', tags, summary: 'List builds' },
  request: { query: pageQuerySchema.extend({ state: buildStateSchema.optional() }) },
  responses: { 200: json(pageSchema(buildSchema), 'A page of builds'), ...problems },
})
const create = createRoute({
  ...{ method: 'post', path: '/v1/builds', tags, summary: 'Build the Dockerfile of a context, a repository or a tar' },
  request: { headers: idempotencyHeader, query: buildWaitQuerySchema, body: body(createBuildSchema) },
  responses: { 201: json(buildSchema, 'The build'), ...problems },
})
const commit = createRoute({
  ...{ method: 'post', path: '/v1/containers/{container}/commit', tags, summary: 'Make an image of a container' },
  description:
    'A build on the host of the container: what it changed becomes a layer on top of its image, with the command, environment, user and folder that it was started with. What is in volumes is left out.',
  request: {
    ...{ params: z.object({ container: z.string() }), headers: idempotencyHeader },
    ...{ query: buildWaitQuerySchema, body: body(commitSchema) },
  },
  responses: { 201: json(buildSchema, 'The build'), ...problems },
})
const imported = createRoute({
  ...{ method: 'post', path: '/v1/images/import', tags, summary: 'Make an image of a root filesystem in a tar' },
  description: 'The tar of a context, plain or compressed with gzip or zstd, becomes an image of one layer.',
  request: { headers: idempotencyHeader, query: buildWaitQuerySchema, body: body(importSchema) },
  responses: { 201: json(buildSchema, 'The build'), ...problems },
})
const inspect = createRoute({
  ...{ method: 'get', path: '/v1/builds/{build}', tags, summary: 'Inspect a build, or wait for its end' },
  request: { params, query: buildWaitQuerySchema },
  responses: { 200: json(buildSchema, 'The build'), ...problems },
})
const cancel = createRoute({
  ...{ method: 'post', path: '/v1/builds/{build}/cancel', tags, summary: 'Cancel a build that has not ended' },
  request: { params, query: buildWaitQuerySchema },
  responses: { 200: json(buildSchema, 'The build'), ...problems },
})
const logs = createRoute({
  ...{ method: 'get', path: '/v1/builds/{build}/logs', tags, summary: 'The log of a build' },
  description:
    'Server-sent events for `Accept: text/event-stream` (`line`, then `end`; ids are line numbers, resumable by `Last-Event-ID`); otherwise text, what there is so far or, with `?follow=true`, what comes until the build has ended, for five minutes at most: ask again then. Steps run side by side: a line has the number of its `step`, and a `mark` where it begins or ends it (as text: `#5 [build 2/4] RUN make`, `#5 0.412 output`, `#5 DONE 3.2s`).',
  request: {
    params,
    headers: z.object({ 'last-event-id': z.coerce.number().int().min(0).optional() }),
    query: z.strictObject({ follow: flagSchema.optional() }),
  },
  responses: {
    200: {
      content: { 'text/plain': { schema: z.string() }, 'text/event-stream': { schema: z.string() } },
      description: 'The log',
    },
    ...problems,
  },
})

const steps = createRoute({
  ...{ method: 'get', path: '/v1/builds/{build}/steps', tags, summary: 'The steps of a build' },
  description: 'In the order of their beginnings, as the log tells them: while the build runs, and afterwards.',
  request: { params },
  responses: { 200: json(buildStepsSchema, 'The steps'), ...problems },
})

export function buildRoutes() {
  const routes = router()
  routes.openapi(list, async c => {
    const { limit, cursor, state } = c.req.valid('query')
    return c.json(await listBuildPage(c.get('ports'), limit, cursor, state), 200)
  })
  routes.openapi(create, async c => {
    const asked = c.req.valid('json')
    const made = await createBuild(c.get('ports'), asked, creationOf(c, asked))
    return c.json(await begun(c, made, c.req.valid('query')), 201)
  })
  routes.openapi(commit, async c => {
    const asked = c.req.valid('json')
    requireTags(c.get('principal'), asked.tags)
    const made = await createCommit(c.get('ports'), c.req.valid('param').container, asked, creationOf(c, asked))
    return c.json(await begun(c, made, c.req.valid('query')), 201)
  })
  routes.openapi(imported, async c => {
    const asked = c.req.valid('json')
    const made = await createImport(c.get('ports'), asked, creationOf(c, asked))
    return c.json(await begun(c, made, c.req.valid('query')), 201)
  })
  routes.openapi(inspect, async c => {
    const [ports, { wait, timeout }] = [c.get('ports'), c.req.valid('query')]
    const { build } = await requireBuild(ports, c.req.valid('param').build)
    return c.json(wait ? await awaitBuild(ports, build.id, timeout * 1000) : await inspectBuild(ports, build.id), 200)
  })
  routes.openapi(cancel, async c => {
    const ports = c.get('ports')
    const { wait, timeout } = c.req.valid('query')
    await orderCancel(ports, c.req.valid('param').build)
    ports.later(() => tellForges(ports))
    const { build } = await requireBuild(ports, c.req.valid('param').build)
    return c.json(wait ? await awaitBuild(ports, build.id, timeout * 1000) : await inspectBuild(ports, build.id), 200)
  })
  routes.openapi(steps, async c =>
    c.json({ steps: await readBuildSteps(c.get('ports'), c.req.valid('param').build) }, 200),
  )
  routes.openapi(logs, async c => {
    const ports = c.get('ports')
    const { build } = await requireBuild(ports, c.req.valid('param').build)
    const wantsEvents = c.req.header('accept')?.includes('text/event-stream') ?? false
    const isFollowing = wantsEvents || c.req.valid('query').follow === true
    const lastSeen = c.req.valid('header')['last-event-id']
    let next = lastSeen === undefined ? 0 : lastSeen + 1
    const plain = plainLog()
    return streamTail(c, wantsEvents ? SSE : 'text/plain; charset=utf-8', {
      subject: SUBJECTS.changed('build', build.id),
      heartbeat: wantsEvents ? SSE_HEARTBEAT : '',
      read: async () => {
        const { lines, from, isEnd, state } = await readBuildLog(ports, build.id, next)
        next = from + lines.length
        const end = wantsEvents && isEnd ? sse(next, 'end', { state }) : ''
        const text = wantsEvents
          ? lines.map((line, at) => sse(from + at, 'line', line)).join('')
          : lines.map(line => plain(line)).join('')
        return { text: text + end, isEnd: isEnd || (!isFollowing && lines.length === 0) }
      },
    })
  })
  return routes
}

/** The build as it begins or, where the request waits for it, as it ends. */
async function begun(
  c: Context<AppEnv>,
  { id, isReplayed }: Created<BuildId>,
  { wait, timeout }: z.infer<typeof buildWaitQuerySchema>,
): Promise<BuildView> {
  const ports = c.get('ports')
  markReplay(c, isReplayed)
  c.header('Location', `/v1/builds/${id}`)
  return wait ? awaitBuild(ports, id, timeout * 1000) : inspectBuild(ports, id)
}
