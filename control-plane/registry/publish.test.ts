import { expect, test } from 'vitest'
import type { BuildId, HostId } from '#shared/domain/ids.ts'
import { parseRepository } from '#shared/domain/repository.ts'
import { type ImageText, imageText, pushBlob, pushImageText } from '#test/support/images.ts'
import { openRegistryWorld } from '#test/support/registry-world.ts'
import { ingestReport } from '../ingest/report.ts'
import type { Ports } from '../ports.ts'
import { insertBuild } from '../store/builds.ts'
import { insertHost } from '../store/hosts.ts'
import { publishImage } from './publish.ts'

const hostId = 'aaaaaaaaaaaaaaaa' as HostId
const buildId = 'cccccccccccccccc' as BuildId
const app = parseRepository('app')

async function publish(ports: Ports, image: ImageText) {
  for (const layer of image.layers) await pushBlob(ports, app, layer)
  const { manifest, config } = image
  return publishImage(ports, hostId, { buildId, tags: [], layerSizes: [], attestations: [], manifest, config })
}

test('once its success is known, a build publishes nothing: no other image, and no tag that a newer one has by now', async () => {
  await using world = await openRegistryWorld()
  const { ports } = world
  const image = (mark: string) => imageText([mark], mark)
  const [first, second, newer] = [await image('first'), await image('second'), await image('newer')]
  const tagged = async () =>
    (await world.rows<{ digest: string }>("select digest from tags where tag = '1'"))[0]?.digest
  await insertHost(ports.db, { id: hostId, name: 'one', createdAt: 1 })
  const spec = { kind: 'dockerfile', tags: ['app:1'] } as Parameters<typeof insertBuild>[1]['spec']
  await insertBuild(ports.db, { id: buildId, hostId, spec, createdAt: 1 })
  await publish(ports, second)
  const imageDigest = await publish(ports, first) // Until then a repeat is what counts.
  expect(await tagged()).toBe(imageDigest)
  const observed = { state: 'succeeded' as const, startedAt: 1, finishedAt: 2, imageDigest }
  await ingestReport(ports, hostId, { generation: 0, containers: [], builds: [{ id: buildId, observed }] })
  await pushImageText(ports, app, '1', newer)
  await expect(publish(ports, second)).rejects.toMatchObject({ code: 'build.finished' })
  expect(await publish(ports, first)).toBe(imageDigest)
  expect(await tagged()).toBe(newer.digest)
})
