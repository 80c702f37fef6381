import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { containerLogs, containerTable, runDemo } from '#infra/local/demo.ts'
import { bootForTest, freePort, type TestSlipway } from '#test/support/slipway.ts'

let slipway: TestSlipway

beforeAll(async () => {
  slipway = await bootForTest('e2emain')
})
afterAll(async () => {
  expect(await slipway?.remove()).toEqual([])
})

describe('the main job', () => {
  let port: number
  let log = ''

  test('builds the example from its Dockerfile and serves its page over a published port', async () => {
    port = await freePort('0.0.0.0')
    const { page } = await runDemo({ api: slipway.api, port, say: () => {}, print: text => (log += text) })
    expect(page).toContain('Slipway')
    expect(log).toContain('COPY')
  })

  test('shows what runs and what it logged', async () => {
    expect(await containerTable(slipway.api)).toMatch(/hello +hello:latest +running +10\.\d+\.\d+\.\d+ +\d+:8080\/tcp/)
    expect(await containerLogs(slipway.api)).not.toBe('')
  })

  test('a second run of the same job builds from the cache and keeps the container', async () => {
    const before = await slipway.api.call<{ id: string; startedAt: string }>('GET', '/v1/containers/hello')
    log = ''
    await runDemo({ api: slipway.api, port, say: () => {}, print: text => (log += text) })
    expect(log).toContain('CACHED')
    const after = await slipway.api.call<{ id: string; startedAt: string }>('GET', '/v1/containers/hello')
    expect(after.id).toBe(before.id)
    expect(after.startedAt).toBe(before.startedAt)
  })
})
