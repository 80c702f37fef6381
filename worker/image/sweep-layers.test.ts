import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { type Digest, digestFromHex, digestHex } from '#shared/digest.ts'
import { sweepLayers } from './sweep-layers.ts'

const folder = mkdtempSync(join(tmpdir(), 'slipway-sweep-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
const digest = (letter: string) => digestFromHex(letter.repeat(64))

test('layers of images and of the cache are kept; a torn image names none', async () => {
  const layer = { mediaType: 'x', digest: digest('a'), size: 1 }
  const image = {
    digest: digest('a'),
    manifest: { schemaVersion: 2, config: layer, layers: [layer] },
    config: { architecture: 'amd64', os: 'linux', rootfs: { type: 'layers', diff_ids: [digest('b')] } },
  }
  writeFileSync(join(folder, `${digestHex(digest('a'))}.json`), JSON.stringify(image))
  writeFileSync(join(folder, `${digestHex(digest('e'))}.json`), '{"digest":')
  const asked: [Digest[], number][] = []
  const snapshots = {
    sweepLayers: async (kept: ReadonlySet<Digest>, olderThan: number) => {
      asked.push([[...kept].sort(), olderThan])
      return [digest('d')]
    },
  }
  const swept = await sweepLayers({ imagesFolder: folder, snapshots, kept: [digest('c')], olderThan: 5 })
  expect(swept).toEqual([digest('d')])
  expect(asked).toEqual([[[digest('b'), digest('c')], 5]])
})
