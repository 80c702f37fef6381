import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { buildContext } from '#infra/local/builds.ts'
import { type BoxUpstream, bootBoxUpstream } from '#test/support/box-upstream.ts'
import { uploadFiles } from '#test/support/contexts.ts'
import { bootForTest, type TestSlipway } from '#test/support/slipway.ts'
import { describePullThrough } from './pull-through.contract.ts'

const folder = mkdtempSync(join(tmpdir(), 'slipway-upstreams-'))
const before = process.env.SLIPWAY_UPSTREAMS_FILE
let upstream: BoxUpstream
let slipway: TestSlipway

beforeAll(async () => {
  upstream = await bootBoxUpstream()
  const file = join(folder, 'upstreams.json')
  writeFileSync(file, upstream.configuredAs('docker.io'), { mode: 0o600 })
  process.env.SLIPWAY_UPSTREAMS_FILE = file
  slipway = await bootForTest('e2eups')
})
afterAll(async () => {
  process.env.SLIPWAY_UPSTREAMS_FILE = before
  const left = await slipway?.remove()
  await upstream?.[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true, force: true })
  expect(left).toEqual([])
})

test('a Dockerfile builds on an image of the Hub by its short name', async () => {
  const context = await uploadFiles(slipway.api, { Dockerfile: 'FROM box:1\nRUN echo short > /made\n' })
  let log = ''
  await buildContext(slipway.api, { context, tags: ['on-short:1'] }, text => (log += text))
  expect(log).toContain('pulling box:1')
})

describePullThrough('docker.io', () => ({ slipway, upstream }))
