import { Readable } from 'node:stream'
import type { HttpBindings } from '@hono/node-server'
import { Hono } from 'hono'
import { readRange } from '#shared/protocol/byte-range.ts'
import type { FolderBlobs } from './folder-blobs.ts'

/**
 * Answers the signed URLs of a folder store: PUT, GET with one range (RFC 9110 §14). The signature is the only key.
 * `requireRoom`: throws where what is free is not for uploads.
 */
export function folderBlobRoutes(blobs: FolderBlobs, requireRoom: () => void) {
  const routes = new Hono<{ Bindings: HttpBindings }>()
  routes.put('/blobs/:key{.+}', async c => {
    const key = c.req.param('key')
    const terms = blobs.verify('PUT', key, new URL(c.req.url).searchParams)
    requireRoom()
    // As they came off the socket, and it stays open for the answer (`request-body.ts`).
    const bytes = Readable.from(c.env.incoming.iterator({ destroyOnReturn: false }))
    const tag = await blobs.write(key, bytes, terms)
    return c.body(null, 201, tag === undefined ? {} : { etag: tag })
  })
  routes.get('/blobs/:key{.+}', async c => {
    const key = c.req.param('key')
    blobs.verify('GET', key, new URL(c.req.url).searchParams)
    const info = await blobs.head(key)
    if (!info) return c.body(null, 404)
    const range = readRange(c.req.header('range'), info.size)
    if (range === 'unsatisfiable') return c.body(null, 416, { 'content-range': `bytes */${info.size}` })
    const found = await blobs.get(key, range)
    if (!found) return c.body(null, 404)
    const length = range ? range.end - range.start + 1 : info.size
    return new Response(found.body, {
      status: range ? 206 : 200,
      headers: {
        'accept-ranges': 'bytes',
        'content-length': String(length),
        'content-type': 'application/octet-stream',
        ...(range ? { 'content-range': `bytes ${range.start}-${range.end}/${info.size}` } : {}),
      },
    })
  })
  return routes
}
