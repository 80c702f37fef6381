import { connect } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { buildDebian } from '#infra/local/base-images.ts'
import { waitUntil } from '#infra/local/processes.ts'
import { bootForTest, freePort, type TestSlipway } from '#test/support/slipway.ts'
import { readImage } from './image-files.ts'
import { REAL_IMAGES, type RealImage, uploadContexts } from './real-images.ts'

/** Images as well-known projects build theirs (`real/README.md`): built, run, and asked something through a published port. */

const PROJECT = join(import.meta.dirname, '../..')
const READY_MS = 60_000
const ANSWER_MS = 2_000
let slipway: TestSlipway

beforeAll(async () => {
  slipway = await bootForTest('realdf')
  await buildDebian(slipway.api, join(PROJECT, '.tools/cache/debian-12.tar.gz'), () => {})
})
afterAll(async () => {
  expect(await slipway?.remove()).toEqual([])
})

test.each(REAL_IMAGES)('$name', { timeout: 600_000 }, async image => {
  const { api } = slipway
  const tags = [`real/${image.name}:1`]
  const body = { ...image.request, ...(await uploadContexts(slipway, image)), tags }
  const { id } = await api.call<{ id: string }>('POST', '/v1/builds?wait=finished&timeout=300', body)
  const build = await api.call<{ state: string }>('GET', `/v1/builds/${id}`)
  expect(build.state, await textOf(`/v1/builds/${id}/logs`)).toBe('succeeded')
  const { config } = await readImage(api.url, slipway.operatorToken, `real/${image.name}`, '1')
  expect(config.config).toMatchObject(image.config ?? {})
  await expectAnswer(image)
})

async function expectAnswer(image: RealImage): Promise<void> {
  const { api } = slipway
  const port = await freePort('0.0.0.0')
  const ports = [`127.0.0.1:${port}:${image.port}`]
  const container = { image: `real/${image.name}:1`, name: image.name, env: image.env ?? {}, ports }
  await api.call('POST', '/v1/containers?wait=running', container)
  let answer = ''
  const isRight = async () => {
    answer = await answerOf(image, port).catch(error => `no answer: ${error}`)
    return image.answers.every(part => answer.includes(part))
  }
  const found = await waitUntil(isRight, READY_MS)
  expect(found, `${answer}\n${await textOf(`/v1/containers/${image.name}/logs`)}`).toBe(true)
  await api.call('DELETE', `/v1/containers/${image.name}?force=true&wait=removed`)
}

async function textOf(path: string): Promise<string> {
  let text = ''
  for await (const piece of slipway.api.text(path)) text += piece
  return text
}

async function answerOf({ ask }: RealImage, port: number): Promise<string> {
  if ('bytes' in ask) return conversation(port, ask.bytes)
  const signal = AbortSignal.timeout(ANSWER_MS)
  return await (await fetch(`http://127.0.0.1:${port}${ask.path}`, { signal })).text()
}

/** All that comes until the other side has said its last, as Latin-1. */
function conversation(port: number, bytes: Uint8Array): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  const socket = connect(port, '127.0.0.1', () => socket.write(bytes))
  let heard = ''
  socket.setTimeout(ANSWER_MS, () => socket.destroy())
  socket.on('data', chunk => (heard += chunk.toString('latin1')))
  socket.on('error', reject)
  socket.on('close', () => resolve(heard))
  return promise
}
