import type { OpenAPIHono } from '@hono/zod-openapi'
import type { Context } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import { ERRORS, SlipwayError } from '#shared/errors.ts'
import { authenticate } from './intent/principal.ts'
import type { Ports } from './ports.ts'
import { agentRoutes } from './routes/agent.ts'
import { buildRoutes } from './routes/builds.ts'
import { containerRoutes } from './routes/containers.ts'
import { contextRoutes } from './routes/contexts.ts'
import { docsRoutes } from './routes/docs.ts'
import { type AppEnv, router } from './routes/environment.ts'
import { eventRoutes } from './routes/events.ts'
import { healthRoutes } from './routes/health.ts'
import { hostRoutes } from './routes/hosts.ts'
import { imageRoutes } from './routes/images.ts'
import { logRoutes } from './routes/logs.ts'
import { problemOf, tooLarge } from './routes/problems.ts'
import { tokenRoutes } from './routes/tokens.ts'

const BODY_LIMIT = 1024 * 1024
/** Agents report a thousand containers at once, and manifests have up to 4 MiB. */
const AGENT_BODY_LIMIT = 16 * 1024 * 1024

export interface AppOptions {
  /** The world of one request: a process's own on Node, made for the request on workerd. */
  portsFor(c: Context): Ports | Promise<Ports>
  /** Called with what was no refusal of ours, to be logged. */
  onFailure(error: unknown, requestId: string): void
}

/** The whole API: a pure `Request → Response`, the same on Node and on workerd. */
export function createApp(options: AppOptions): OpenAPIHono<AppEnv> {
  const app = router()
  app.use(async (c, next) => {
    c.set('requestId', crypto.randomUUID())
    c.header('X-Request-Id', c.get('requestId'))
    c.header('X-Content-Type-Options', 'nosniff')
    c.set('ports', await options.portsFor(c))
    await next()
  })
  const onError = () => {
    throw tooLarge()
  }
  const operatorLimit = bodyLimit({ maxSize: BODY_LIMIT, onError })
  const agentLimit = bodyLimit({ maxSize: AGENT_BODY_LIMIT, onError })
  app.use('/v1/*', async (c, next) => {
    c.set('principal', await authenticate(c.get('ports'), c.req.header('authorization')))
    refuseStrangers(c)
    forgetTypeOfNothing(c)
    return (isAgentPath(c.req.path) ? agentLimit : operatorLimit)(c, next)
  })
  const modules = [healthRoutes, docsRoutes, contextRoutes, buildRoutes, imageRoutes, containerRoutes, logRoutes]
  for (const routes of [...modules, hostRoutes, eventRoutes, tokenRoutes, agentRoutes]) app.route('/', routes())

  app.openAPIRegistry.registerComponent('securitySchemes', 'token', { type: 'http', scheme: 'bearer' })
  app.doc31('/openapi.json', {
    openapi: '3.1.0',
    info: {
      title: 'Slipway',
      version: 'v1',
      description: 'Builds container images and runs them on a fleet of hosts.',
    },
    security: [{ token: [] }],
  })
  app.get('/', c => c.redirect('/docs'))
  app.notFound(c => {
    const allowed = methodsOf(app, c.req.path)
    if (allowed.length > 0) {
      throw new SlipwayError('request.method-not-allowed', `${c.req.path} takes ${allowed.join(', ')}.`, {
        facts: { allowed },
      })
    }
    throw new SlipwayError('request.not-found', `There is no ${c.req.method} ${c.req.path}. /docs lists what there is.`)
  })
  app.onError((error, c) => {
    const requestId = c.get('requestId')
    const problem = problemOf(error, requestId)
    if (problem.status >= 500) options.onFailure(error, requestId)
    const headers: Record<string, string> = { 'content-type': 'application/problem+json', 'x-request-id': requestId }
    if (problem.status === 405) headers.allow = String(problem.facts?.allowed)
    if (problem.status === 401) headers['www-authenticate'] = 'Bearer'
    // The rest of the body is not read, so the connection cannot carry another request.
    if (problem.status === 413) headers.connection = 'close'
    if (problem.retry && problem.status === ERRORS['host.unreachable'].status) headers['retry-after'] = '1'
    return c.body(JSON.stringify(problem), problem.status as 400, headers)
  })
  return app
}

/** Which methods have a handler for a path: middleware runs for a method that nobody knows, too. */
function methodsOf(app: OpenAPIHono<AppEnv>, path: string): string[] {
  const handlers = (method: string) => app.router.match(method, path)[0].length
  return ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'].filter(method => handlers(method) > handlers('NOBODY'))
}

/** Clients that always send `Content-Type: application/json` send it without a body, too: an optional body is left out then. */
function forgetTypeOfNothing(c: Context<AppEnv>): void {
  const hasBody = c.req.header('transfer-encoding') !== undefined || (c.req.header('content-length') ?? '0') !== '0'
  if (hasBody || c.req.header('content-type') === undefined) return
  const headers = new Headers(c.req.raw.headers)
  headers.delete('content-type')
  c.req.raw = new Request(c.req.raw.url, { method: c.req.method, headers, signal: c.req.raw.signal })
}

const isAgentPath = (path: string) => path.startsWith('/v1/agent/')

/** A host's token is good for the agent's own calls, an operator's for everything else. */
function refuseStrangers(c: Context<AppEnv>): void {
  const isAgent = c.get('principal').hostId !== null
  if (isAgent === isAgentPath(c.req.path)) return
  const who = isAgent ? "A host's token reaches /v1/agent/ only" : "/v1/agent/ is for hosts' own tokens"
  throw new SlipwayError('auth.forbidden', `${who}: use the other kind of token.`)
}
