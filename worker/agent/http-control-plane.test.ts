import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, test } from 'vitest'
import { digestFromHex } from '#shared/digest.ts'
import { systemClock } from '#shared/ports/clock.ts'
import { httpControlPlane } from './http-control-plane.ts'

/** An API that breaks off the first `broken` connections, then answers with `body`. */
async function api(broken: number, status: number, body: object) {
  let asked = 0
  const deleted: string[] = []
  const server = createServer((request, response) => {
    if (++asked <= broken) request.socket.destroy()
    else if (request.method === 'DELETE') {
      deleted.push(request.url ?? '')
      response.writeHead(204).end()
    } else if (request.url?.startsWith('/v1/agent/blobs/')) response.writeHead(307, { location: '/store' }).end()
    else if (request.url === '/store') response.writeHead(404).end()
    else response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return {
    plane: httpControlPlane(`http://127.0.0.1:${port}`, 'token'),
    asked: () => asked,
    deleted,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections()
      server.close()
      await systemClock.sleep(0)
    },
  }
}

test('a question is asked again while the API is away for a moment', async () => {
  await using server = await api(1, 200, { missing: [] })
  expect(await server.plane.missingBlobs([])).toEqual([])
  expect(server.asked()).toBe(2)
})

test('what the API refuses is asked once', async () => {
  const problem = {
    type: 'about:blank',
    title: 'x',
    status: 404,
    code: 'image.not-found',
    detail: 'no',
    retry: false,
  }
  await using server = await api(0, 404, problem)
  await expect(server.plane.resolveImage('a:1')).rejects.toMatchObject({ code: 'image.not-found' })
  expect(server.asked()).toBe(1)
})

test('what the store has lost is asked for once, and the API is told', async () => {
  await using server = await api(0, 200, {})
  const digest = digestFromHex('a'.repeat(64))
  const lost = server.plane.download(digest)
  await expect(lost).rejects.toMatchObject({ code: 'blob.not-found', retry: false })
  expect([server.asked(), server.deleted]).toEqual([3, [`/v1/agent/blobs/${digest}`]])
})
