import { createRoute, z } from '@hono/zod-openapi'
import { expect, test } from 'vitest'
import { ERRORS } from '#shared/errors.ts'
import { createBuildSchema } from '#shared/protocol/builds.ts'
import { createContainerSchema } from '#shared/protocol/containers.ts'
import { body, router } from './environment.ts'
import { problemOf } from './problems.ts'
import { fieldNear } from './unknown-field.ts'

const buildFields = Object.keys(createBuildSchema.shape)
const containerFields = Object.keys(createContainerSchema.shape)

test.each([
  ['buildArgs', 'args'],
  ['build-args', 'args'],
  ['no_cache', 'noCache'],
  ['tag', 'tags'],
  ['dockerFile', 'dockerfile'],
  ['lables', 'labels'],
  ['buildContexts', 'contexts'],
  ['hostname', 'host'],
])('%s of a build is probably %s', (word, field) => {
  expect(fieldNear(word, buildFields)).toBe(field)
})

test('a word that is near nothing has no hint', () => {
  expect(fieldNear('xyzzy', [...buildFields, ...containerFields])).toBeUndefined()
  expect(fieldNear('', buildFields)).toBeUndefined()
  expect(fieldNear('x', [])).toBeUndefined()
})

/** A route with a strict body in a strict body, and its answer to what is sent. */
async function detailOf(sent: unknown): Promise<string> {
  const app = router()
  const schema = z.strictObject({ args: z.string().optional(), git: z.strictObject({ url: z.string() }).optional() })
  const route = createRoute({
    method: 'post',
    path: '/',
    request: { body: body(schema) },
    responses: { 204: { description: 'Taken.' } },
  })
  app.openapi(route, c => c.body(null, 204))
  app.onError((error, c) => c.json(problemOf(error, 'r'), ERRORS['request.invalid'].status))
  const headers = { 'content-type': 'application/json' }
  const answer = await app.request('/', { method: 'POST', headers, body: JSON.stringify(sent) })
  return ((await answer.json()) as { detail: string }).detail
}

test('each route says which field was meant, in parts of a body too', async () => {
  expect(await detailOf({ buildArgs: 'x' })).toBe(
    'the body: there is no field "buildArgs": did you mean "args"? See /docs for what it takes.',
  )
  expect(await detailOf({ git: { url: 'x', uri: 'y' } })).toBe(
    'git: there is no field "uri": did you mean "url"? See /docs for what it takes.',
  )
  expect(await detailOf({ xyzzy: 1 })).toBe(
    'the body: there is no field "xyzzy": there are args, git. See /docs for what it takes.',
  )
  expect(await detailOf({ args: 7 })).toMatch(/^args: .*string.*\. See/)
})
