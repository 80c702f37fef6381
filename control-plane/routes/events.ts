import { createRoute, z } from '@hono/zod-openapi'
import { SUBJECTS } from '#shared/protocol/bus.ts'
import { eventFeed, feedStart } from '../intent/event-feed.ts'
import { problems, router } from './environment.ts'
import { SSE, SSE_HEARTBEAT, sse, streamTail } from './tail.ts'

const feed = createRoute({
  ...{ method: 'get', path: '/v1/events', tags: ['events'], summary: 'What happens, as server-sent events' },
  description:
    'Resumable: send the last id as `Last-Event-ID` (browsers do) or `?since=`; without one, only what comes next. The stream ends after a few minutes; resume it.',
  request: {
    headers: z.object({ 'last-event-id': z.coerce.number().int().min(0).optional() }),
    query: z.strictObject({
      since: z.coerce.number().int().min(0).optional(),
      type: z.string().max(64).optional().meta({ description: '`container` or `container.start`' }),
      subject: z.string().max(64).optional().meta({ description: 'Only events of this container, build or host id' }),
    }),
  },
  responses: {
    200: { content: { 'text/event-stream': { schema: z.string() } }, description: 'Events' },
    ...problems,
  },
})

export function eventRoutes() {
  const routes = router()
  routes.openapi(feed, async c => {
    const { since, type, subject } = c.req.valid('query')
    const ports = c.get('ports')
    let position = c.req.valid('header')['last-event-id'] ?? since ?? (await feedStart(ports))
    let greeting = 'retry: 1000\n\n'
    return streamTail(c, SSE, {
      subject: SUBJECTS.events,
      heartbeat: SSE_HEARTBEAT,
      read: async () => {
        const events = await eventFeed(ports, position, { type, subjectId: subject })
        position = events.at(-1)?.seq ?? position
        const text = greeting + events.map(event => sse(event.seq, event.type, event)).join('')
        greeting = ''
        return { text, isEnd: false }
      },
    })
  })
  return routes
}
