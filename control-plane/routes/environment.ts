import { OpenAPIHono } from '@hono/zod-openapi'
import type { Context } from 'hono'
import { z } from 'zod'
import type { HostId } from '#shared/domain/ids.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { SocketPeer } from '#shared/ports/socket-peer.ts'
import { problemSchema } from '#shared/protocol/problem.ts'
import type { Creation } from '../intent/idempotency.ts'
import type { Principal } from '../intent/principal.ts'
import type { Ports } from '../ports.ts'
import { unknownField } from './unknown-field.ts'

/** What every route finds in its context. */
export interface AppEnv {
  Variables: {
    ports: Ports
    principal: Principal
    requestId: string
    /** The bytes of a request that may be large. Read once. */
    bodyOf: () => ReadableStream<Uint8Array> | null
    /** Answers with a WebSocket, which the function has until its end. */
    upgrade: (talk: (peer: SocketPeer) => Promise<void>) => Response | Promise<Response>
  }
}

const PARTS: Record<string, string> = { json: 'the body', query: 'the query', param: 'the path', header: 'the headers' }

/** A router whose failed validation is one of our problems, naming the field. */
export function router(): OpenAPIHono<AppEnv> {
  // zod has one place for words about all schemas, and no other that still knows the schema: each router says the same.
  z.config({ customError: unknownField })
  return new OpenAPIHono<AppEnv>({
    defaultHook: result => {
      if (result.success) return
      const [issue] = result.error.issues
      const field = issue?.path.join('.') || (PARTS[result.target] ?? result.target)
      const why = issue?.message ?? 'is not right'
      throw new SlipwayError(
        'request.invalid',
        `${field}: ${why}${why.endsWith('?') ? '' : '.'} See /docs for what it takes.`,
        {
          facts: {
            in: result.target,
            issues: result.error.issues.map(({ path, message }) => ({ path: path.join('.'), message })),
          },
        },
      )
    },
  })
}

export const json = <T extends z.ZodType>(schema: T, description: string) => ({
  content: { 'application/json': { schema } },
  description,
})

/** A JSON body that must be there. */
export const body = <T extends z.ZodType>(schema: T) => ({
  content: { 'application/json': { schema } },
  required: true,
})

/** A JSON body that may be left out. */
export const optionalBody = <T extends z.ZodType>(schema: T) => ({ content: { 'application/json': { schema } } })

export const problems = {
  '4XX': {
    content: { 'application/problem+json': { schema: problemSchema } },
    description: 'A problem (RFC 9457) with `code`, a sentence in `detail`, and `retry`.',
  },
  '5XX': {
    content: { 'application/problem+json': { schema: problemSchema } },
    description: 'A problem here, not in the request: `retry` says whether trying again later can help.',
  },
}

export const idempotencyHeader = z.object({
  'idempotency-key': z
    .string()
    .optional()
    .meta({ description: 'Repeating a request with its key creates nothing twice.' }),
})

/** What `createOnce` needs of a request: who, the key, and what must be the same in a repeat. */
export function creationOf(c: Context<AppEnv>, requestBody: unknown): Creation {
  return {
    principal: c.get('principal'),
    key: c.req.header('idempotency-key'),
    request: `${c.req.method} ${c.req.path} ${JSON.stringify(requestBody)}`,
  }
}

export function markReplay(c: Context<AppEnv>, isReplayed: boolean): void {
  if (isReplayed) c.header('Idempotency-Replayed', 'true')
}

/** The host that asks, on routes that only agents reach. */
export function hostOf(c: Context<AppEnv>): HostId {
  const { hostId } = c.get('principal')
  if (hostId) return hostId
  throw new SlipwayError('auth.forbidden', 'Only the agent of a host may ask this, with its own token.')
}
