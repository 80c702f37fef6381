import { execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { s3Blobs } from '#control-plane/adapters/s3-blobs.ts'
import { containerLogs, containerTable, runDemo } from '#infra/local/demo.ts'
import { describeBlobStore } from '#shared/ports/blob-store.contract.ts'
import { describeDistribution } from '#test/conformance/distribution.contract.ts'
import { registryClient, sha256 } from '#test/conformance/registry-client.ts'
import { type BoxUpstream, bootBoxUpstream } from '#test/support/box-upstream.ts'
import { bootEdge, localR2, runWrangler } from '#test/support/edge.ts'
import { bootForTest, freePort, makeDataFolder, type TestSlipway } from '#test/support/slipway.ts'
import { describeApi } from './api.contract.ts'
import { describeBlobFaults } from './blob-faults.contract.ts'
import { describeBuildCache } from './build-cache.contract.ts'
import { describeBuildLimits } from './build-limits.contract.ts'
import { describeBuildQueue } from './build-queue.contract.ts'
import { describeBuildSecrets } from './build-secrets.contract.ts'
import { describeCacheMounts } from './cache-mounts.contract.ts'
import { describeConfinement } from './confinement.contract.ts'
import { describeContextLayers } from './context-layers.contract.ts'
import { describeExec } from './exec.contract.ts'
import { describeExpiry } from './expiry.contract.ts'
import { describeFiles } from './files.contract.ts'
import { describeHooks } from './hooks.contract.ts'
import { describeLife } from './life.contract.ts'
import { describePullThrough } from './pull-through.contract.ts'
import { describePushedLayers } from './pushed-layers.contract.ts'
import { describeRegistryClients } from './registry-clients.contract.ts'

/** A name that no other test asks for: all others see a control plane without upstreams. */
const UPSTREAM = 'upstream.example'

/** The whole main job with the control plane on workerd. */

describe('on workerd', () => {
  let slipway: TestSlipway
  let upstream: BoxUpstream
  let port: number

  beforeAll(async () => {
    upstream = await bootBoxUpstream()
    const upstreams = upstream.configuredAs(UPSTREAM)
    slipway = await bootForTest('e2eedge', makeDataFolder('e2eedge'), (layout, progress) =>
      bootEdge(layout, progress, upstreams),
    )
  })
  afterAll(async () => {
    const left = await slipway?.remove()
    await upstream?.[Symbol.asyncDispose]()
    expect(left).toEqual([])
  })

  test('a Dockerfile becomes a page served over a published port', async () => {
    port = await freePort('0.0.0.0')
    let log = ''
    const { page } = await runDemo({ api: slipway.api, port, say: () => {}, print: text => (log += text) })
    expect(page).toContain('Slipway')
    expect(log).toContain('COPY')
  })

  test('tables and logs, which come over the bus', async () => {
    expect(await containerTable(slipway.api)).toMatch(/hello +hello:latest +running/)
    expect(await containerLogs(slipway.api)).toContain('url:/')
  })

  test('the doorbell rings: a stop is done long before an agent would poll', async () => {
    const stopped = await slipway.api.call<{ state: string }>(
      'POST',
      '/v1/containers/hello/stop?wait=exited&timeout=20',
      {},
    )
    expect(stopped.state).toBe('exited')
  })

  test('removing the container leaves the host without it', async () => {
    const { id } = await slipway.api.call<{ id: string }>('GET', '/v1/containers/hello')
    const namespaces = () => execFileSync('ip', ['netns', 'list'], { encoding: 'utf8' })
    await slipway.api.call('POST', '/v1/containers/hello/start?wait=running', {})
    expect(namespaces()).toContain(id)
    await slipway.api.call('DELETE', '/v1/containers/hello?force=true&wait=removed')
    expect(await containerTable(slipway.api)).not.toContain('hello')
    expect(namespaces()).not.toContain(id)
  })

  test('it is ready, and reaches the bus', async () => {
    expect(await slipway.api.call('GET', '/readyz')).toEqual({ status: 'ok', bus: 'connected' })
  })

  describeApi(() => slipway)
  describeConfinement(() => slipway)
  describePushedLayers(() => slipway)
  describeExpiry(() => slipway)
  describeFiles(() => slipway)
  describeExec(() => slipway)
  describeLife(() => slipway)
  describeBuildQueue(() => slipway)
  describeBuildCache(() => slipway)
  describeBuildLimits(() => slipway)
  describeBuildSecrets(() => slipway)
  describeCacheMounts(() => slipway)
  describeContextLayers(() => slipway)
  describeHooks(() => slipway)
  // By another name than the bucket's: clients are sent there for bytes. By the same name they get them from the API.
  const registry = () => ({
    url: slipway.api.url.replace('127.0.0.1', 'localhost'),
    token: slipway.operatorToken,
  })
  describeDistribution(registry)
  describeRegistryClients(registry)

  test('a layer that is long on its way from its upstream is announced before it is here', async () => {
    const { proxy, layer } = upstream
    const client = registryClient(slipway.api.url, slipway.operatorToken)
    await client.send('GET', `/v2/${UPSTREAM}/library/box/manifests/1`)
    const answered = Promise.withResolvers<void>()
    proxy.misbehave(({ path }, response) => {
      if (!path.endsWith(sha256(layer))) return false
      response.writeHead(200, { 'content-length': layer.length }).flushHeaders()
      answered.promise.then(() => response.end(layer))
      return true
    })
    const answer = await client.send('GET', `/v2/${UPSTREAM}/library/box/blobs/${sha256(layer)}`)
    answered.resolve()
    expect(answer.status).toBe(200)
    expect(sha256(new Uint8Array(await answer.arrayBuffer()))).toBe(sha256(layer))
    proxy.misbehave(undefined)
  })

  describePullThrough(UPSTREAM, () => ({ slipway, upstream }))
  // wrangler's R2 ignores checksums that it is told: publishing reads such an upload before it counts.
  describeBlobStore('S3 (the local R2)', () => s3Blobs(localR2(slipway.layout)), { verifiesUploads: false })
  describeBlobFaults('S3 (the local R2)', () => localR2(slipway.layout))

  test('the page to read the API has its assets here', async () => {
    const page = await (await fetch(`${slipway.api.url}/docs`)).text()
    for (const [, path = ''] of page.matchAll(/(?:src|href)="([^"]+)"/g)) {
      expect(path).toMatch(/^\//)
      expect((await fetch(slipway.api.url + path)).status, path).toBe(200)
    }
  })
})

test('the bundle deploys (dry run), under 1 MB gzipped', () => {
  const out = mkdtempSync(join(tmpdir(), 'slipway-bundle-'))
  try {
    runWrangler(['deploy', '--dry-run', '--outdir', out])
    const scripts = readdirSync(out).filter(name => name.endsWith('.js') && statSync(join(out, name)).isFile())
    expect(scripts.length).toBeGreaterThan(0)
    const sizes = scripts.map(name => gzipSync(readFileSync(join(out, name))).length)
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBeLessThan(1_000_000)
  } finally {
    rmSync(out, { recursive: true, force: true })
  }
})
