import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { buildDebian } from '#infra/local/base-images.ts'
import { buildContext } from '#infra/local/builds.ts'
import { uploadFolder } from '#infra/local/contexts.ts'
import { waitUntil } from '#infra/local/processes.ts'
import { bootForTest, freePort, type TestSlipway } from '#test/support/slipway.ts'

const project = join(import.meta.dirname, '../..')
let slipway: TestSlipway

beforeAll(async () => {
  slipway = await bootForTest('e2edeb')
})
afterAll(async () => {
  expect(await slipway?.remove()).toEqual([])
})

test('a Debian image by debootstrap, nginx installed by apt-get in RUN, a page through a published port', async () => {
  const { api } = slipway
  let log = ''
  const print = (text: string) => (log += text)
  await buildDebian(api, join(project, '.tools/cache/debian-12.tar.gz'), print)
  const context = await uploadFolder(api, join(project, 'examples/debian-nginx'))
  await buildContext(api, { context, tags: ['nginx-page:latest'] }, print)
  const port = await freePort('0.0.0.0')
  await api.call('POST', '/v1/containers?wait=running', {
    image: 'nginx-page',
    name: 'nginx',
    ports: [`127.0.0.1:${port}:80`],
  })
  const page = () =>
    fetch(`http://127.0.0.1:${port}/`, { signal: AbortSignal.timeout(2000) }).then(
      response => response.text(),
      () => '',
    )
  expect(await waitUntil(async () => (await page()) !== '', 15_000), log.slice(-2000)).toBe(true)
  expect(await page()).toContain('Slipway')
  let accessLog = ''
  for await (const piece of api.text('/v1/containers/nginx/logs')) accessLog += piece
  expect(accessLog).toContain('GET / HTTP/1.1')
}, 600_000)
