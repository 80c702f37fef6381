import { createRoute, z } from '@hono/zod-openapi'
import { buildStateSchema } from '#shared/domain/build.ts'
import type { BuildLogLine } from '#shared/protocol/agent.ts'
import { buildSchema, buildWaitQuerySchema, createBuildSchema } from '#shared/protocol/builds.ts'
import { SUBJECTS } from '#shared/protocol/bus.ts'
import { flagSchema, pageQuerySchema, pageSchema } from '#shared/protocol/paging.ts'
import { awaitBuild, listBuildPage, readBuildLog } from '../intent/build-wait.ts'
import { createBuild, orderCancel, requireBuild, viewBuild } from '../intent/builds.ts'
import { body, creationOf, idempotencyHeader, json, markReplay, problems, router } from './environment.ts'
import { SSE, SSE_HEARTBEAT, sse, streamTail } from './tail.ts'

const tags = ['builds']
const params = z.object({ build: z.string() })

const list = createRoute({
  ...{ method: 'get', path: '/v1/builds', tags, summary: 'List builds' },
  request: { query: pageQuerySchema.extend({ state: buildStateSchema.optional() }) },
  responses: { 200: json(pageSchema(buildSchema), 'A page of builds'), ...problems },
})
const create = createRoute({
  ...{ method: 'post', path: '/v1/builds', tags, summary: 'Build the Dockerfile of an uploaded context' },
  request: { headers: idempotencyHeader, query: buildWaitQuerySchema, body: body(createBuildSchema) },
  responses: { 201: json(buildSchema, 'The build'), ...problems },
})
const inspect = createRoute({
  ...{ method: 'get', path: '/v1/builds/{build}', tags, summary: 'Inspect a build' },
  request: { params },
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
    'Server-sent events for `Accept: text/event-stream` (`line`, then `end`; ids are line numbers, resumable by `Last-Event-ID`); otherwise text, what there is so far or, with `?follow=true`, until the build has ended.',
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

export function buildRoutes() {
  const routes = router()
  routes.openapi(list, async c => {
    const { limit, cursor, state } = c.req.valid('query')
    return c.json(await listBuildPage(c.get('ports'), limit, cursor, state), 200)
  })
  routes.openapi(create, async c => {
    const asked = c.req.valid('json')
    const { wait, timeout } = c.req.valid('query')
    const ports = c.get('ports')
    const { id, isReplayed } = await createBuild(ports, asked, creationOf(c, asked))
    markReplay(c, isReplayed)
    return c.json(wait ? await awaitBuild(ports, id, timeout * 1000) : viewBuild(await requireBuild(ports, id)), 201)
  })
  routes.openapi(inspect, async c =>
    c.json(viewBuild(await requireBuild(c.get('ports'), c.req.valid('param').build)), 200),
  )
  routes.openapi(cancel, async c => {
    const ports = c.get('ports')
    const { wait, timeout } = c.req.valid('query')
    await orderCancel(ports, c.req.valid('param').build)
    const { build } = await requireBuild(ports, c.req.valid('param').build)
    return c.json(
      wait ? await awaitBuild(ports, build.id, timeout * 1000) : viewBuild(await requireBuild(ports, build.id)),
      200,
    )
  })
  routes.openapi(logs, async c => {
    const ports = c.get('ports')
    const { build } = await requireBuild(ports, c.req.valid('param').build)
    const wantsEvents = c.req.header('accept')?.includes('text/event-stream') ?? false
    const isFollowing = wantsEvents || c.req.valid('query').follow === true
    const lastSeen = c.req.valid('header')['last-event-id']
    let next = lastSeen === undefined ? 0 : lastSeen + 1
    return streamTail(c, wantsEvents ? SSE : 'text/plain; charset=utf-8', {
      subject: SUBJECTS.changed('build', build.id),
      heartbeat: wantsEvents ? SSE_HEARTBEAT : '',
      read: async () => {
        const { lines, from, isEnd, state } = await readBuildLog(ports, build.id, next)
        next = from + lines.length
        const end = wantsEvents && isEnd ? sse(next, 'end', { state }) : ''
        const text = wantsEvents
          ? lines.map((line, at) => sse(from + at, 'line', line)).join('')
          : lines.map(plain).join('')
        return { text: text + end, isEnd: isEnd || (!isFollowing && lines.length === 0) }
      },
    })
  })
  return routes
}

function plain({ stream, text }: BuildLogLine): string {
  return `${stream === 'step' ? '' : '  '}${text}\n`
}
