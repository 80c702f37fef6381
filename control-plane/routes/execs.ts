import { createRoute, z } from '@hono/zod-openapi'
import type { Context } from 'hono'
import { terminalSizeSchema } from '#shared/domain/exec.ts'
import { SlipwayError } from '#shared/errors.ts'
import { CHANNEL_PROTOCOL } from '#shared/protocol/channels.ts'
import {
  attachQuerySchema,
  createExecQuerySchema,
  createExecSchema,
  execQuerySchema,
  execViewSchema,
} from '#shared/protocol/exec.ts'
import { attach } from '../intent/attach.ts'
import { requireScopes } from '../intent/container-scopes.ts'
import { requireContainer } from '../intent/containers.ts'
import { findExec, inspectExec, listExecs, outputOfExec, resizeExec, startExec } from '../intent/execs.ts'
import { type AppEnv, body, json, problems, router } from './environment.ts'

const container = z.string().meta({ description: 'Id or name' })
const params = z.object({ container })
const sessionParams = z.object({ container, exec: z.string().meta({ description: 'Id of the session' }) })
const tags = ['containers']
const SESSION = '/v1/containers/{container}/exec/{exec}'

const create = createRoute({
  ...{ method: 'post', path: '/v1/containers/{container}/exec', tags, summary: 'Run a process in a container' },
  description:
    'In its namespaces and cgroup, with its confinement, as `docker exec`. The answer is a session to attach to; with ' +
    '`?wait=exited` it is what the process wrote and its exit code. What could not be run has ended with 126 or 127. What ' +
    'it writes waits a minute for somebody to attach; then it is dropped, and the process goes on.',
  request: { params, query: createExecQuerySchema, body: body(createExecSchema) },
  responses: { 201: json(execViewSchema, 'The session'), ...problems },
})
const list = createRoute({
  ...{ method: 'get', path: '/v1/containers/{container}/exec', tags, summary: 'List the exec sessions of a container' },
  description: 'Ended ones are remembered for ten minutes, on the host.',
  request: { params },
  responses: { 200: json(z.object({ items: z.array(execViewSchema) }), 'Oldest first'), ...problems },
})
const inspect = createRoute({
  ...{ method: 'get', path: SESSION, tags, summary: 'Inspect an exec session' },
  request: { params: sessionParams, query: execQuerySchema },
  responses: { 200: json(execViewSchema, 'The session; with `?wait=exited` once it has ended'), ...problems },
})
const resize = createRoute({
  ...{ method: 'post', path: `${SESSION}/resize`, tags, summary: 'Resize the terminal of an exec session' },
  request: { params: sessionParams, body: body(terminalSizeSchema) },
  responses: { 200: json(execViewSchema, 'The session'), ...problems },
})
const WEBSOCKET =
  `A WebSocket of binary messages, as Kubernetes' \`${CHANNEL_PROTOCOL}\`: the first byte is the channel. 0 stdin, 1 stdout, ` +
  '2 stderr, 3 how it ended (JSON, the last message), 4 resize (`{"Width":80,"Height":24}`), 255 and a channel: its end ' +
  '(docs/containers.md).'
const upgraded = { 101: { description: 'The WebSocket' }, ...problems }
const attachExec = createRoute({
  ...{ method: 'get', path: `${SESSION}/attach`, tags, summary: 'Attach to an exec session' },
  description: `${WEBSOCKET} One client at a time: a later one takes the session over.`,
  request: { params: sessionParams, query: attachQuerySchema },
  responses: upgraded,
})
const attachContainer = createRoute({
  ...{
    method: 'get',
    path: '/v1/containers/{container}/attach',
    tags,
    summary: "Attach to a container's first process",
  },
  description: `${WEBSOCKET} From now on: what it wrote before is in its log.`,
  request: { params, query: attachQuerySchema },
  responses: upgraded,
})

