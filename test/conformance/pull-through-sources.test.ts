import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { bootPullThrough, type PullThrough } from '#test/support/pull-through.ts'
import { descriptor, IMAGE_TYPE, LAYER_TYPE, sha256, someBytes } from './registry-client.ts'

/** Anybody may publish an image at an upstream that names other people's layers: it must not keep those from anyone. */

let world: PullThrough

beforeAll(async () => {
  world = await bootPullThrough()
})
afterEach(() => world.proxy.misbehave(undefined))
afterAll(async () => {
  await world?.[Symbol.asyncDispose]()
})

describe('a blob that several upstream repositories name', () => {
  test('comes from one that has it, whatever the others say of it', async () => {
    const { proxy, push, resolve, blob } = world
    for (const claimed of [200_000, 10]) {
      const bytes = someBytes(200_000)
      const tag = String(claimed)
      await push('library/honest', tag, 'amd64', bytes)
      const { config } = (await push('library/liar', tag, 'amd64', bytes)).manifest
      const layers = [{ ...descriptor(LAYER_TYPE, bytes), size: claimed }]
      const said = JSON.stringify({ schemaVersion: 2, mediaType: IMAGE_TYPE, config, layers })
      proxy.misbehave(({ path }, response) => {
        if (!path.includes('/library/liar/')) return false
        if (path.endsWith(`/manifests/${tag}`)) {
          return response.writeHead(200, { 'content-type': IMAGE_TYPE }).end(said) !== undefined
        }
        return path.includes(sha256(bytes)) && claimed === bytes.length && response.writeHead(404).end() !== undefined
      })
      expect((await resolve(`liar:${tag}`)).status).toBe(200)
      await resolve(`honest:${tag}`)
      expect(sha256((await blob(sha256(bytes))).bytes)).toBe(sha256(bytes))
    }
  })

  test('is not lost for one client because another one asked for it where it is not', async () => {
    const { proxy, push, resolve, client } = world
    const bytes = someBytes(100_000)
    for (const name of ['has-it', 'lost-it']) {
      await push(`library/${name}`, '1', 'amd64', bytes)
      await resolve(`${name}:1`)
    }
    const asked = Promise.withResolvers<void>()
    const answer = Promise.withResolvers<void>()
    proxy.misbehave(({ path }, response) => {
      if (!path.includes('/lost-it/blobs/')) return false
      asked.resolve()
      answer.promise.then(() => response.writeHead(404).end())
      return true
    })
    const ask = (name: string) => client.send('GET', `/v2/docker.io/library/${name}/blobs/${sha256(bytes)}`)
    const lost = ask('lost-it')
    await asked.promise
    const found = ask('has-it')
    setTimeout(answer.resolve, 500)
    expect((await lost).status).toBe(404)
    const got = await found
    expect([got.status, sha256(new Uint8Array(await got.arrayBuffer()))]).toEqual([200, sha256(bytes)])
  })

  test('comes to an image tagged as ours from where it was tagged', async () => {
    const { proxy, api, push, resolve, client } = world
    const bytes = someBytes(1000)
    for (const name of ['a-liar', 'tagged']) {
      await push(`library/${name}`, '1', 'amd64', bytes)
      await resolve(`${name}:1`)
    }
    proxy.misbehave(({ path }, response) => path.includes('/a-liar/') && response.writeHead(404).end() !== undefined)
    expect((await api('POST', '/v1/images/tagged:1/tag', { tag: 'team/tagged:1' })).status).toBe(201)
    const layer = await client.send('GET', `/v2/team/tagged/blobs/${sha256(bytes)}`)
    expect([layer.status, sha256(new Uint8Array(await layer.arrayBuffer()))]).toEqual([200, sha256(bytes)])
  })
})
