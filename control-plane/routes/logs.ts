import { createRoute, z } from '@hono/zod-openapi'
import { SlipwayError } from '#shared/errors.ts'
import type { LogLine } from '#shared/protocol/bus.ts'
import { logsQuerySchema } from '#shared/protocol/containers.ts'
import { containerLogs } from '../intent/container-logs.ts'
import { requireContainer } from '../intent/containers.ts'
import { problems, router } from './environment.ts'
import { streamed } from './streamed.ts'
import { SSE } from './tail.ts'

const logs = createRoute({
  ...{
    method: 'get',
    path: '/v1/containers/{container}/logs',
    tags: ['containers'],
    summary: 'What a container wrote',
  },
  description:
    'Text, stdout and stderr as they came; `?stdout=false` or `?stderr=false` leaves one out, `?format=json` tells them apart, one object a line.',
  request: { params: z.object({ container: z.string() }), query: logsQuerySchema },
  responses: {
    200: {
      content: { 'text/plain': { schema: z.string() }, 'text/event-stream': { schema: z.string() } },
      description: 'The log; with `Accept: text/event-stream` as events `stdout` and `stderr`',
    },
    ...problems,
  },
})

export function logRoutes() {
  const routes = router()
  routes.openapi(logs, async c => {
    const query = c.req.valid('query')
    const { container, host } = await requireContainer(c.get('ports'), c.req.valid('param').container)
    const [type, format] = presentation(c.req.header('accept'), query)
    const wanted = {
      follow: query.follow ?? false,
      tail: query.tail === undefined || query.tail === 'all' ? undefined : Number(query.tail),
      sinceMs: sinceMs(query.since, c.get('ports').clock.now()),
      stdout: query.stdout ?? true,
      stderr: query.stderr ?? true,
    }
    return streamed(c, { 'content-type': type }, async function* (gone) {
      for await (const lines of containerLogs(c.get('ports'), host.id, container.id, wanted, gone)) {
        yield encode(lines, format)
      }
    })
  })
  return routes
}

const encode = (lines: LogLine[], format: (line: LogLine) => string) =>
  new TextEncoder().encode(lines.map(line => format(inUtc(line))).join(''))
const asText = ({ text, isPartial }: LogLine) => (isPartial ? text : `${text}\n`)
const withTime = (line: LogLine) => `${line.time} ${asText(line)}`
const asJson = (line: LogLine) => `${JSON.stringify(line)}\n`
/** In a URL a `+` is a space: with `Z` a line's time can be sent back as it is. */
const inUtc = (line: LogLine): LogLine => ({ ...line, time: line.time.replace(/\+00:00$/, 'Z') })

const asEvent = (line: LogLine) => `event: ${line.stream}\ndata: ${JSON.stringify(line)}\n\n`

type Presentation = [contentType: string, format: (line: LogLine) => string]

function presentation(accept: string | undefined, query: z.infer<typeof logsQuerySchema>): Presentation {
  if (accept?.includes('text/event-stream')) return [SSE, asEvent]
  if (query.format === 'json') return ['application/x-ndjson', asJson]
  return ['text/plain; charset=utf-8', query.timestamps ? withTime : asText]
}

const UNITS_MS: Record<string, number> = { h: 3_600_000, m: 60_000, s: 1000 }

function sinceMs(text: string | undefined, now: number): number | undefined {
  if (text === undefined) return undefined
  if (/^(\d+(\.\d+)?[hms])+$/.test(text)) {
    const ago = [...text.matchAll(/([\d.]+)([hms])/g)].map(
      ([, count, unit]) => Number(count) * (UNITS_MS[unit ?? ''] ?? 0),
    )
    return now - ago.reduce((sum, ms) => sum + ms, 0)
  }
  const time = /^\d+(\.\d+)?$/.test(text) ? Number(text) * 1000 : Date.parse(text.replace(' ', '+'))
  if (Number.isFinite(time)) return time
  throw new SlipwayError('request.invalid', 'since must be RFC 3339, seconds since 1970, or how long ago, such as 10m.')
}