export function execRoutes() {
  const routes = router()
  routes.openapi(create, async c => {
    const asked = c.req.valid('json')
    const { wait, timeout } = c.req.valid('query')
    const ports = c.get('ports')
    refuseInput(asked, wait !== undefined)
    const { signal } = c.req.raw
    const { container } = await requireMay(c, c.req.valid('param').container)
    const { at, session } = await startExec(ports, container.id, asked, signal) // A name may be another's by now.
    c.header('Location', `/v1/containers/${at.containerId}/exec/${at.execId}`)
    if (!wait) return c.json(session, 201)
    if (asked.detach) return c.json(await inspectExec(ports, at, timeout * 1000, signal), 201)
    return c.json(await outputOfExec(ports, at, asked.input, timeout * 1000, signal), 201)
  })
  routes.openapi(list, async c => {
    const items = await listExecs(c.get('ports'), c.req.valid('param').container, c.req.raw.signal)
    return c.json({ items }, 200)
  })
  routes.openapi(inspect, async c => {
    const { container: name, exec } = c.req.valid('param')
    const { wait, timeout } = c.req.valid('query')
    const at = await findExec(c.get('ports'), name, exec)
    const session = await inspectExec(c.get('ports'), at, wait ? timeout * 1000 : 0, c.req.raw.signal)
    if (!wait || session.state === 'exited') return c.json(session, 200)
    throw new SlipwayError(
      'request.timeout',
      `It still runs after ${timeout} s: ask again, or wait longer with ?timeout=.`,
    )
  })
  routes.openapi(resize, async c => {
    const { container: name, exec } = c.req.valid('param')
    const at = await findExec(c.get('ports'), name, exec)
    return c.json(await resizeExec(c.get('ports'), at, c.req.valid('json'), c.req.raw.signal), 200)
  })
  routes.openapi(attachExec, async c => {
    const { container: name, exec } = c.req.valid('param')
    requireUpgrade(c)
    const ports = c.get('ports')
    const { container } = await requireMay(c, name)
    const at = await findExec(ports, container.id, exec)
    await inspectExec(ports, at, 0, c.req.raw.signal) // What there is not is a problem, not a WebSocket that closes.
    const isCounted = c.req.valid('query').flow ?? false
    const order = { kind: 'exec-attach', containerId: at.containerId, execId: at.execId } as const
    const answer = c.get('upgrade')(peer => attach(ports, at.hostId, order, peer, { isCounted, isPatient: true }))
    return answer as Promise<never>
  })
  routes.openapi(attachContainer, async c => {
    requireUpgrade(c)
    const ports = c.get('ports')
    const { container: row, host } = await requireMay(c, c.req.valid('param').container)
    const isCounted = c.req.valid('query').flow ?? false
    const order = { kind: 'attach', containerId: row.id } as const
    // A client that takes nothing must not stop a container for long.
    const answer = c.get('upgrade')(peer => attach(ports, host.id, order, peer, { isCounted, isPatient: false }))
    return answer as Promise<never>
  })
  return routes
}

/** Whoever types in a container decides what runs in it. Errors: `container.not-found`, `auth.forbidden`. */
async function requireMay(c: Context<AppEnv>, idOrName: string) {
  const found = await requireContainer(c.get('ports'), idOrName)
  requireScopes(c.get('principal'), found.container.spec)
  return found
}

function requireUpgrade(c: Context<AppEnv>): void {
  if (c.req.header('upgrade')?.toLowerCase() === 'websocket') return
  throw new SlipwayError(
    'request.upgrade-required',
    `${c.req.path} is a WebSocket: connect to it with a WebSocket client, subprotocol ${CHANNEL_PROTOCOL}.`,
  )
}

function refuseInput(asked: z.infer<typeof createExecSchema>, isWaited: boolean): void {
  if (asked.input === undefined || (isWaited && asked.stdin === undefined && !asked.tty && !asked.detach)) return
  throw new SlipwayError(
    'request.invalid',
    'input: goes with ?wait=exited, and without stdin, tty and detach. Without a wait attach to the session, and send it.',
  )
}
